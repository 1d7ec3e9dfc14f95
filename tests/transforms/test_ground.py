"""The ground beneath what stands on it."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from geomm.transforms.ground import LowestPoints, bare_earth, fill_gaps


def surface_of(xyz, cell_m=1.0):
    lowest = LowestPoints(xyz.min(0), xyz.max(0), cell_m)
    lowest.add(xyz)
    return lowest.surface()


@settings(max_examples=15, deadline=None)
@given(slope=st.floats(-0.1, 0.1), tall=st.floats(3, 30), wide=st.floats(4, 20), seed=st.integers(0, 99))
def test_a_house_on_a_slope_has_its_height(slope, tall, wide, seed):
    rng = np.random.default_rng(seed)
    xy = rng.uniform(0, 80, (30_000, 2))
    ground = 200 + slope * xy[:, 0]
    house = (np.abs(xy - 40) < wide / 2).all(1)
    z = np.where(house, 200 + slope * 40 + tall, ground)
    height = surface_of(np.column_stack([xy, z])).height_above(np.column_stack([xy, z]))
    assert np.abs(height[~house]).max() < 0.5
    # Beneath the house the ground is carried on from its surroundings.
    assert np.abs(height[house] - tall).max() < 0.15 * tall + 0.1 * wide


def test_a_stray_point_below_is_no_ground():
    rng = np.random.default_rng(0)
    xyz = np.column_stack([rng.uniform(0, 40, (8000, 2)), np.zeros(8000)])
    xyz[17, 2] = -40
    height = surface_of(xyz).height_above(xyz)
    assert np.delete(np.abs(height), 17).max() < 1e-3
    assert height[17] < -39


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 99))
def test_gaps_are_filled_between_the_known(rows, cols, seed):
    rng = np.random.default_rng(seed)
    values = rng.uniform(-5, 5, (rows, cols)).astype(np.float32)
    known = rng.random((rows, cols)) < 0.3
    known[0, 0] = True
    filled = fill_gaps(values.copy(), known)
    np.testing.assert_allclose(filled[known], values[known], atol=1e-5)
    assert np.isfinite(filled).all()
    assert filled.min() >= values[known].min() - 1e-4 and filled.max() <= values[known].max() + 1e-4


def test_nothing_known_is_flat_and_a_wide_cloud_has_large_cells():
    assert not bare_earth(np.full((4, 4), np.inf, np.float32), 1.0).any()
    assert LowestPoints([0, 0], [100_000, 100_000]).grid.size <= 16_100_000
    one = np.array([[5.0, 5.0, 3.0]])
    assert surface_of(one).height_above(one) == 0
