"""Object classification: a class for a whole picture, be it a file or a feature of a scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomm.registry import TASKS
from geomm.structures import ClassificationSpec, RasterSpec
from geomm.tasks.base import ARCGIS_FUNCTIONS, Finished
from geomm.tasks.raster import RasterTask

if TYPE_CHECKING:
    from mmengine.evaluator import BaseMetric
    from mmengine.model import BaseModel

    from geomm.datasets.pictures.source import LabelTarget
    from geomm.inference import PredictionReport
    from geomm.inference.inputs import Inputs
    from geomm.inference.options import LabelOptions


@TASKS.register_module()
class Classification(RasterTask):
    """Object classification.

    A sample is a ``RasterSample`` whose extras hold ``labels`` (K,); a prediction is a probability a
    class; the output is the layer of features, a table of files, or points where photos were taken.

    Args:
      monitor: validation metric that the best checkpoint looks at.
      monitor_rule: ``greater`` or ``less``, what is better.
      augment: transforms of training pictures by name, in order.
      metrics: further metrics by name.
      mixup: alpha of mixup's Beta distribution (Zhang et al., 2018), 0 is off.
      oversample: pictures of rare classes come up several times, until each class has at least this
        share of the most frequent one's; 0 is off, 1 makes all equal.
      multi_label: whether a picture may show several classes; None where the data says.
    """

    name = "classification"
    raster_function = ARCGIS_FUNCTIONS / "geomm_object_classifier.py"
    spec_type = ClassificationSpec
    cpu_batch_size = 16
    example_input = "scene.tif inference.features=buildings.gpkg"

    def __init__(
        self,
        *,
        monitor: str = "mF1",
        monitor_rule: str = "greater",
        augment: Mapping[str, Mapping[str, Any] | None] | None = None,
        metrics: Mapping[str, Mapping[str, Any] | None] | None = None,
        mixup: float = 0.0,
        oversample: float = 0.0,
        multi_label: bool | None = None,
    ) -> None:
        super().__init__(monitor=monitor, monitor_rule=monitor_rule, augment=augment, metrics=metrics)
        self.mixup, self.oversample, self.multi_label = mixup, oversample, multi_label

    def target(self, config: Mapping[str, Any]) -> LabelTarget:
        from geomm.datasets.pictures.source import LabelTarget

        return LabelTarget(self.multi_label, self.oversample)

    def build_model(self, config: Mapping[str, Any], spec: ClassificationSpec) -> BaseModel:
        from geomm.models.pictures.classifier import Classifier

        return Classifier(
            backbone=config.get("backbone"),
            head=dict(config["head"]),
            loss=config.get("loss"),
            spec=spec,
            mixup=self.mixup,
        )

    def collate(self, samples: Sequence[Any]) -> dict[str, Any]:
        import numpy as np
        import torch

        labels = torch.from_numpy(np.stack([sample.extras["labels"] for sample in samples]))
        return {**super().collate(samples), "labels": labels}

    def own_metrics(self, spec: ClassificationSpec) -> list[BaseMetric]:
        from geomm.metrics.labels import LabelMetric

        return [LabelMetric([item.name for item in spec.classes], multi_label=spec.multi_label)]

    def draw_batch(self, source: Any, spec: Any, split: str, path: Path) -> Path:
        from geomm.visualization.labels import draw_labelled

        return draw_labelled(source.split(split), spec, path)

    def draw_figures(self, run: Finished) -> list[Path]:
        from geomm.visualization.confusion import draw_confusion
        from geomm.visualization.labels import draw_hardest

        names = [item.name for item in run.spec.classes]
        drawn = []
        for split, (metric, *_) in run.evaluations.items():
            if not run.spec.multi_label:
                drawn.append(draw_confusion(metric.confusion, names, run.folder / f"confusion_{split}.png"))
            hardest = run.folder / f"hardest_{split}.png"
            drawn.append(draw_hardest(metric, run.source.split(split), run.spec, hardest))
        return drawn

    def inference_options(
        self, model: Any, spec: ClassificationSpec, given: Mapping[str, Any]
    ) -> LabelOptions:
        from geomm.inference.options import LabelOptions

        return LabelOptions(**given)

    def predict(
        self,
        model: Any,
        spec: ClassificationSpec,
        inputs: Inputs,
        output: str | Path,
        options: LabelOptions,
        *,
        model_id: str,
    ) -> PredictionReport:
        from geomm.inference.pictures.features import classify_features
        from geomm.inference.pictures.images import classify_images

        classify = classify_images if options.features is None else classify_features
        return classify(inputs, output, score=model.predict_classes, spec=spec, options=options)

    def describe_spec(self, spec: RasterSpec) -> list[str]:
        lines = super().describe_spec(spec)
        assert isinstance(spec, ClassificationSpec)
        if spec.multi_label:
            lines.append("- several classes a picture, or none: each has a probability of its own")
        unit = "pixels" if spec.crs is None else "m"
        beside = f"{spec.margin:.0%} of its longer side"
        if spec.margin_m is not None:
            beside = f"{spec.margin_m:g} {unit}"
        hidden = ", what is outside of it hidden" if spec.blackout else ""
        if spec.margin or spec.margin_m:
            lines.append(f"- features are shown with {beside} of ground around{hidden}")
        return lines

    def stac_output(self, spec: RasterSpec) -> dict[str, Any]:
        from geomm.tasks.stac_model import output, tensor

        scores = tensor([-1, spec.num_classes], ["batch", "class"])
        return output("scores", "classification", scores, classes=spec.classes)

    def emd_keys(self, spec: ClassificationSpec) -> dict[str, Any]:
        return {
            "ModelType": "ObjectClassification",
            "CropSizeFixed": 0,
            "BlackenAroundFeature": int(spec.blackout),
        }
