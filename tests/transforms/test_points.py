"""Augmentation keeps what it must."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomm.points import HEIGHT, PointSample
from geomm.registry import TRANSFORMS, build
from geomm.transforms.points import rotation

NAMES = ["RandomTurn", "RandomScale", "PointJitter", "PointDropout", "IntensityNoise"]


def sample(n=200, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.uniform(1, 9, (n, 2)).astype(np.float32)
    return PointSample(
        rng.uniform(-10, 10, (n, 3)).astype(np.float32), features, np.arange(n).astype(np.uint8),
        np.arange(n), "a", ("intensity", HEIGHT),
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_same_draw_gives_the_same_sample_and_the_input_stays(name):
    before, transform = sample(), build(TRANSFORMS, {"type": name})
    kept = before.xyz.copy(), before.features.copy()
    first, second = (transform(before, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first.xyz, second.xyz)
    np.testing.assert_array_equal(first.features, second.features)
    assert first.xyz.dtype == first.features.dtype == np.float32
    np.testing.assert_array_equal(before.xyz, kept[0])
    np.testing.assert_array_equal(before.features, kept[1])
    other = transform(before, np.random.default_rng(4))
    assert len(other) != len(first) or not (
        np.array_equal(other.xyz, first.xyz) and np.array_equal(other.features, first.features)
    )


@given(*[st.floats(-3, 3)] * 3)
def test_a_turn_keeps_distances_and_hand(x, y, z):
    matrix = rotation(x, y, z)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)


def test_a_turn_about_the_vertical_keeps_heights():
    turned = build(TRANSFORMS, {"type": "RandomTurn", "tilt_degrees": 0})(sample(), np.random.default_rng(0))
    np.testing.assert_allclose(turned.xyz[:, 2], sample().xyz[:, 2], atol=1e-5)


def test_heights_above_ground_grow_with_the_cloud():
    scaled = build(TRANSFORMS, {"type": "RandomScale", "share": 0.2})(sample(), np.random.default_rng(1))
    factor = scaled.xyz[:, 2] / sample().xyz[:, 2]
    np.testing.assert_allclose(scaled.features[:, 1] / sample().features[:, 1], factor, rtol=1e-4)
    np.testing.assert_array_equal(scaled.features[:, 0], sample().features[:, 0])


def test_dropout_keeps_labels_with_their_points_and_one_at_least():
    left = build(TRANSFORMS, {"type": "PointDropout", "most": 1.0})(sample(), np.random.default_rng(2))
    np.testing.assert_array_equal(left.xyz, sample().xyz[left.labels])
    for seed in range(20):
        one = build(TRANSFORMS, {"type": "PointDropout", "most": 1.0})(sample(2), np.random.default_rng(seed))
        assert len(one) >= 1


def test_jitter_is_bounded_and_noise_leaves_other_features():
    moved = build(TRANSFORMS, {"type": "PointJitter", "std_m": 0.1})(sample(), np.random.default_rng(2))
    assert 0 < np.abs(moved.xyz - sample().xyz).max() <= 0.3 + 1e-5
    noisy = build(TRANSFORMS, {"type": "IntensityNoise"})(sample(), np.random.default_rng(2))
    np.testing.assert_array_equal(noisy.features[:, 1], sample().features[:, 1])
