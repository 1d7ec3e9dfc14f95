"""Rows as units of work."""

from dataclasses import replace

import pytest
import torch

from geomm.inference.executor import consecutive
from geomm.inference.maps.job import MapJob
from geomm.inference.maps.products import ClassMap
from geomm.inference.maps.rows import map_rows
from geomm.inference.options import ClassMapOptions
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
        products = ClassMap(spec, ClassMapOptions(probabilities=True, polygons=True))
        return MapJob(str(scene), spec, 16, int(16 * share), 3, work, 0, products)

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


def test_the_fingerprint_knows_what_decides_a_map(tmp_path, spec):
    scene = write_scene(tmp_path / "s.tif", noise(20, 20))
    job = MapJob(str(scene), spec, 16, 4, 3, tmp_path, 0, ClassMap(spec, ClassMapOptions()))
    marks = {job.fingerprint("m"), job.fingerprint("other"), job.fingerprint("m", "fp16")}
    without = ClassMap(spec, ClassMapOptions(predict_background=False))
    for change in (
        {"tile_px": 8},
        {"overlap_px": 5},
        {"margin_px": 1},
        {"batch_size": 2},
        {"products": without},
    ):
        marks.add(replace(job, **change).fingerprint("m"))
    marks.add(replace(job, spec=replace(spec, nodata=3.0)).fingerprint("m"))
    write_scene(scene, noise(20, 21))
    marks.add(job.fingerprint("m"))
    assert len(marks) == 10


def test_a_row_of_an_image_of_one_pixel(tmp_path, spec):
    scene = write_scene(tmp_path / "s.tif", noise(1, 1))
    job = MapJob(str(scene), spec, 16, 4, 3, tmp_path, 0, ClassMap(spec, ClassMapOptions()))
    map_rows(job, [0], pointwise, device=CPU)
    assert job.missing_rows() == []
