"""Tracks keep to their objects."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomm.errors import ConfigError
from geomm.inference import FrameTracker
from geomm.structures import Objects


def seen(*boxes, labels=None):
    labels = np.zeros(len(boxes), np.int64) if labels is None else np.array(labels)
    return Objects(np.array(boxes, np.float32).reshape(-1, 4), labels, np.ones(len(boxes), np.float32))


def square(x, y, size=10):
    return (x, y, x + size, y + size)


@settings(max_examples=30, deadline=None)
@given(speed=st.tuples(st.floats(-3, 3), st.floats(-3, 3)), gap=st.integers(0, 15), scale=st.floats(0.5, 20))
def test_a_steady_mover_is_found_again_after_a_gap(speed, gap, scale):
    tracker = FrameTracker(detect_frames=3)
    keys = set()
    for frame in range(60):
        x, y = (200 + frame * part for part in speed)
        hidden = 30 <= frame < 30 + gap
        box = np.array(square(x, y)) * scale
        keys |= set(tracker.update(seen() if hidden else seen(box)).tolist())
    assert keys == {0} and tracker.number(0) == 1 and tracker.count == 1


def test_settings_out_of_range_are_named():
    with pytest.raises(ConfigError, match=r"inference\.assignment_iou: found 3, expected a number"):
        FrameTracker(assignment_iou=3)


def test_a_track_ends_and_counts_as_told():
    tracker = FrameTracker(vanish_frames=4, detect_frames=3)
    numbers = [tracker.number(tracker.update(seen(square(0, 0)))[0]) for _ in range(4)]
    assert numbers == [0, 0, 1, 1]
    for _ in range(4):
        tracker.update(seen())
    assert tracker.update(seen(square(0, 0)))[0] == 0
    for _ in range(5):
        tracker.update(seen())
    assert tracker.update(seen(square(0, 0)))[0] == 1


def test_classes_are_never_mixed():
    tracker = FrameTracker(detect_frames=1)
    first = tracker.update(seen(square(0, 0), square(0, 0), labels=[0, 1]))
    again = tracker.update(seen(square(0, 0), square(0, 0), labels=[1, 0]))
    assert again.tolist() == first[::-1].tolist()


def test_a_stranger_gets_a_key_of_its_own():
    tracker = FrameTracker(assignment_iou=0.3)
    assert tracker.update(seen(square(0, 0))).tolist() == [0]
    assert tracker.update(seen(square(8, 8), square(0, 0))).tolist() == [1, 0]
    assert tracker.update(seen()).tolist() == []


def test_lost_frames_are_frames_without_a_box():
    one, other = (
        FrameTracker(vanish_frames=30, detect_frames=2),
        FrameTracker(vanish_frames=30, detect_frames=2),
    )
    for frame in range(20):
        box = seen(square(100 + 3 * frame, 50))
        assert one.update(box, frame).tolist() == other.update(box).tolist() == [0]
    for _ in range(12):
        other.update(seen())
    later = seen(square(100 + 3 * 32, 50))
    assert one.update(later, 32).tolist() == other.update(later).tolist() == [0]
    assert one.update(later, 32 + 32).tolist() == [1]  # 31 were lost


def test_identities_survive_a_detector_that_misses_every_fourth_box():
    """Each row has its object's number, but for what the first boxes of crossing objects may take."""
    rng = np.random.default_rng(0)
    places, speeds = rng.uniform([0, 0], [640, 360], (8, 2)), rng.normal(0, 2, (8, 2))
    tracker, rows = FrameTracker(detect_frames=5), []
    for frame in range(300):
        speeds = np.where(
            (places < 0) | (places > [640, 360]), np.sign([320, 180] - places) * abs(speeds), speeds
        )
        places = places + speeds
        shown = np.flatnonzero(rng.random(8) < 0.75)
        jitter = rng.normal(0, 1, (len(shown), 2))
        wrong = [square(*rng.uniform([0, 0], [640, 360]), 40) for _ in range(rng.poisson(0.5))]
        boxes = [square(*place, 40) for place in places[shown] + jitter]
        keys = tracker.update(seen(*boxes, *wrong), frame)
        rows += zip(shown.tolist(), keys.tolist(), strict=False)
    usual = [max(keys := [key for mover, key in rows if mover == one], key=keys.count) for one in range(8)]
    same = np.mean([key == usual[mover] for mover, key in rows])
    assert len(set(usual)) == 8 and same > 0.9 and tracker.count <= 12
