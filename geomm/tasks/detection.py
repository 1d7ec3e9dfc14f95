"""Detection: a box around every object of a class."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from geomm.errors import ConfigError, Problem
from geomm.registry import TASKS
from geomm.structures import RasterSpec
from geomm.tasks.base import ARCGIS_FUNCTIONS, Finished
from geomm.tasks.raster import RasterTask

if TYPE_CHECKING:
    from mmengine.evaluator import BaseMetric
    from mmengine.model import BaseModel

    from geomm.datasets.objects.targets import BoxTarget
    from geomm.inference import ObjectOptions, PredictionReport
    from geomm.inference.inputs import Inputs
    from geomm.models.objects.model import ObjectModel

_NO_WEIGHTS = (
    "found none, and dataset=none has nothing to learn from; give the file or address of mmdet's published "
    "weights, for YOLOv3 yolov3_d53_mstrain-608_273e_coco_20210518_115020-a2c3acb8.pth"
)


@TASKS.register_module()
class Detection(RasterTask):
    """Detection of objects as boxes, in scenes, chips and video.

    A sample is a ``RasterSample`` with ``objects`` among its extras; a prediction is ``Objects``; the map
    output is a layer of boxes with class and confidence.

    Args:
      monitor: validation metric that the best checkpoint looks at.
      monitor_rule: ``greater`` or ``less``, what is better.
      augment: transforms of training windows by name, in order.
      metrics: further metrics by name.
      iou: that a match needs for precision, recall, F1 and the curves; its AP is named ``AP`` with the per
        cent, such as ``AP30``, and may be the ``monitor``.
      score_threshold: from which score an object counts in precision, recall and F1, of the test samples
        too; None takes that of the best F1 on the validation data.
    """

    name = "detection"
    raster_function = ARCGIS_FUNCTIONS / "geomm_object_detector.py"
    cpu_batch_size = 4
    #: Whether objects have outlines beside their boxes.
    masked: ClassVar[bool] = False

    def __init__(
        self,
        *,
        monitor: str = "AP50",
        monitor_rule: str = "greater",
        augment: Mapping[str, Mapping[str, Any] | None] | None = None,
        metrics: Mapping[str, Mapping[str, Any] | None] | None = None,
        iou: float = 0.5,
        score_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor=monitor, monitor_rule=monitor_rule, augment=augment, metrics=metrics)
        self.iou, self.score_threshold = iou, score_threshold
        percent = re.fullmatch(r"AP(\d+(?:\.\d+)?)", monitor.partition("/")[0])
        measured = {"AP50", "AP75", f"AP{iou * 100:g}"}
        if percent and percent[0] not in measured:
            wanted = f"found {monitor!r}; allowed: AP, {', '.join(sorted(measured))}, precision, recall, F1; "
            needed = f"task.iou={float(percent[1]) / 100:g} measures {percent[0]} too"
            raise ConfigError([Problem("task.monitor", wanted + needed)])

    def target(self, config: Mapping[str, Any]) -> BoxTarget:
        from geomm.datasets.objects.targets import BoxTarget

        untaught = config["dataset"]["type"] == "NoData" and config["schedule"]["epochs"] == 0
        if untaught and config["head"].get("checkpoint", "its own") is None:
            raise ConfigError([Problem("head.checkpoint", _NO_WEIGHTS)])
        return BoxTarget.of(config["dataset"], masks=self.masked)

    def collate(self, samples: Sequence[Any]) -> dict[str, Any]:
        from geomm.datasets.objects.collate import collate_objects

        return collate_objects(samples)

    def own_metrics(self, spec: RasterSpec) -> list[BaseMetric]:
        from geomm.metrics.detection import DetectionMetric

        names = [item.name for item in spec.classes]
        return [
            DetectionMetric(
                classes=names, masks=self.masked, iou=self.iou, score_threshold=self.score_threshold
            )
        ]

    def build_model(self, config: Mapping[str, Any], spec: RasterSpec) -> BaseModel:
        from geomm.models.external import is_external
        from geomm.models.objects.detector import Detector
        from geomm.models.objects.external import ExternalDetector

        backbone, head = config.get("backbone"), config["head"]
        model: ObjectModel
        if is_external(head, backbone):
            model = ExternalDetector(head=head, spec=spec)
        else:
            model = Detector(backbone=backbone, head=head, spec=spec)
        model.keep_threshold(self.score_threshold)
        return model

    def complete_config(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        from geomm.models.external import is_external
        from geomm.models.objects.wiring import complete_head

        if is_external(config["head"], config.get("backbone")):
            return config
        return {**config, "head": complete_head(config["head"])}

    def draw_batch(self, source: Any, spec: Any, split: str, path: Path) -> Path:
        from geomm.visualization.objects import draw_object_panels

        return draw_object_panels(None, source.split(split), spec, path)

    def draw_figures(self, run: Finished) -> list[Path]:
        from geomm.visualization.objects import draw_object_panels, draw_precision_recall

        drawn = []
        for split, metrics in run.evaluations.items():
            threshold = metrics[0].threshold
            curves = run.folder / f"precision_recall_{split}.png"
            drawn.append(draw_precision_recall(metrics[0].curves, run.spec.classes, threshold, curves))
            panels = run.folder / f"samples_{split}.png"
            data = run.source.split(split)
            drawn.append(draw_object_panels(run.model, data, run.spec, panels, threshold=threshold))
        return drawn

    def inference_options(self, model: Any, spec: RasterSpec, given: Mapping[str, Any]) -> ObjectOptions:
        from geomm.inference import ObjectOptions

        chosen = ObjectOptions(**given).sized_for(model, spec)
        if chosen.score_threshold is None:
            return replace(chosen, score_threshold=model.best_threshold)
        return chosen

    def predict(
        self,
        model: Any,
        spec: RasterSpec,
        inputs: Inputs,
        output: str | Path,
        options: ObjectOptions,
        *,
        model_id: str,
    ) -> PredictionReport:
        from geomm.inference import predict_objects, predict_videos
        from geomm.io.video_files import are_videos

        find = predict_videos if are_videos(inputs) else predict_objects
        return find(inputs, output, detect=model.detect, spec=spec, options=options, model_id=model_id)

    def learn_from_evaluation(self, run: Finished) -> None:
        """Keep the score of the best F1 in the model, for inference to begin from."""
        judged = run.evaluations.get("val")
        if judged:
            run.model.keep_threshold(judged[0].threshold)

    def judge_as_kept(self, metrics: Sequence[BaseMetric], model: Any) -> None:
        """Count objects from the score that inference begins from, which other samples have no say in."""
        from geomm.inference.objects.options import USUAL_SCORE

        kept = model.best_threshold
        metrics[0].score_threshold = USUAL_SCORE if kept is None else kept

    def stac_output(self, spec: RasterSpec) -> dict[str, Any]:
        from geomm.tasks.stac_model import output, tensor

        kind = "instance-segmentation" if self.masked else "object-detection"
        said = "a row an object: xmin, ymin, xmax, ymax in pixels of the window, score, index of the class"
        said += "; a mask of the window beside each" if self.masked else ""
        rows = tensor([-1, -1, 6], ["batch", "object", "box_score_class"])
        return output("objects", kind, rows, classes=spec.classes, description=said)

    def emd_keys(self, spec: RasterSpec) -> dict[str, Any]:
        return {
            "ModelType": "ObjectDetection",
        }
