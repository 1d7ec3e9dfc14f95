"""Super-resolution: the same scene on a finer grid."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomm.registry import TASKS
from geomm.structures import RasterSpec
from geomm.tasks.base import Finished
from geomm.tasks.raster import RasterTask

if TYPE_CHECKING:
    from mmengine.evaluator import BaseMetric
    from mmengine.model import BaseModel

    from geomm.datasets.maps.targets import FinerTarget
    from geomm.inference import FinerOptions, PredictionReport
    from geomm.inference.inputs import Inputs


@TASKS.register_module()
class SuperResolution(RasterTask):
    """Super-resolution.

    A sample is a ``RasterSample`` of a coarser picture with the finer one in its extras; a prediction is
    finer pixels in the raster's own units; the map output is the input on a grid finer by ``head.scale``.

    Args:
      monitor: validation metric that the best checkpoint looks at.
      monitor_rule: ``greater`` or ``less``, what is better.
      augment: transforms of finer windows by name, in order.
      degrade: transforms that make the coarser picture of a finer window by name, in order; one of them
        is a ``Downsample``.
      metrics: further metrics by name.
    """

    name = "super_resolution"

    def __init__(
        self,
        *,
        monitor: str = "PSNR",
        monitor_rule: str = "greater",
        augment: Mapping[str, Mapping[str, Any] | None] | None = None,
        degrade: Mapping[str, Mapping[str, Any] | None] | None = None,
        metrics: Mapping[str, Mapping[str, Any] | None] | None = None,
    ) -> None:
        super().__init__(monitor=monitor, monitor_rule=monitor_rule, augment=augment, metrics=metrics)
        self.degrade = degrade or {"downsample": {"type": "Downsample"}}

    def target(self, config: Mapping[str, Any]) -> FinerTarget:
        from geomm.datasets.maps.targets import FinerTarget

        return FinerTarget(scale=int(config["head"]["scale"]), degrade=self.degrade)

    def build_model(self, config: Mapping[str, Any], spec: RasterSpec) -> BaseModel:
        from geomm.models.maps.adversarial import AdversarialSuperResolver
        from geomm.models.maps.super_resolver import SuperResolver

        head = dict(config["head"])
        kind = AdversarialSuperResolver if head.get("adversarial") else SuperResolver
        return kind(head=head, loss=config.get("loss"), spec=spec)

    def own_metrics(self, spec: RasterSpec) -> list[BaseMetric]:
        from geomm.metrics.super_resolution import SuperResolutionMetric

        lowest, highest = value_range(spec)
        return [SuperResolutionMetric(highest - lowest, crop_px=spec.scale, lowest=lowest)]

    def draw_batch(self, source: Any, spec: Any, split: str, path: Path) -> Path:
        from geomm.visualization.finer import draw_finer_panels

        return draw_finer_panels(None, source.split(split), path)

    def draw_figures(self, run: Finished) -> list[Path]:
        from geomm.visualization.finer import draw_finer_panels

        return [
            draw_finer_panels(run.model, run.source.split(split), run.folder / f"samples_{split}.png")
            for split in run.evaluations
        ]

    def inference_options(self, model: Any, spec: RasterSpec, given: Mapping[str, Any]) -> FinerOptions:
        from geomm.inference import FinerOptions

        return FinerOptions(**given)

    def predict(
        self,
        model: Any,
        spec: RasterSpec,
        inputs: Inputs,
        output: str | Path,
        options: FinerOptions,
        *,
        model_id: str,
    ) -> PredictionReport:
        from geomm.inference import FinerScene, predict_rasters
        from geomm.visualization.finer import draw_finer_preview

        preview = partial(draw_finer_preview, bands=spec.bands) if options.preview else None
        return predict_rasters(
            inputs,
            output,
            score=model.predict_pixels,
            spec=spec,
            products=FinerScene(spec, preview=preview),
            options=options,
            model_id=model_id,
        )

    def stac_output(self, spec: RasterSpec) -> dict[str, Any]:
        from geomm.tasks.stac_model import output, tensor

        edge = spec.window_px * spec.scale
        pixels = tensor([-1, spec.in_channels, edge, edge], ["batch", "bands", "height", "width"])
        return output("pixels", "super-resolution", pixels, bands=spec.band_names)

    def emd_keys(self, spec: RasterSpec) -> dict[str, Any]:
        return {
            "ModelType": "SuperResolution",
            "DownsampleFactor": spec.scale,
        }


def value_range(spec: RasterSpec) -> tuple[float, float]:
    """Return what PSNR and SSIM are relative to: 0 to 255 for bytes, else what the training pixels span."""
    if spec.dtype == "uint8":
        return 0.0, 255.0
    statistics = spec.statistics
    lowest = min(statistics.min)
    return lowest, max(max(statistics.max), lowest + 1e-12)
