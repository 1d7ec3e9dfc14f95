"""Rows as units of work."""

from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch

from geomm.errors import ConfigError
from geomm.inference.executor import consecutive
from geomm.inference.maps.blend import ScoreBlend
from geomm.inference.maps.job import MapJob
from geomm.inference.maps.predict import predict_rasters
from geomm.inference.maps.products import ClassMap
from geomm.inference.maps.rows import RasterRowWriter, map_rows
from geomm.inference.options import ClassMapOptions
from geomm.inference.tiles import RasterTiles
from geomm.registry import MERGERS, READERS, WRITERS
from tests.inference.conftest import noise, pointwise, write_scene

CPU = torch.device("cpu")


def test_consecutive_rows_are_runs():
    assert consecutive([0, 1, 4, 6, 7]) == [[0, 1], [4], [6, 7]]
    assert consecutive([]) == []


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_rows_computed_alone_are_the_same_to_the_byte(tmp_path, spec, share):
    scene = write_scene(tmp_path / "s.tif", noise(90, 50))

    def smooth(inputs, valid):
        x = torch.nn.functional.avg_pool2d(inputs.float(), 3, 1, 1)
        return torch.cat([x, 255 - x, x / 2, x * 0 + 60], 1).softmax(1)

    def job(name):
        work = tmp_path / name
        work.mkdir()
        options = ClassMapOptions(probabilities=True, polygons=True)
        products = ClassMap(spec, options)
        return MapJob(str(scene), spec, 16, int(16 * share), 3, work, "RasterTiles", options, products)

    together, apart = job("together"), job("apart")
    rows = range(len(together.grid.tops))
    map_rows(together, rows, smooth, device=CPU)
    for row in reversed(rows):
        map_rows(apart, [row], smooth, device=CPU)
    assert apart.missing_rows() == []
    for row in rows:
        for product in together.layouts:
            one, other = (one.chunk(product, row).read_bytes() for one in (together, apart))
            assert one == other


@MERGERS.register_module()
class FirstTile(ScoreBlend):
    """Takes of shared pixels those of the tile that came first: no blending at all."""

    def __init__(self, grid, **given):
        super().__init__(grid, **given)
        for weights, starts in ((self._row_weights, grid.tops), (self._col_weights, grid.lefts)):
            for number in range(1, len(starts)):
                weights[number, : max(starts[number - 1] + grid.tile_px - starts[number], 0)] = 0
            for number in range(len(starts)):
                weights[number][weights[number] > 0] = 1


@READERS.register_module()
class Backwards(RasterTiles):
    """Reads as geomm's does; only its name is another."""


@WRITERS.register_module()
class Inverted(RasterRowWriter):
    """Writes the bands of rows with classes the other way round."""

    def collect(self, part):
        return super().collect(replace(part, values=None if part.values is None else part.values.flip(0)))


def test_a_merger_and_a_writer_of_ones_own_are_named(tmp_path, spec):
    scene = write_scene(tmp_path / "s.tif", noise(40, 40))

    def numbered(inputs, valid):
        """Each tile is of the class of its number, so that seams show."""
        numbered.count += len(inputs)
        one = torch.arange(numbered.count - len(inputs), numbered.count) % 4
        return torch.nn.functional.one_hot(one, 4)[:, :, None, None].expand(-1, -1, 32, 32).float()

    def mapped(**options):
        numbered.count = 0
        options = ClassMapOptions(tile_px=32, overlap_px=24, device="cpu", preview=False, **options)
        given = {"score": numbered, "spec": spec, "options": options, "model_id": "m"}
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        predict_rasters(scene, out, products=ClassMap(spec, options), **given)
        with rasterio.open(out / "s.tif") as source:
            return source.read(1)

    values = np.array([item.value for item in spec.classes])
    first = np.full((40, 40), values[3])
    first[:32, 32:], first[32:, :32], first[:32, :32] = values[1], values[2], values[0]
    np.testing.assert_array_equal(mapped(merger="FirstTile"), first)
    inverted = mapped(merger="FirstTile", writer="Inverted")
    np.testing.assert_array_equal(inverted, values[3 - np.searchsorted(values, first)])
    with pytest.raises(
        ConfigError, match=r"inference.merger: unknown merger 'FristTile'; did you mean 'FirstT"
    ):
        mapped(merger="FristTile")


def test_the_fingerprint_knows_what_decides_a_map(tmp_path, spec):
    scene = write_scene(tmp_path / "s.tif", noise(20, 20))
    options = ClassMapOptions()
    job = MapJob(str(scene), spec, 16, 4, 3, tmp_path, "RasterTiles", options, ClassMap(spec, options))
    marks = {job.fingerprint("m"), job.fingerprint("other"), job.fingerprint("m", "fp16")}
    without = ClassMap(spec, ClassMapOptions(predict_background=False))
    for change in (
        {"tile_px": 8},
        {"overlap_px": 5},
        {"options": ClassMapOptions(margin_px=1)},
        {"options": ClassMapOptions(merger="FirstTile")},
        {"reader": "Backwards"},
        {"batch_size": 2},
        {"products": without},
    ):
        marks.add(replace(job, **change).fingerprint("m"))
    marks.add(replace(job, spec=replace(spec, nodata=3.0)).fingerprint("m"))
    write_scene(scene, noise(20, 21))
    marks.add(job.fingerprint("m"))
    assert len(marks) == 12


def test_a_row_of_an_image_of_one_pixel(tmp_path, spec):
    scene = write_scene(tmp_path / "s.tif", noise(1, 1))
    options = ClassMapOptions()
    job = MapJob(str(scene), spec, 16, 4, 3, tmp_path, "RasterTiles", options, ClassMap(spec, options))
    map_rows(job, [0], pointwise, device=CPU)
    assert job.missing_rows() == []
