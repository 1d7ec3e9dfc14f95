"""``dataset=auto`` on the command line."""

import json
import subprocess
import sys

import pytest

from geomm.config import compose
from geomm.config.check import check
from geomm.config.compose import hydra_session


@pytest.fixture
def export(tmp_path):
    def write(kind, folder="it's data"):
        root = tmp_path / folder
        (root / "images").mkdir(parents=True)
        (root / "images" / "000000000.tif").write_text("")
        (root / "esri_model_definition.emd").write_text(json.dumps({"MetaDataMode": kind}))
        return root

    return write


def composed(checked):
    with hydra_session():
        return compose("train", checked.overrides)


def test_the_data_names_dataset_and_task(export):
    root = export("PASCAL_VOC_rectangles")
    quoted = str(root).replace("'", "\\'")
    checked = check("train", ["dataset=auto", f"dataset.root='{quoted}'", "dataset.window_px=96"])
    assert checked.problems == ()
    (note,) = checked.notes
    assert note.endswith(
        "1 chip: taken as dataset=chips task=detection (also for task instance_segmentation)"
    )
    cfg = composed(checked)
    assert (cfg.dataset.type, cfg.dataset.root, cfg.dataset.window_px) == ("Chips", str(root), 96)
    assert cfg.task.type == "Detection"


def test_a_task_that_is_named_stays_and_must_fit(export):
    root = export("RCNN_Masks", "masks")
    given = ["dataset=auto", f"dataset.root={root}"]
    assert composed(check("train", [*given, "task=detection"])).task.type == "Detection"
    assert composed(check("train", given)).task.type == "InstanceSegmentation"
    (problem,) = check("train", [*given, "task=segmentation"]).problems
    assert str(problem) == (
        f"task: segmentation does not fit: {root} holds an ArcGIS export of RCNN_Masks, 1 chip, which is for "
        "task instance_segmentation, detection"
    )
    (problem,) = check("train", ["dataset=chips", f"dataset.root={root}", "task=segmentation"]).problems
    assert "is an export of RCNN_Masks, which is for task instance_segmentation" in str(problem)
    assert "task=segmentation cannot read it" in str(problem)


def test_an_experiment_settles_the_task(export):
    root = export("Labeled_Tiles", "tiles")
    (problem,) = check("train", ["experiment=tree_crowns", "dataset=auto", f"dataset.root={root}"]).problems
    assert str(problem).startswith("task: detection does not fit")


def test_what_the_dataset_needs_beside_its_paths_is_asked_for(tmp_path):
    (tmp_path / "houses.csv").write_text("price,area\n1,2\n")
    checked = check("train", ["dataset=auto", f"dataset.root={tmp_path}"])
    assert [problem.path for problem in checked.problems] == ["dataset.target"]
    checked = check("train", ["dataset=auto", f"dataset.root={tmp_path}", "dataset.target=price"])
    assert checked.problems == () and composed(checked).dataset.path == str(tmp_path / "houses.csv")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["dataset=auto"], "dataset.root: a value is required and missing"),
        (["dataset=auto", "dataset.root=/no/where"], "dataset.root: /no/where: there is no such folder"),
        (["dataset=auto", "dataset.root=a,b"], "dataset.root: dataset=auto cannot be swept"),
    ],
)
def test_mistakes_are_problems_of_the_config(given, said):
    (problem,) = check("train", given).problems
    assert str(problem).startswith(said)


def test_the_tool_says_what_it_found_without_torch(export, root):
    folder = export("Classified_Tiles", "c")
    code = (
        "import sys\nfrom geomm.cli import train\n"
        f"train(['dataset=auto', 'dataset.root={folder}', '--cfg', 'job'])\n"
        "print(sorted({'torch', 'rasterio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stderr.strip().endswith("taken as dataset=chips task=segmentation")
    assert done.stdout.splitlines()[-1] == "[]" and "type: Chips" in done.stdout
