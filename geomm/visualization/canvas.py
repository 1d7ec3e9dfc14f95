"""Figures without a display, and pixels as the eye expects them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from geomm.structures import ClassSpec

Sample = TypeVar("Sample")
#: What made a picture, and the chunk that says so in a PNG's head, after its length in bytes.
_SOFTWARE = "geomm"
_TEXT = f"Software\0{_SOFTWARE}".encode()
_MARK, _HEAD_BYTES = len(_TEXT).to_bytes(4, "big") + b"tEXt" + _TEXT, 256


def most_telling(
    dataset: Sequence[Sample], rows: int, *, worth: Callable[[Sample], Any], looked_at: int = 4
) -> list[Sample]:
    """Return the samples that show most, of some spread over a dataset.

    Args:
      dataset: of samples.
      rows: samples wanted.
      worth: what is more the more a sample shows.
      looked_at: samples looked at for each that is wanted.
    """
    count = len(dataset)
    positions = np.unique(np.linspace(0, count - 1, min(count, looked_at * rows)).round().astype(int))
    return sorted((dataset[int(position)] for position in positions), key=worth, reverse=True)[:rows]


def short_name(name: str) -> str:
    """Return a sample's name without the folders of its file."""
    return name.replace("\\", "/").rpartition("/")[2][-60:]


def new_figure(width: float, height: float) -> Figure:
    """Return a figure of that many inches, bound to no display and to no global state."""
    figure = Figure(figsize=(width, height), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as a PNG that says it is geomm's; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, facecolor="white", metadata={"Software": _SOFTWARE})
    return path


def is_figure(path: Path) -> bool:
    """Return whether a file is a picture that ``save_figure`` wrote."""
    try:
        with path.open("rb") as file:
            return _MARK in file.read(_HEAD_BYTES)
    except OSError:
        return False


#: Lowest and highest value shown of each of three bands.
Stretch = tuple[NDArray[np.float32], NDArray[np.float32]]


def stretch_of(image: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> Stretch | None:
    """Return how the bands of an image (C, H, W) are best stretched; None without a usable pixel.

    Bytes stay as they are; others go from the 2nd to the 98th percentile of their valid pixels.
    """
    values = _three(image).astype(np.float32)
    usable = np.isfinite(values).all(0) if valid is None else valid & np.isfinite(values).all(0)
    if not usable.any():
        return None
    if image.dtype == np.uint8:
        return np.zeros(3, np.float32), np.full(3, 255, np.float32)
    low, high = np.percentile(values[:, usable], [2, 98], axis=1)
    return low.astype(np.float32), high.astype(np.float32)


def _three(image: NDArray[Any]) -> NDArray[Any]:
    return image[:3] if image.shape[0] >= 3 else image[:1].repeat(3, axis=0)


def to_rgb(
    image: NDArray[Any], valid: NDArray[np.bool_] | None = None, *, stretch: Stretch | None = None
) -> NDArray[np.uint8]:
    """Stretch any bands to a picture.

    Args:
      image: (C, H, W) of any dtype. Three bands or more show the first three; fewer show the first
        in grey.
      valid: (H, W) bool; other pixels are white and do not count in the stretch.
      stretch: another image's, so that both look alike; the image's own where None.

    Returns:
      (H, W, 3) uint8, each band stretched between its 2nd and 98th percentile. Bytes stay as they are.
    """
    values = _three(image).astype(np.float32)
    usable = np.isfinite(values).all(0) if valid is None else valid & np.isfinite(values).all(0)
    out = np.full((*usable.shape, 3), 255, np.uint8)
    chosen = stretch or stretch_of(image, valid)
    if chosen is None:
        return out
    low, high = chosen
    scale = np.maximum(high - low, 1e-6)
    stretched = np.clip((values - low[:, None, None]) / scale[:, None, None], 0, 1)
    picture = (np.nan_to_num(stretched) * 255).astype(np.uint8).transpose(1, 2, 0)
    out[usable] = picture[usable]
    return out


def paint_classes(mask: NDArray[np.integer[Any]], classes: Sequence[ClassSpec]) -> NDArray[np.uint8]:
    """Colour class indices (H, W); whatever is no class's index is white."""
    table = np.full((256, 3), 255, np.uint8)
    for index, spec in enumerate(classes):
        table[index] = spec.color
    return table[np.clip(mask, 0, 255)]


def add_legend(figure: Figure, classes: Sequence[ClassSpec], extra: dict[str, Any] | None = None) -> None:
    """Name the classes' colours below a figure."""
    from matplotlib.patches import Patch

    shown = [*classes][:20]
    handles = [Patch(facecolor="#{:02x}{:02x}{:02x}".format(*spec.color), label=spec.name) for spec in shown]
    handles += [Patch(facecolor=color, edgecolor="grey", label=name) for name, color in (extra or {}).items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6), frameon=False)
