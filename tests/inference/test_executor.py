"""Rows may be computed anywhere, in any order: the map is the same to the byte."""

import pytest

from geomm import registry
from geomm.inference import ClassMap, ClassMapOptions, predict_rasters
from geomm.inference.executor import Executor
from geomm.registry import EXECUTORS
from tests.inference.conftest import noise, pointwise, write_scene


@pytest.fixture
def backwards():
    @EXECUTORS.register_module()
    class BackwardsExecutor(Executor):
        """One row at a time, the last first, as machines of a cluster might."""

        def run(self, job, model, device, done):
            for row in reversed(job.missing_rows()):
                job.compute([row], model, device, done)

    yield "backwards"
    EXECUTORS.module_dict.pop("BackwardsExecutor")


def test_another_executor_makes_the_same_map(tmp_path, spec, backwards):
    scene = write_scene(tmp_path / "s.tif", noise(90, 60), nodata=7)
    made = []
    for executor in ("local", backwards):
        options = ClassMapOptions(
            tile_px=32, overlap_px=20, device="cpu", preview=False, executor=executor, probabilities=True
        )
        out = tmp_path / executor
        products = ClassMap(spec, options)
        predict_rasters(
            scene, out, score=pointwise, spec=spec, products=products, options=options, model_id="m"
        )
        made.append([(out / name).read_bytes() for name in ("s.tif", "s_probabilities.tif")])
    assert made[0] == made[1]


@pytest.mark.parametrize(
    "kind, name",
    [
        ("READERS", "RasterTiles"),
        ("MERGERS", "ScoreBlend"),
        ("WRITERS", "RasterRowWriter"),
        ("EXECUTORS", "LocalExecutor"),
    ],
)
def test_every_stage_is_registered(kind, name):
    assert getattr(registry, kind).get(name).__name__ == name
