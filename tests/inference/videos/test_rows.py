"""Rows wait for their tracks' numbers, and no longer."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from geomm.inference import FrameTracker
from geomm.inference.videos.rows import BoxTable, RowHold, is_box_table
from geomm.io.video import Frame
from geomm.structures import Objects

PIXELS = np.zeros((1, 1, 3), np.uint8)


def seen(shown):
    """Return objects: each place that is shown has one of its own."""
    boxes = np.array([(100 * place, 0, 100 * place + 20, 20) for place in sorted(shown)], np.float32)
    count = len(boxes)
    return Objects(boxes.reshape(-1, 4), np.zeros(count, np.int64), np.full(count, 0.9, np.float32))


@settings(max_examples=50, deadline=None)
@given(
    frames=st.lists(st.sets(st.integers(0, 2)), max_size=60),
    detect_frames=st.integers(1, 6),
    vanish_frames=st.integers(0, 5),
)
def test_all_rows_of_a_track_have_one_number(frames, detect_frames, vanish_frames):
    tracker = FrameTracker(detect_frames=detect_frames, vanish_frames=vanish_frames)
    hold, keys, given_out, longest = RowHold(tracker), [], [], 0
    for number, shown in enumerate(frames):
        objects = seen(shown)
        keys.append(tracker.update(objects))
        given_out += hold.add(Frame(number, number / 25, number, PIXELS), objects, keys[-1])
        longest = max(longest, number + 1 - len(given_out))
    given_out += hold.rest()
    assert [rows.frame for rows in given_out] == list(range(len(frames)))
    for rows, of_frame in zip(given_out, keys, strict=True):
        assert rows.tracks.tolist() == [tracker.number(key) for key in of_frame]
        assert len(rows.boxes) == len(rows.tracks)
    assert longest <= detect_frames * (vanish_frames + 1)


def test_what_is_not_followed_does_not_wait():
    hold = RowHold(FrameTracker())
    settled = hold.add(Frame(0, 0.0, 0, PIXELS), seen({0, 1}), np.full(2, -1, np.int64))
    assert [rows.tracks.tolist() for rows in settled] == [[0, 0]] and hold.rest() == []


def test_a_table_is_known_again(tmp_path, spec):
    with BoxTable(tmp_path / "own.csv", spec):
        pass
    (tmp_path / "log.csv").write_text("frame,time_s,track\n")
    (tmp_path / "binary.csv").write_bytes(b"\xff\x00" * 9)
    (tmp_path / "empty.csv").touch()
    assert is_box_table(tmp_path / "own.csv")
    assert not any(is_box_table(tmp_path / f"{name}.csv") for name in ("log", "binary", "empty", "none"))
