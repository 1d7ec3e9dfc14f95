"""Features of a point's surroundings on shapes whose features are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomm.points import (
    FEATURE_GROUPS,
    SHAPES,
    PointSample,
    expand_features,
    file_dimensions,
    is_length,
    shape_of,
)
from geomm.transforms.points import RandomScale
from geomm.transforms.shape import shape_features

NAMES = tuple(f"{name}_1m" for name in SHAPES)
grid = np.stack(np.meshgrid(np.arange(21), np.arange(21)), -1).reshape(-1, 2) * 0.2
flat = np.column_stack([grid, np.zeros(len(grid))])
middle = 10 * 21 + 10


def at_middle(points):
    return dict(zip(SHAPES, shape_features(points, NAMES)[middle], strict=True))


def test_a_floor_is_planar_and_flat():
    found = at_middle(flat)
    assert found["planarity"] == pytest.approx(1, abs=0.1)
    assert found["verticality"] == pytest.approx(0, abs=1e-6)
    assert found["sphericity"] == found["curvature"] == found["height_range"] == 0
    assert found["neighbours"] == 64  # of the 81 within a metre, the nearest


def test_a_wall_is_planar_and_upright():
    found = at_middle(flat[:, [0, 2, 1]])
    assert found["planarity"] > 0.9 and found["verticality"] == pytest.approx(1)
    assert found["height_range"] == pytest.approx(1.6, abs=0.5)
    assert found["height_above_lowest"] == pytest.approx(0.8, abs=0.25)


def test_a_wire_is_a_line_and_a_bush_is_neither():
    wire = np.column_stack([np.arange(441) * 0.1, np.zeros((441, 2))])
    assert at_middle(wire)["linearity"] == pytest.approx(1)
    bush = np.random.default_rng(0).uniform(-1.5, 1.5, (441, 3))
    bush[middle] = 0
    assert at_middle(bush)["sphericity"] > 0.5


def test_a_point_alone_has_no_shape():
    found = shape_features(np.array([[0.0, 0, 0], [5, 5, 5]]), NAMES)
    assert found[:, NAMES.index("neighbours_1m")].tolist() == [1, 1]
    assert not np.delete(found, NAMES.index("neighbours_1m"), axis=1).any()
    assert shape_features(np.zeros((0, 3)), NAMES).shape == (0, len(NAMES))


def test_equal_points_are_finite():
    assert np.isfinite(shape_features(np.ones((100, 3)), NAMES)).all()


@settings(max_examples=20, deadline=None)
@given(angle=st.floats(0, 6.3), seed=st.integers(0, 99), shift=st.floats(-1000, 1000))
def test_turning_about_the_vertical_and_moving_change_nothing(angle, seed, shift):
    points = np.random.default_rng(seed).normal(0, 0.7, (60, 3))
    cos, sin = np.cos(angle), np.sin(angle)
    turned = points @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) + shift
    assert shape_features(turned, NAMES) == pytest.approx(shape_features(points, NAMES), abs=1e-5)


def test_radii_and_order_are_those_of_the_names():
    points = np.random.default_rng(1).uniform(0, 3, (300, 3))
    together = shape_features(points, ["neighbours_2m", "planarity_0.5m", "neighbours_0.5m"])
    for at, name in enumerate(["neighbours_2m", "planarity_0.5m", "neighbours_0.5m"]):
        assert (together[:, at] == shape_features(points, [name])[:, 0]).all()
    assert (together[:, 0] >= together[:, 2]).all()


def test_a_cloud_around_the_points_counts():
    alone = shape_features(flat[:10], NAMES)
    among = shape_features(flat[:10], NAMES, flat)
    assert (among == shape_features(flat, NAMES)[:10]).all() and (among != alone).any()


@pytest.mark.parametrize(
    "name", ["planarity_0m", "planarity_m", "planarity", "planar_1m", "planarity_1 m", "x"]
)
def test_other_names_are_of_the_file(name):
    assert shape_of(name) is None and file_dimensions([name]) == (name,)


def test_the_group_is_spelled_out_and_none_of_it_is_in_files():
    names = expand_features(["intensity", "shape"])
    assert names == ("intensity", *FEATURE_GROUPS["shape"]) and len(names) == 28
    assert file_dimensions([*names, "height_above_ground"]) == ("intensity",)


def test_lengths_grow_with_the_cloud():
    names = ("planarity_1m", "height_range_1m", "height_above_ground")
    assert [is_length(name) for name in names] == [False, True, True]
    sample = PointSample(np.ones((4, 3), np.float32), np.ones((4, 3), np.float32), feature_names=names)
    grown = RandomScale(share=0.5, mirror=False)(sample, np.random.default_rng(3))
    factor = grown.xyz[0, 0]
    assert factor != 1 and grown.features[0] == pytest.approx([1, factor, factor])
