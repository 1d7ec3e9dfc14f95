"""Regions of a cloud: what is worked out in a region is what is worked out of the whole."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geomm.inference.clouds.regions import RegionGrid, load_region, spread
from geomm.io.las import read_las_info
from geomm.transforms.shape import shape_features
from tests.inference.clouds.test_predict import make_spec
from tests.io.clouds import write_cloud

NAMES = ("planarity_2m", "neighbours_3m", "height_range_1m")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 99),
    extent=st.sampled_from([4.0, 17.0, 40.0]),
    block_m=st.sampled_from([2.0, 6.0]),
    overlap=st.sampled_from([0.0, 0.5]),
    region_points=st.sampled_from([10, 100]),
)
def test_surroundings_are_the_same_in_any_region(
    tmp_path_factory, seed, extent, block_m, overlap, region_points
):
    folder = tmp_path_factory.mktemp("regions")
    rng = np.random.default_rng(seed)
    xyz = np.round(rng.uniform(0, 1, (300, 3)) * [extent, extent, 4], 2) + [4e5, 5e6, 10]
    path = write_cloud(folder / "cloud.las", xyz)
    info = read_las_info(path)
    spec = make_spec(("intensity", *NAMES), block_m=block_m)
    grid = RegionGrid.cover(
        [extent, extent], len(xyz), block_m=block_m, overlap_m=overlap * block_m, region_points=region_points
    )
    # Float32 metres from a corner, as in the regions, so that neighbours at the radius are alike.
    wanted = shape_features(xyz - xyz.min(0), NAMES)
    seen = np.zeros(len(xyz), int)
    for number in spread(info, [], spec, grid, folder):
        region = load_region(number, grid, spec, folder)
        found = region.features[:, 1:]
        alike = np.isclose(found, wanted[region.numbers], atol=2e-3).all(1)
        # A point at just the radius may be on either side of it, after rounding.
        assert (~alike).sum() <= max(4, 0.03 * len(alike)), (number, found[~alike][:3])
        seen[region.numbers[: region.own]] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize("before, after, expected", [(0.0, 1.0, [4]), (1.0, 11.0, list(range(9)))])
def test_regions_around_are_those_whose_points_are_near(before, after, expected):
    grid = RegionGrid((0.0, 0.0), 10.0, 10.0, 1, 3, 3)
    assert sorted(grid.around(4, before, after)) == expected
    assert set(grid.around(0, before, after)) <= {0, 1, 3, 4}
