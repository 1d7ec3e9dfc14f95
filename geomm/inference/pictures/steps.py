"""Pictures by batches, and the columns that their classes become."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geomm.datasets.pictures.crops import LEAST_COVERED, Crop, read_crop
from geomm.errors import DataError
from geomm.metrics.labels import THRESHOLD
from geomm.structures import ClassificationSpec

NO_DATA = "no data"


@dataclass
class PictureRows:
    """Rows that are finished together.

    Attributes:
      batch: what they are: an Arrow record batch, or a list of files.
      scores: (n, K), NaN where there is none.
      reasons: why a row has none.
      outlines: geometries in pixels of their scene.
      scenes: number of each one's scene, -1 where it lies on none.
    """

    batch: Any
    scores: NDArray[np.float32]
    reasons: list[str | None]
    outlines: Any = None
    scenes: Any = None


@dataclass
class PictureStep:
    """What the model takes at a time: pictures of some rows; ``ends`` where the rows are complete."""

    rows: PictureRows
    positions: list[int] = field(default_factory=list)
    inputs: torch.Tensor | None = None
    valid: torch.Tensor | None = None
    ends: bool = False


def picture_steps(
    rows: PictureRows,
    crops: Sequence[tuple[int, Crop]],
    spec: ClassificationSpec,
    batch: int,
    *,
    strict: bool,
) -> Iterator[PictureStep]:
    """Read pictures in the order given and yield them by batches; the last step ends the rows."""
    samples, positions = [], []
    for position, crop in crops:
        try:
            sample = read_crop(crop, spec.bands, spec.window_px, blackout=spec.blackout)
        except DataError as error:
            if strict:
                raise
            rows.reasons[position] = str(error)
            continue
        if sample.extras["covered"] < LEAST_COVERED or not sample.valid.any():
            rows.reasons[position] = NO_DATA
            continue
        samples.append(sample)
        positions.append(position)
        if len(samples) == batch:
            yield _step(rows, positions, samples)
            samples, positions = [], []
    last = _step(rows, positions, samples) if samples else PictureStep(rows)
    last.ends = True
    yield last


def _step(rows: PictureRows, positions: list[int], samples: Sequence[Any]) -> PictureStep:
    inputs = torch.from_numpy(np.stack([item.image for item in samples]))
    return PictureStep(rows, positions, inputs, torch.from_numpy(np.stack([item.valid for item in samples])))


def class_columns(
    rows: PictureRows, spec: ClassificationSpec, *, scores: bool, prefix: str = ""
) -> dict[str, Any]:
    """Return the columns that are added: ``class``, ``confidence``, ``reason`` and ``score_NAME`` …."""
    import pyarrow

    known = ~np.isnan(rows.scores[:, 0])
    best = np.where(known[:, None], rows.scores, 0).argmax(1)
    names = [item.name for item in spec.classes]
    if spec.multi_label:
        shown = [
            ", ".join(names[k] for k in np.flatnonzero(row >= THRESHOLD)) if there else None
            for row, there in zip(rows.scores, known, strict=True)
        ]
    else:
        shown = [names[k] if there else None for k, there in zip(best, known, strict=True)]
    numbers = {"confidence": rows.scores[np.arange(len(best)), best]}
    if scores:
        numbers |= {f"score_{name}": rows.scores[:, k] for k, name in enumerate(names)}
    columns: dict[str, Any] = {f"{prefix}class": pyarrow.array(shown, pyarrow.string())}
    columns |= {
        f"{prefix}{key}": pyarrow.array(value, pyarrow.float32(), mask=~known)
        for key, value in numbers.items()
    }
    columns[f"{prefix}reason"] = pyarrow.array(rows.reasons, pyarrow.string())
    return columns


def free_prefix(taken: Sequence[str], added: Sequence[str]) -> str:
    """Return what goes before the added columns' names so that none of the layer's own is replaced."""
    known = {name.lower() for name in taken}
    for prefix in ("", "predicted_", *(f"predicted{number}_" for number in range(2, 1000))):
        if not any(f"{prefix}{name}".lower() in known for name in added):
            return prefix
    raise DataError(f"the layer has a field for every name that could be added, such as {added[0]}")
