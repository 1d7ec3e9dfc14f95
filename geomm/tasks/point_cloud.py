"""Point-cloud classification: a class for every point of a cloud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomm.points import PointSpec
from geomm.registry import TASKS
from geomm.tasks.base import Finished, Task

if TYPE_CHECKING:
    from mmengine.evaluator import BaseMetric
    from mmengine.model import BaseModel

    from geomm.inference import PointOptions, PredictionReport
    from geomm.inference.inputs import Inputs
    from geomm.models.clouds.neighbours import PyramidPlan


@TASKS.register_module()
class PointCloud(Task):
    """Classification of the points of LiDAR or photogrammetric clouds.

    A sample is a ``PointSample``; a prediction is class probabilities a point; the output is the
    input file with its classification filled in.

    Args:
      monitor: validation metric that the best checkpoint looks at.
      monitor_rule: ``greater`` or ``less``, what is better.
      augment: transforms of training samples by name, in order.
      metrics: further metrics by name.
      neighbours: where neighbours are searched: ``workers`` (k-d trees beside the model), ``device``
        (by the model, on its device), ``auto`` (on a GPU there, else in the workers).
    """

    name = "point_cloud"
    spec_type = PointSpec
    example_input = "cloud.laz"
    limits = (
        "It was judged on clouds of the same survey as it was trained on. On another sensor, season, point "
        "density or region, check its results against samples of your own first."
    )

    def __init__(
        self,
        *,
        monitor: str = "mIoU",
        monitor_rule: str = "greater",
        augment: Mapping[str, Mapping[str, Any] | None] | None = None,
        metrics: Mapping[str, Mapping[str, Any] | None] | None = None,
        neighbours: str = "auto",
    ) -> None:
        super().__init__(monitor=monitor, monitor_rule=monitor_rule, augment=augment, metrics=metrics)
        self.neighbours = neighbours
        self._plan: PyramidPlan | None = None

    def build_model(self, config: Mapping[str, Any], spec: PointSpec) -> BaseModel:
        from geomm.models.clouds.segmentor import PointSegmentor

        model = PointSegmentor(head=dict(config["head"]), loss=config.get("loss"), spec=spec)
        device = str((config.get("runtime") or {}).get("device", "auto"))
        self._plan = None if self._on_device(device) else model.plan
        return model

    def _on_device(self, device: str) -> bool:
        if self.neighbours != "auto":
            return self.neighbours == "device"
        if device != "auto":
            return device.startswith("cuda")
        import torch

        return bool(torch.cuda.is_available())

    def collate(self, samples: Sequence[Any]) -> dict[str, Any]:
        from geomm.datasets.clouds.collate import collate_points

        if self._plan is None:
            return collate_points(samples)
        return collate_points(samples, partial(_find, plan=self._plan))

    def own_metrics(self, spec: PointSpec) -> list[BaseMetric]:
        from geomm.metrics.segmentation import SegmentationMetric

        return [SegmentationMetric(classes=[item.name for item in spec.classes])]

    def draw_batch(self, source: Any, spec: Any, split: str, path: Path) -> Path:
        from geomm.visualization.points import draw_point_panels

        return draw_point_panels(None, source.split(split), spec, path)

    def draw_figures(self, run: Finished) -> list[Path]:
        from geomm.visualization.confusion import draw_confusion
        from geomm.visualization.points import draw_point_panels

        names = [item.name for item in run.spec.classes]
        drawn = []
        for split, metrics in run.evaluations.items():
            drawn.append(draw_confusion(metrics[0].confusion, names, run.folder / f"confusion_{split}.png"))
            drawn.append(
                draw_point_panels(
                    lambda sample: run.model.predict_scores(self.collate([sample])).argmax(1).cpu().numpy(),
                    run.source.split(split),
                    run.spec,
                    run.folder / f"samples_{split}.png",
                )
            )
        return drawn

    def inference_options(self, model: Any, spec: PointSpec, given: Mapping[str, Any]) -> PointOptions:
        from geomm.inference import PointOptions

        return PointOptions(**given)

    def predict(
        self,
        model: Any,
        spec: PointSpec,
        inputs: Inputs,
        output: str | Path,
        options: PointOptions,
        *,
        model_id: str,
    ) -> PredictionReport:
        from geomm.inference import predict_clouds

        self._plan = None if self._on_device(str(options.resolve_device())) else model.plan
        return predict_clouds(
            inputs,
            output,
            collate=self.collate,
            score=model.predict_scores,
            spec=spec,
            options=options,
            model_id=model_id,
        )

    def describe_spec(self, spec: PointSpec) -> list[str]:
        classes = ", ".join(f"{item.value} {item.name}" for item in spec.classes)
        return [
            f"- points with {', '.join(spec.features) or 'coordinates alone'}; about "
            f"{spec.points_per_m2:.3g} points a square metre, blocks of {spec.block_m:g} m",
            f"- classification codes: {classes}",
        ]

    def stac_keys(self, spec: PointSpec) -> dict[str, Any]:
        from geomm.tasks.stac_model import output, tensor

        names = ["x", "y", "z", *spec.features]
        points = {
            "name": "points",
            "description": f"points of a block of {spec.block_m:g} m: {', '.join(names)}",
            "input": tensor([-1, spec.block_points, len(names)], ["batch", "point", "feature"]),
        }
        scores = tensor([-1, spec.block_points, spec.num_classes], ["batch", "point", "class"])
        result = output("scores", "semantic-segmentation", scores, classes=spec.classes)
        return {"mlm:tasks": result["tasks"], "mlm:input": [points], "mlm:output": [result]}

    def emd_keys(self, spec: PointSpec) -> dict[str, Any]:
        statistics = spec.statistics
        limits = zip(spec.features, statistics.min, statistics.max, strict=True)
        return {
            "ModelType": "PointCloudClassification",
            "ExtraFeatures": [[name, low, high] for name, low, high in limits],
            "BlockSize": spec.block_m,
            "MaxPoints": spec.block_points,
        }


def _find(xyz: Sequence[Any], *, plan: PyramidPlan) -> dict[str, Any]:
    from geomm.models.clouds.neighbours import build_pyramid

    return build_pyramid(xyz, plan).to_dict()
