"""What every task shares: its source is given what the task makes of labels."""

import pytest

from geomm.registry import DATASETS
from geomm.tasks.classification import Classification
from geomm.tasks.detection import Detection
from geomm.tasks.instance_segmentation import InstanceSegmentation
from geomm.tasks.segmentation import Segmentation
from geomm.tasks.super_resolution import SuperResolution


@DATASETS.register_module()
class Given:
    """Keeps what a task gives its source."""

    def __init__(self, **given):
        self.given = given


@pytest.mark.parametrize(
    ("task", "kind", "said"),
    [
        (Segmentation(), None, {}),
        (Classification(oversample=0.5), "LabelTarget", {"oversample": 0.5}),
        (Detection(), "BoxTarget", {"masks": False, "min_visible": 0.25}),
        (InstanceSegmentation(), "BoxTarget", {"masks": True, "min_visible": 0.25}),
        (SuperResolution(), "FinerTarget", {"scale": 3}),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_source_is_given_the_tasks_target(task, kind, said):
    dataset = {"type": "Given", "tasks": [task.name], "min_visible": 0.25}
    given = task.build_source({"dataset": dataset, "head": {"scale": 3}, "seed": 7}).given
    assert given.pop("seed") == 7 and "tasks" not in given and given["min_visible"] == 0.25
    target = given.get("target")
    assert kind == (None if target is None else type(target).__name__)
    assert {key: getattr(target, key) for key in said} == said
