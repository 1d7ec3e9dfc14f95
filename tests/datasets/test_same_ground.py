"""Ground that several scenes show is of one split."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine

from geomm.datasets.blocks import BlockScan
from geomm.datasets.maps.geotiff import GeoTiffScenes
from geomm.datasets.same_ground import blocks_on_same_ground
from geomm.io.raster_info import read_info
from tests.datasets.common import CRS, noise, squares, write

SIZE, GSD = 120, 0.5
ORIGIN = (500000.0, 4100000.0)


def scene(folder, name, right, down, *, crs=CRS):
    place = Affine(GSD, 0, ORIGIN[0] + right * GSD, 0, -GSD, ORIGIN[1] - down * GSD)
    return str(write(folder / f"{name}.tif", noise(SIZE, SIZE), transform=place, crs=crs))


def divided(folder, scenes, seed, **split):
    """Return a prepared source of scenes under one layer of squares that covers them all."""
    from shapely.affinity import affine_transform

    boxes, kinds = squares(3 * SIZE, 3 * SIZE, step=14, size=8, seed=1)
    there = [GSD, 0, 0, -GSD, ORIGIN[0] - SIZE * GSD, ORIGIN[1] + SIZE * GSD]
    frame = [affine_transform(item, there) for item in boxes]
    import geopandas

    labels = folder / "labels.gpkg"
    geopandas.GeoDataFrame({"kind": kinds}, geometry=frame, crs=CRS).to_file(labels)
    source = GeoTiffScenes(
        images=scenes,
        labels=str(labels),
        label_field="kind",
        window_px=24,
        windows_per_epoch=8,
        split={"val": 0.25, "seed": seed, "block_px": 24, **split},
        seed=0,
    )
    source.prepare(folder / "cache")
    return source


def ground(source, split):
    """Return the ground of a split, as a raster around all scenes: how many scenes show a pixel in it."""
    seen = np.zeros((3 * SIZE, 3 * SIZE), int)
    for item in source._scenes:
        place = item.reader.info.georeference.transform
        right, down = round((place[2] - ORIGIN[0]) / GSD) + SIZE, round((ORIGIN[1] - place[5]) / GSD) + SIZE
        for block in np.flatnonzero(item.splits == split):
            window = item.scan.window(int(block), SIZE, SIZE)
            top, left = down + window.row, right + window.col
            seen[top : top + window.height, left : left + window.width] += 1
    return seen


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    right=st.integers(-110, 110),
    down=st.integers(-110, 110),
    seed=st.integers(0, 5),
    test=st.sampled_from([0, 0.2]),
)
def test_no_ground_is_of_two_splits(tmp_path_factory, right, down, seed, test):
    folder = tmp_path_factory.mktemp("same")
    scenes = [scene(folder, "a", 0, 0), scene(folder, "b", right, down), scene(folder, "c", 0, down)]
    source = divided(folder, scenes, seed, test=test)
    train, val, tested = (ground(source, split) for split in range(3))
    assert not ((train > 0) & (val > 0)).any() and not ((train > 0) & (tested > 0)).any()
    assert not ((val > 0) & (tested > 0)).any() and train.any() and val.any()


def test_dates_of_one_place_lose_nothing(tmp_path, caplog):
    source = divided(tmp_path, [scene(tmp_path, name, 0, 0) for name in "abc"], 0)
    first, *others = (item.splits for item in source._scenes)
    assert (first >= 0).all() and all((first == other).all() for other in others)
    assert "left out" not in caplog.text


def test_scenes_side_by_side_are_divided_each_for_itself(tmp_path):
    apart = [scene(tmp_path, "a", 0, 0), scene(tmp_path, "b", SIZE, 0)]
    source = divided(tmp_path, apart, 3)
    one, other = (item.splits for item in source._scenes)
    assert (one >= 0).all() and (other >= 0).all() and (one != other).any()


def test_scenes_in_another_crs_are_compared_on_the_ground(tmp_path):
    import rasterio
    from rasterio.warp import calculate_default_transform

    one = scene(tmp_path, "a", 0, 0)
    with rasterio.open(one) as source:
        place, width, height = calculate_default_transform(CRS, "EPSG:3857", SIZE, SIZE, *source.bounds)
    other = str(write(tmp_path / "b.tif", noise(height, width), transform=place, crs="EPSG:3857"))
    first, second = (item for item in divided(tmp_path, [one, other], 1)._scenes)
    assert (first.splits == 1).any() and first.splits.tolist() == second.splits.tolist()


@pytest.mark.parametrize("crs", ["EPSG:32660", "EPSG:3413", None, 'LOCAL_CS["site",UNIT["metre",1]]'])
def test_scenes_that_no_crs_has_in_common_are_divided_each_for_itself(tmp_path, crs):
    infos = [read_info(scene(tmp_path, "a", 0, 0)), read_info(scene(tmp_path, "b", 0, 0, crs=crs))]
    zeros = np.zeros((4, 1))
    scan = BlockScan(60, 2, 2, np.full(4, 3600), zeros, zeros, zeros)
    owner, shared = blocks_on_same_ground(infos, [scan, scan])
    assert owner.tolist() == list(range(8)) and shared.shape == (0, 2)
