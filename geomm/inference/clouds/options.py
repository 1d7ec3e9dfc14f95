"""The options of classifying clouds, as configs/inference/point_cloud.yaml lists them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from geomm.errors import ConfigError, did_you_mean
from geomm.inference.options import InferenceOptions
from geomm.points import PointSpec


@dataclass(frozen=True)
class PointOptions(InferenceOptions):
    """How clouds are classified; see configs/inference/point_cloud.yaml for what each is for."""

    block_m: float | str | None = None
    overlap_m: float | str | None = None
    region_points: int = 400_000
    neighbours: bool = True
    confidence: bool = False
    classes: Sequence[int | str] | None = None
    preserve: Sequence[int] | None = None
    remap: Mapping[int, int] | None = None
    boundary: str | None = None

    def blocks(self, spec: PointSpec) -> tuple[float, float]:
        """Return edge and overlap of blocks, metres: the training block, a quarter shared.

        Raises:
          ConfigError: the overlap does not fit the block.
        """
        block = _metres(self.block_m) or spec.block_m
        overlap = _metres(self.overlap_m)
        overlap = block / 4 if overlap is None else overlap
        if not 0 <= overlap <= block * 0.9:
            raise ConfigError(
                f"inference.overlap_m: found {overlap:g}, expected 0 to {block * 0.9:g} for "
                f"blocks of {block:g} m"
            )
        return block, overlap

    def written(self, spec: PointSpec) -> list[int]:
        """Return the indices of the classes that are written.

        Raises:
          ConfigError: a class that the model does not have.
        """
        if self.classes is None:
            return list(range(spec.num_classes))
        known = {str(item.value): index for index, item in enumerate(spec.classes)}
        known |= {item.name: index for index, item in enumerate(spec.classes)}
        for given in self.classes:
            if str(given) not in known:
                raise ConfigError(f"inference.classes: unknown {given!r}; {did_you_mean(str(given), known)}")
        return [known[str(given)] for given in self.classes]


def _metres(value: float | str | None) -> float | None:
    return None if value in (None, "auto") else float(value)  # type: ignore[arg-type]
