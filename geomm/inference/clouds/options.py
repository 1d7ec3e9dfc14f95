"""The options of classifying clouds, as configs/inference/point_cloud.yaml lists them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from geomm.errors import ConfigError, did_you_mean
from geomm.inference.options import InferenceOptions
from geomm.points import PointSpec, to_code


@dataclass(frozen=True)
class PointOptions(InferenceOptions):
    """How clouds are classified; see configs/inference/point_cloud.yaml for what each is for."""

    block_m: float | str | None = None
    overlap_m: float | str | None = None
    region_points: int = 400_000
    neighbours: bool = True
    confidence: bool = False
    classes: Sequence[int | str] | int | str | None = None
    preserve: Sequence[int | str] | int | str | None = None
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
        chosen = [str(given) for given in _listed(self.classes)]
        for given in chosen:
            if given not in known:
                raise ConfigError(f"inference.classes: unknown {given!r}; {did_you_mean(given, known)}")
        return [known[given] for given in chosen]

    def preserved(self, spec: PointSpec) -> list[int]:
        """Return the codes whose points keep them; a class's name stands for all of its codes.

        Raises:
          ConfigError: what is neither a code nor a class of the model.
        """
        names = [item.name for item in spec.classes]
        found: list[int] = []
        for given in _listed(self.preserve):
            if given in names:
                found += [code for code, index in spec.codes.items() if names[index] == given]
            else:
                found.append(to_code("inference.preserve", given, f" or one of {', '.join(names)}"))
        return found

    def remapped(self) -> dict[int, int]:
        """Return the codes that are changed first, and what they become.

        Raises:
          ConfigError: what is no code.
        """
        given = self.remap or {}
        if not isinstance(given, Mapping):
            raise ConfigError(f"inference.remap: found {given!r}, expected {{old code: new code, …}}")
        return {
            to_code("inference.remap", old): to_code("inference.remap", new) for old, new in given.items()
        }


def _listed(value: Sequence[int | str] | int | str | None) -> list[int | str]:
    if value is None:
        return []
    return [value] if isinstance(value, int | str) else list(value)


def _metres(value: float | str | None) -> float | None:
    return None if value in (None, "auto") else float(value)  # type: ignore[arg-type]
