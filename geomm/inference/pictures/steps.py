"""Pictures by batches, and the columns that their classes become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geomm.datasets.pictures.crops import LEAST_COVERED, Crop, read_crop
from geomm.errors import DataError
from geomm.io.table_stream import free_name
from geomm.metrics.labels import THRESHOLD
from geomm.structures import ClassificationSpec, RasterSample

NO_DATA = "no data"
#: Most characters of a shapefile's field name.
_FIELD_LENGTH = 10


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


@dataclass(frozen=True)
class View:
    """Where a picture may be read.

    Attributes:
      crop: what to read.
      scene: number of its scene.
      shown: share of what the picture is about that lies on the scene.
    """

    crop: Crop
    scene: int = 0
    shown: float = 1.0


def picture_steps(
    rows: PictureRows,
    places: Sequence[tuple[int, Sequence[View]]],
    spec: ClassificationSpec,
    batch: int,
    *,
    strict: bool,
) -> Iterator[PictureStep]:
    """Read pictures in the order given and yield them by batches; the last step ends the rows.

    Args:
      rows: outlines and scenes are filled in where they are told apart.
      places: positions in the rows, with the views of each, those that show most first.
      spec: of the model.
      batch: pictures a step.
      strict: whether damaged pixels are an error.

    Raises:
      DataError: pixels are damaged, with ``strict``.
    """
    samples, positions = [], []
    for position, views in places:
        sample = _best(rows, position, views, spec, strict=strict)
        if sample is None:
            continue
        samples.append(sample)
        positions.append(position)
        if len(samples) == batch:
            yield _step(rows, positions, samples)
            samples, positions = [], []
    last = _step(rows, positions, samples) if samples else PictureStep(rows)
    last.ends = True
    yield last


def _best(
    rows: PictureRows, position: int, views: Sequence[View], spec: ClassificationSpec, *, strict: bool
) -> RasterSample | None:
    """Return the view of a picture that shows most of it; None, and the reason noted, where none will do."""
    best, covered, reason = None, 0.0, NO_DATA
    for view in views:
        if covered >= view.shown:
            break
        try:
            sample = read_crop(view.crop, spec.bands, spec.window_px, blackout=spec.blackout)
        except DataError as error:
            if strict:
                raise
            reason = str(error)
            continue
        # A scene may have no data where it should show the picture.
        if sample.extras["covered"] > covered and sample.valid.any():
            best, covered = sample, sample.extras["covered"]
            if rows.scenes is not None:
                rows.scenes[position], rows.outlines[position] = view.scene, view.crop.outline
    if best is None or covered < LEAST_COVERED:
        rows.reasons[position] = reason
        return None
    return best


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
        for k, name in enumerate(names):  # layers do not tell Oak from oak
            numbers[free_name(f"score_{name}", numbers)] = rows.scores[:, k]
    columns: dict[str, Any] = {f"{prefix}class": pyarrow.array(shown, pyarrow.string())}
    columns |= {
        f"{prefix}{key}": pyarrow.array(value, pyarrow.float32(), mask=~known)
        for key, value in numbers.items()
    }
    columns[f"{prefix}reason"] = pyarrow.array(rows.reasons, pyarrow.string())
    return columns


def free_prefix(taken: Sequence[str], added: Sequence[str], word: str = "predicted") -> str:
    """Return what goes before the added columns' names so that none of the layer's own is replaced."""
    known = {name.lower() for name in taken}
    for prefix in ("", f"{word}_", *(f"{word}{number}_" for number in range(2, 1000))):
        if not any(f"{prefix}{name}".lower() in known for name in added):
            return prefix
    raise DataError(f"the layer has a field for every name that could be added, such as {added[0]}")


def short_names(taken: Sequence[str], added: Sequence[str]) -> dict[str, str]:
    """Return names that a shapefile can hold for those of added columns, each another than the rest.

    Args:
      taken: names of the layer's own fields.
      added: names of the columns.

    Returns:
      Name of at most ten bytes by that of each column: its beginning, numbered where several begin alike.
    """
    known = {_cut(name).lower() for name in taken}
    alike = Counter(_cut(name).lower() for name in added)
    found: dict[str, str] = {}
    for name in added:
        short = _cut(name)
        numbers = count(1)
        while short.lower() in known or (short == _cut(name) and alike[short.lower()] > 1):
            ending = f"_{next(numbers)}"
            short = _cut(name, _FIELD_LENGTH - len(ending)) + ending
        known.add(short.lower())
        found[name] = short
    return found


def _cut(name: str, length: int = _FIELD_LENGTH) -> str:
    return name.encode()[:length].decode(errors="ignore")
