"""Pictures of super-resolution: coarse, interpolated, predicted, and the truth where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geomm.io.raster import RasterReader
from geomm.structures import PixelWindow, RasterSample
from geomm.visualization.canvas import most_telling, new_figure, save_figure, stretch_of, to_rgb

_TITLES = ("coarse", "bicubic", "predicted", "truth")


def draw_finer_panels(model: Any, dataset: Sequence[RasterSample], path: Path, *, rows: int = 4) -> Path:
    """Draw some samples coarse, interpolated, predicted and true, with an enlarged detail of each.

    Args:
      model: a SuperResolver in eval mode; None to draw what it is given and is to give.
      dataset: a split; of evenly spread samples those with the most detail are shown.
      path: PNG to write.
      rows: how many samples to show.
    """
    samples = most_telling(dataset, rows, worth=_detail, looked_at=3)
    titles = (_TITLES[0], _TITLES[-1]) if model is None else _TITLES
    figure = new_figure(3 * len(titles), 6.2 * len(samples))
    axes = figure.subplots(2 * len(samples), len(titles), squeeze=False)
    for number, sample in enumerate(samples):
        pictures = _pictures(model, sample)
        detail = _busiest(pictures[-1], max(pictures[-1].shape[1] // 4, 8))
        stretch = stretch_of(pictures[-1], sample.extras["target_valid"])
        for column, (title, image) in enumerate(zip(titles, pictures, strict=True)):
            scale = pictures[-1].shape[1] // image.shape[1]
            rows_, cols_ = (slice(part.start // scale, -(-part.stop // scale)) for part in detail)
            for axis, part in (
                (axes[2 * number][column], image),
                (axes[2 * number + 1][column], image[:, rows_, cols_]),
            ):
                axis.imshow(to_rgb(part, stretch=stretch), interpolation="nearest")
                axis.set_axis_off()
            axes[2 * number][column].set_title(title, fontsize=9)
        _frame(axes[2 * number][-1], detail)
    return save_figure(figure, path)


def _pictures(model: Any, sample: RasterSample) -> list[NDArray[Any]]:
    """Return a sample (C, h, w) coarse, interpolated, predicted and true, in raw units."""
    if model is None:
        return [sample.image, sample.extras["target"]]
    device = next(model.parameters()).device
    image = torch.from_numpy(sample.image.astype(np.float32))[None].to(device)
    valid = torch.from_numpy(sample.valid)[None].to(device)
    with torch.inference_mode():
        fine = model.predict_pixels(image, valid)[0].cpu().numpy()
        bicubic = model.bicubic(image)[0].cpu().numpy()
    return [sample.image, bicubic, fine, sample.extras["target"]]


def _detail(sample: RasterSample) -> float:
    target = sample.extras["target"][0].astype(np.float32)
    return float(np.abs(np.diff(target, axis=1)).mean() * sample.extras["target_valid"].mean())


def _busiest(image: NDArray[Any], edge: int) -> tuple[slice, slice]:
    """Return the square of that edge, among a grid of them, in which neighbours differ most."""
    gray = image.astype(np.float32).mean(0)
    change = np.zeros_like(gray)
    change[:, 1:] += np.abs(np.diff(gray, axis=1))
    change[1:] += np.abs(np.diff(gray, axis=0))
    change[~np.isfinite(change)] = 0
    edge = min(edge, *gray.shape)
    step = max(edge // 2, 1)
    places = [
        (float(change[top : top + edge, left : left + edge].sum()), top, left)
        for top in range(0, gray.shape[0] - edge + 1, step)
        for left in range(0, gray.shape[1] - edge + 1, step)
    ]
    _, top, left = max(places)
    return slice(top, top + edge), slice(left, left + edge)


def _frame(axis: Any, detail: tuple[slice, slice]) -> None:
    from matplotlib.patches import Rectangle

    rows, cols = detail
    corner, size = (cols.start - 0.5, rows.start - 0.5), (cols.stop - cols.start, rows.stop - rows.start)
    axis.add_patch(Rectangle(corner, *size, fill=False, edgecolor="yellow", linewidth=1.5))


def draw_finer_preview(
    scene: str, finer: Path, path: Path, *, bands: Sequence[int], detail_px: int = 96, longest_px: int = 700
) -> Path:
    """Draw a scene small, and of its busiest detail the scene, bicubic interpolation and the result.

    Args:
      scene: the input raster.
      finer: the result.
      path: PNG to write.
      bands: of the scene that the result has.
      detail_px: edge of the detail, pixels of the scene.
      longest_px: longer side of the overview.
    """
    source, result = RasterReader(scene), RasterReader(finer)
    info, scale = source.info, result.info.width // source.info.width
    shown = [0, 1, 2] if len(bands) >= 3 else [0]
    overview, valid = source.read_overview(longest_px, [bands[band] for band in shown])
    window = _detail_window(overview, valid, info.width, info.height, detail_px)
    coarse, seen = source.read(window, [bands[band] for band in shown])
    wide = PixelWindow(window.col * scale, window.row * scale, window.width * scale, window.height * scale)
    fine, _ = result.read(wide, [band + 1 for band in shown])
    pixels = torch.from_numpy(coarse.astype(np.float32))[None]
    size = [edge * scale for edge in coarse.shape[1:]]
    smooth = torch.nn.functional.interpolate(pixels, size, mode="bicubic", antialias=True)[0].numpy()
    stretch = stretch_of(coarse, seen)
    figure = new_figure(13, 4.0)
    axes = figure.subplots(1, 4)
    pictures = (
        ("scene", to_rgb(overview, valid)),
        ("detail", to_rgb(coarse, stretch=stretch)),
        ("bicubic", to_rgb(smooth, stretch=stretch)),
        ("predicted", to_rgb(fine, stretch=stretch)),
    )
    for axis, (title, picture) in zip(axes, pictures, strict=True):
        axis.imshow(picture, interpolation="nearest")
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
    ratio = overview.shape[2] / info.width
    parts = ((window.row, window.height), (window.col, window.width))
    rows, cols = (slice(round(start * ratio), round((start + size) * ratio)) for start, size in parts)
    _frame(axes[0], (rows, cols))
    return save_figure(figure, path)


def _detail_window(
    overview: NDArray[Any], valid: NDArray[np.bool_], width: int, height: int, detail_px: int
) -> PixelWindow:
    ratio = overview.shape[2] / width
    edge = max(round(min(detail_px, width, height) * ratio), 1)
    rows, cols = _busiest(np.where(valid, overview, 0), edge)
    size = min(detail_px, width, height)
    left, top = (round(part.start / ratio) for part in (cols, rows))
    return PixelWindow(min(left, width - size), min(top, height - size), size, size)
