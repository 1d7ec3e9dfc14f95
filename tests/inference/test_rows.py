"""The best class, and rows as units of work."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geomm.errors import DataError
from geomm.inference.job import SceneJob, class_nodata
from geomm.inference.rows import best_class, consecutive, map_rows
from tests.inference.conftest import noise, pointwise, write_scene

CPU = torch.device("cpu")


@given(classes=st.integers(1, 6), seed=st.integers(0, 50))
def test_the_best_class_is_the_first_of_the_highest(classes, seed):
    random = np.random.default_rng(seed)
    scores = torch.from_numpy(random.integers(0, 3, (classes, 5, 7)).astype(np.float32))
    best, index = best_class(scores)
    assert index.dtype == torch.uint8
    np.testing.assert_array_equal(index, scores.numpy().argmax(0))
    np.testing.assert_array_equal(best, scores.numpy().max(0))


def test_two_hundred_and_fifty_five_classes_fit():
    scores = torch.eye(255)[:, None]
    np.testing.assert_array_equal(best_class(scores)[1][0], range(255))


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
        products = ("classes", "probabilities", "confidence")
        return SceneJob(str(scene), spec, 16, int(16 * share), 3, products, work)

    together, apart = job("together"), job("apart")
    rows = range(len(together.grid.tops))
    map_rows(together, rows, smooth, device=CPU)
    for row in reversed(rows):
        map_rows(apart, [row], smooth, device=CPU)
    assert apart.missing_rows() == []
    for row in rows:
        for product in together.products:
            one, other = (one.chunk(product, row).read_bytes() for one in (together, apart))
            assert one == other


def test_the_fingerprint_knows_what_decides_a_map(tmp_path, spec):
    scene = write_scene(tmp_path / "s.tif", noise(20, 20))
    job = SceneJob(str(scene), spec, 16, 4, 3, ("classes",), tmp_path)
    from dataclasses import replace

    marks = {job.fingerprint("m"), job.fingerprint("other"), job.fingerprint("m", "fp16")}
    for change in ({"tile_px": 8}, {"overlap_px": 5}, {"batch_size": 2}, {"predict_background": False}):
        marks.add(replace(job, **change).fingerprint("m"))
    marks.add(replace(job, spec=replace(spec, nodata=3.0)).fingerprint("m"))
    write_scene(scene, noise(20, 21))
    marks.add(job.fingerprint("m"))
    assert len(marks) == 9


def test_nodata_is_a_value_of_no_class():
    assert class_nodata([1, 2]) == (0, "uint8")
    assert class_nodata([0, 1]) == (255, "uint8")
    assert class_nodata([0, 255]) == (254, "uint8")
    assert class_nodata([0, 300]) == (65535, "uint16")
    assert class_nodata(list(range(256)))[1] == "uint16"
    with pytest.raises(DataError, match="16 bits"):
        class_nodata([-1, 2])


def test_a_row_of_an_image_of_one_pixel(tmp_path, spec):
    scene = write_scene(tmp_path / "s.tif", noise(1, 1))
    job = SceneJob(str(scene), spec, 16, 4, 3, ("classes",), tmp_path)
    map_rows(job, [0], pointwise, device=CPU)
    assert job.missing_rows() == []
