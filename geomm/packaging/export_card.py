"""What lies beside an exported model: its labels, its spec, and a card of what it takes and gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

import geomm
from geomm.io.json_text import json_text

if TYPE_CHECKING:
    from geomm.packaging.package import Package

INPUT, OUTPUT = "pixels", "probabilities"
LABELS, SPEC, README = "labels.txt", "spec.json", "README.md"
#: How the card says where the model comes from.
WRITTEN_BY = "Written by geomm"


def write_beside(
    target: Path,
    package: Package,
    *,
    format: str,
    checked: Tensor,
    difference: float,
    at_a_time: int | None,
    each: tuple[int, ...],
) -> None:
    """Write the labels, the spec and the card of an exported model beside it.

    Args:
      target: path of the model.
      package: it comes from.
      format: of the model.
      checked: pictures (N, C, edge, edge) that it was checked on.
      difference: largest one of a probability from torch's.
      at_a_time: pictures that it takes, no more and no fewer; None for any number.
      each: height and width of a picture's probabilities, nothing where a picture has one of each class.
    """
    folder, spec = target.parent, package.spec
    names = [item.name for item in spec.classes]
    (folder / LABELS).write_text("\n".join(names) + "\n", encoding="utf-8")
    edge = checked.shape[-1]
    taken = package.task.spec_to_dict(replace(spec, window_px=edge))
    (folder / SPEC).write_text(json_text(taken), encoding="utf-8")
    pictures = "any number" if at_a_time is None else str(at_a_time)
    together = ", in batches of several sizes," if at_a_time is None else ""
    picture = "picture" if at_a_time == 1 else "pictures"
    tail = "".join(f", {number}" for number in each)
    several = getattr(spec, "multi_label", False)
    sums = "each class's own" if several else "that sum to 1 over the classes"
    lines = [
        f"# {target.name}: {package.task.name}",
        "",
        f"{WRITTEN_BY} {geomm.__version__} as {format}, from weights {package.model_id}.",
        "",
        "## What goes in and comes out",
        "",
        f"- `{INPUT}`: float32, ({pictures}, {spec.in_channels}, {edge}, {edge}): pictures, bands "
        f"({', '.join(spec.band_names)}), rows, columns; values as the imagery has them ({spec.dtype}), "
        "normalisation is part of the model",
        f"- `{OUTPUT}`: float32, ({pictures}, {len(names)}{tail}): probabilities, {sums}; classes as in "
        "labels.txt",
        *(
            [f"- exactly {pictures} {picture} at a time; batch_size=N exports the model for N"]
            if at_a_time is not None else []
        ),
        *(
            ["- pictures of other proportions: resample the longer side, pad with the bands' mean values "
             f"({', '.join(f'{m:g}' for m in spec.statistics.mean)})"]
            if not each else []
        ),
        "",
        "## Check",
        "",
        f"On {len(checked)} pictures{together} the probabilities differ from torch's by at most "
        f"{difference:.2e}.",
        "",
        "## Limits",
        "",
        package.task.limits,
        "",
    ]  # fmt: skip
    (folder / README).write_text("\n".join(lines), encoding="utf-8")
