"""The options of detection and instance segmentation, on scenes and in video."""

from __future__ import annotations

from dataclasses import dataclass

from geomm.errors import ConfigError, did_you_mean
from geomm.inference.options import RasterOptions

#: Endings of layers, by the name that ``format`` has.
LAYER_ENDINGS = {"gpkg": ".gpkg", "geojson": ".geojson", "fgb": ".fgb", "parquet": ".parquet"}
#: What is kept where neither the options nor the package say.
USUAL_SCORE = 0.5


@dataclass(frozen=True)
class ObjectOptions(RasterOptions):
    """How objects are found; see configs/inference/detection.yaml for what each is for."""

    score_threshold: float | None = None
    merge: str = "nms"
    iou_threshold: float = 0.5
    edge_px: float = 2.0
    format: str = "auto"
    one_layer: bool | str = "auto"
    min_area_m2: float = 0.0
    track: bool = True
    assignment_iou: float = 0.3
    vanish_frames: int = 40
    detect_frames: int = 10
    footprints: str | None = None
    draw_labels: bool = True
    draw_scores: bool = True
    line_px: int | None = None

    @property
    def least_score(self) -> float:
        return USUAL_SCORE if self.score_threshold is None else float(self.score_threshold)

    def __post_init__(self) -> None:
        """Check also that the format is one of layers.

        Raises:
          ConfigError: it is not, or another option has a value that it cannot have.
        """
        super().__post_init__()
        formats = ("auto", *LAYER_ENDINGS)
        if self.format not in formats:
            raise ConfigError(
                f"inference.format: unknown {self.format!r}; {did_you_mean(str(self.format), formats)}"
            )
