"""What every task shares: its source is given what the task makes of labels."""

import numpy as np
import pytest

from geomm.errors import ConfigError
from geomm.registry import DATASETS
from geomm.structures import Objects
from geomm.tasks.classification import Classification
from geomm.tasks.detection import Detection
from geomm.tasks.instance_segmentation import InstanceSegmentation
from geomm.tasks.segmentation import Segmentation
from geomm.tasks.super_resolution import SuperResolution
from tests.models.common import make_spec


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


def test_a_task_is_not_judged_twice_by_the_same_metric():
    """Both would name their results alike."""
    task = Detection(metrics={"mine": {"type": "DetectionMetric", "classes": ["tree"]}})
    with pytest.raises(ConfigError, match=r"task\.metrics\.mine: DetectionMetric judges this task already"):
        task.metrics(make_spec(3))


@pytest.mark.parametrize(("iou", "right"), [(0.3, 1.0), (0.5, 0.0)])
def test_detection_is_judged_at_the_iou_that_is_asked_for(iou, right):
    (metric,) = Detection(iou=iou).metrics(make_spec(3))
    truth = Objects(np.array([[0, 0, 10, 10]], np.float32), np.zeros(1, np.int64))
    found = Objects(np.array([[0, 0, 10, 4]], np.float32), np.zeros(1, np.int64), np.ones(1, np.float32))
    metric.process({}, [{"prediction": found, "objects": truth}])
    result = metric.compute_metrics(metric.results)
    assert result[f"AP{iou * 100:g}"] == pytest.approx(right, abs=0.01)
    assert result["F1"] == right and result["AP50"] == 0
