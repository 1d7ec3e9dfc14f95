"""Tiles reach the model whole, in steady batches, in the raster's own dtype."""

import numpy as np
import pytest
import rasterio
import torch

from geomm.inference.grid import TileGrid
from geomm.inference.tiles import RasterTiles, mirror_edges
from geomm.io.raster import RasterReader
from tests.inference.conftest import noise, write_scene


def tiles(path, grid, **options):
    chosen = {"bands": (1,), "batch_size": 3, "rows": range(len(grid.tops)), **options}
    return list(RasterTiles(RasterReader(path), grid, **chosen))


def test_batches_never_cross_the_end_of_a_row(tmp_path):
    path = write_scene(tmp_path / "s.tif", noise(40, 50))
    grid = TileGrid(50, 40, 16, 4)
    found = tiles(path, grid)
    assert [[(tile.row, tile.col) for tile in batch.tiles] for batch in found[:2]] == [
        [(0, 0), (0, 1), (0, 2)],
        [(0, 3)],
    ]
    assert all(len({tile.row for tile in batch.tiles}) == 1 for batch in found)
    assert sum(len(batch.tiles) for batch in found) == len(grid)


def test_a_batch_of_one_row_is_the_same_wherever_reading_begins(tmp_path):
    path = write_scene(tmp_path / "s.tif", noise(60, 50))
    grid = TileGrid(50, 60, 16, 4)
    whole = [batch for batch in tiles(path, grid) if batch.tiles[0].row >= 2]
    part = tiles(path, grid, rows=range(2, len(grid.tops)))
    for one, two in zip(whole, part, strict=True):
        assert torch.equal(one.inputs, two.inputs)


def test_empty_tiles_are_named_but_not_stacked(tmp_path):
    pixels = noise(16, 64)
    pixels[:, 16:48] = 0
    path = write_scene(tmp_path / "s.tif", pixels, nodata=0)
    (batch,) = tiles(path, TileGrid(64, 16, 16, 0))
    assert [tile.empty for tile in batch.tiles] == [False, True, True, False]
    assert batch.inputs.shape == (2, 1, 16, 16)


def test_a_scene_without_data_makes_batches_without_inputs(tmp_path):
    path = write_scene(tmp_path / "s.tif", np.zeros((20, 40), np.uint8), nodata=0)
    assert all(batch.inputs is None for batch in tiles(path, TileGrid(40, 20, 16, 4)))


def test_a_small_scene_is_mirrored_for_the_model_and_no_larger_in_the_map(tmp_path):
    pixels = noise(3, 5)
    path = write_scene(tmp_path / "s.tif", pixels)
    (batch,) = tiles(path, TileGrid(5, 3, 8, 2))
    image = batch.inputs[0, 0].numpy()
    np.testing.assert_array_equal(image[:3, :5], pixels)
    np.testing.assert_array_equal(image[3:6, :5], pixels[::-1])
    assert batch.valid.all()
    assert batch.tiles[0].valid.sum() == 15


def test_mirroring_goes_on_past_the_size_of_the_scene():
    grid = TileGrid(1, 2, 7, 0)
    pixels = np.zeros((1, 7, 7), np.uint8)
    pixels[0, :2, 0] = 5, 9
    assert set(np.unique(mirror_edges(pixels, grid))) == {5, 9}


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
def test_every_dtype_reaches_the_model(tmp_path, dtype):
    pixels = noise(20, 20).astype(dtype)
    path = tmp_path / "s.tif"
    with rasterio.open(path, "w", driver="GTiff", width=20, height=20, count=1, dtype=dtype) as target:
        target.write(pixels, 1)
    batch = tiles(path, TileGrid(20, 20, 16, 4))[0]
    assert str(batch.inputs.dtype) == f"torch.{dtype}"
    np.testing.assert_array_equal(batch.inputs[0, 0].float(), pixels[:16, :16].astype(np.float32))
