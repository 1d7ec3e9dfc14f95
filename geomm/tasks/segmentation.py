"""Pixel classification: a class for every pixel of a scene."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomm.registry import TASKS
from geomm.structures import RasterSpec
from geomm.tasks.base import ARCGIS_FUNCTIONS, Finished
from geomm.tasks.raster import RasterTask

if TYPE_CHECKING:
    from mmengine.evaluator import BaseMetric
    from mmengine.model import BaseModel

    from geomm.inference import ClassMapOptions, PredictionReport
    from geomm.inference.inputs import Inputs


@TASKS.register_module()
class Segmentation(RasterTask):
    """Pixel classification (semantic segmentation).

    A sample is a ``RasterSample`` with a mask; a prediction is class probabilities a pixel; the map
    output is a class raster on the input's own grid, with polygons and probabilities on request.

    Args:
      monitor: validation metric that the best checkpoint looks at.
      monitor_rule: ``greater`` or ``less``, what is better.
      augment: transforms of training windows by name, in order.
      metrics: further metrics by name.
      mixup: alpha of mixup's Beta distribution (Zhang et al., 2018), 0 is off.
    """

    name = "segmentation"
    raster_function = ARCGIS_FUNCTIONS / "geomm_pixel_classifier.py"

    def __init__(
        self,
        *,
        monitor: str = "mIoU",
        monitor_rule: str = "greater",
        augment: Mapping[str, Mapping[str, Any] | None] | None = None,
        metrics: Mapping[str, Mapping[str, Any] | None] | None = None,
        mixup: float = 0.0,
    ) -> None:
        super().__init__(monitor=monitor, monitor_rule=monitor_rule, augment=augment, metrics=metrics)
        self.mixup = mixup

    def build_model(self, config: Mapping[str, Any], spec: RasterSpec) -> BaseModel:
        from geomm.models.maps.segmentor import Segmentor

        return Segmentor(
            backbone=config.get("backbone"),
            head=dict(config["head"]),
            loss=config.get("loss"),
            spec=spec,
            mixup=self.mixup,
        )

    def own_metrics(self, spec: RasterSpec) -> list[BaseMetric]:
        from geomm.metrics.segmentation import SegmentationMetric

        return [SegmentationMetric(classes=[item.name for item in spec.classes])]

    def draw_batch(self, source: Any, spec: Any, split: str, path: Path) -> Path:
        from geomm.visualization.panels import draw_segmentation_panels

        return draw_segmentation_panels(None, source.split(split), spec, path, rows=4)

    def draw_figures(self, run: Finished) -> list[Path]:
        from geomm.visualization.confusion import draw_confusion
        from geomm.visualization.panels import draw_segmentation_panels

        names = [item.name for item in run.spec.classes]
        drawn = []
        for split, metrics in run.evaluations.items():
            matrix = metrics[0].confusion
            drawn.append(draw_confusion(matrix, names, run.folder / f"confusion_{split}.png"))
            drawn.append(
                draw_segmentation_panels(
                    run.model,
                    run.source.split(split),
                    run.spec,
                    run.folder / f"samples_{split}.png",
                )
            )
        return drawn

    def inference_options(self, model: Any, spec: RasterSpec, given: Mapping[str, Any]) -> ClassMapOptions:
        from geomm.inference import ClassMapOptions

        return ClassMapOptions(**given).sized_for(model, spec)

    def predict(
        self,
        model: Any,
        spec: RasterSpec,
        inputs: Inputs,
        output: str | Path,
        options: ClassMapOptions,
        *,
        model_id: str,
    ) -> PredictionReport:
        from geomm.inference import ClassMap, predict_rasters

        return predict_rasters(
            inputs,
            output,
            score=model.predict_scores,
            spec=spec,
            products=ClassMap(spec, options),
            options=options,
            model_id=model_id,
        )

    def stac_output(self, spec: RasterSpec) -> dict[str, Any]:
        from geomm.tasks.stac_model import output, tensor

        edge = spec.window_px
        scores = tensor([-1, spec.num_classes, edge, edge], ["batch", "class", "height", "width"])
        return output("scores", "semantic-segmentation", scores, classes=spec.classes)

    def emd_keys(self, spec: RasterSpec) -> dict[str, Any]:
        return {
            "ModelType": "ImageClassification",
        }
