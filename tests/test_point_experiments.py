"""The point-cloud experiments train and classify as users run them, and their packages say what they are."""

import json
import zipfile

import laspy
import numpy as np
import pytest

import geomm
from geomm.config.check import check
from geomm.samples import make

SHORT = [
    "schedule.epochs=1",
    "dataset.blocks_per_epoch=3",
    "dataset.block_points=512",
    "dataset.block_m=15",
    "schedule.batch_size=2",
    "runtime.workers=0",
    "tracking=none",
    "head.P=[-1,128,64]",
    "head.K=[8,8,8]",
    "head.D=[1,1,1]",
    "head.out_channels=[16,16,16]",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    import os

    folder = tmp_path_factory.mktemp("points")
    before = os.environ.get("GEOMM_CACHE")
    os.environ["GEOMM_CACHE"] = str(folder / "cache")
    package = geomm.train(["experiment=power_lines", *SHORT, f"work_dir={folder / 'run'}"])
    yield package, make("power_lines"), folder
    if before is None:
        del os.environ["GEOMM_CACHE"]
    else:
        os.environ["GEOMM_CACHE"] = before


def test_a_package_classifies_a_cloud_and_touches_nothing_else(run):
    package, sample, folder = run
    report = package.predict(sample["unseen"], output=folder / "out", device="cpu", overlap_m=0.5)
    assert report.failed == [] and all(path.is_file() for path in report.outputs)
    before, after = laspy.read(sample["unseen"]), laspy.read(report.outputs[0])
    for name in before.point_format.dimension_names:
        if name != "classification":
            np.testing.assert_array_equal(np.asarray(before[name]), np.asarray(after[name]))
    assert set(np.unique(after.classification)) <= {2, 5, 14, 15}


def test_a_package_says_what_it_reads_and_writes(run):
    package, _, folder = run
    with zipfile.ZipFile(folder / "run" / "model.dlpk") as archive:
        emd = json.loads(archive.read("model.emd"))
        card = archive.read("README.md").decode()
        item = json.loads(archive.read("mlm.json"))
    assert emd["ModelType"] == "PointCloudClassification"
    assert [entry["Value"] for entry in emd["Classes"]] == [2, 5, 14, 15]
    assert emd["ExtraFeatures"][0][0] == "intensity"
    assert "scene.tif" not in card and "imagery" not in card
    assert "height_above_ground" in card and "14 wire" in card
    assert item["properties"]["mlm:name"] == "PointCNN"
    assert "PointCNN" in repr(package)


def test_metrics_and_figures_are_there(run):
    _, _, folder = run
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    for kind in ("precision", "recall", "F1", "IoU"):
        assert f"{kind}/wire" in metrics["val"]
    names = {path.name for path in (folder / "run" / "figures").glob("*.png")}
    assert {"confusion_val.png", "samples_val.png"} <= names


@pytest.mark.parametrize(
    "given, expected",
    [
        (["dataset.blok_m=3"], "did you mean 'block_m'"),
        (["dataset.sample=power_lines", "head.sampling=fartest"], "did you mean 'farthest'"),
        (["dataset.sample=power_lines", "dataset.split.by=files"], "did you mean 'file'"),
        ([], "give dataset.root=…"),
        (["dataset.root=nowhere.laz"], "does not exist"),
        (["dataset.sample=power_lines", "head=unet"], "choose head=pointcnn"),
        (["dataset.sample=power_lines", "task.neighbours=gpu"], "task.neighbours"),
    ],
)
def test_mistakes_are_named_before_anything_starts(given, expected):
    problems = check("train", ["task=point_cloud", *given]).problems
    assert any(expected in str(problem) for problem in problems), problems
