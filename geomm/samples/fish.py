"""Fish before a reef, as an underwater camera sees them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from geomm.samples.store import sample
from geomm.samples.texture import Array, fractal_noise, smooth_noise

_HEIGHT, _WIDTH, _RATE = 192, 256, 25
_SPECIES = ("wrasse", "damsel")
#: Colours of back and flank, length against height, and cruising speed in body lengths a second.
_LOOKS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int], float, float]] = {
    "wrasse": ((40, 120, 70), (225, 150, 60), 3.2, 1.4),
    "damsel": ((25, 45, 140), (235, 215, 70), 1.7, 1.0),
}
_CHIPS, _SCHOOL, _CLIP_FRAMES = 72, 5, 150
Box = tuple[float, float, float, float]


@dataclass
class _Fish:
    """One fish: where it is and how it swims, pixels and pixels a second."""

    species: int
    length: float
    x: float
    y: float
    speed: float
    heading: int  # 1 to the right, -1 to the left
    depth: float  # 0 near, 1 far: farther ones are fainter and bluer
    beat: float


@sample
def fish_in_video(folder: Path) -> dict[str, str]:
    """Make 72 stills and a clip of 150 frames, 256 x 192 pixels, of two species of fish before a reef.

    ``root`` is a folder of the stills as PASCAL VOC has them (``JPEGImages``, ``Annotations``), ``coco`` the
    same boxes in COCO's json; ``clip`` is the clip (H.264), ``clip_truth`` a csv of its boxes: ``frame``,
    ``fish``, ``class``, ``xmin`` … ``ymax``.
    """
    root = folder / "stills"
    for part in ("JPEGImages", "Annotations"):
        (root / part).mkdir(parents=True)
    coco: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": []}
    coco["categories"] = [{"id": at, "name": name} for at, name in enumerate(_SPECIES, start=1)]
    for number in range(_CHIPS):
        rng = np.random.default_rng([71, number])
        reef, school = _reef(rng), _school(rng)
        pixels, boxes = _picture(reef, school, rng.uniform(0, 20), rng)
        _write_still(root, f"still_{number:03d}", pixels, boxes, coco)
    (root / "coco.json").write_text(json.dumps(coco), encoding="utf-8")
    clip, truth = _write_clip(folder)
    return {"root": str(root), "coco": str(root / "coco.json"), "clip": str(clip), "clip_truth": str(truth)}


def _reef(rng: np.random.Generator) -> Array:
    """Return (H, W, 3) the sea, lighter above, and a ragged reef below."""
    shape = (_HEIGHT, _WIDTH)
    light: Array = np.linspace(1.15, 0.7, _HEIGHT)[:, None] + 0.05 * smooth_noise(rng, shape, 60)
    sea = light[..., None] * np.array([38.0, 110.0, 140.0])
    crest = _HEIGHT * (0.72 + 0.06 * smooth_noise(rng, (1, _WIDTH), 50))[0]
    below = np.clip((np.arange(_HEIGHT)[:, None] - crest) / 4, 0, 1)[..., None]
    rock = 60 + 22 * fractal_noise(rng, shape, (4, 12, 40))
    tint = np.array([0.95, 1.0, 0.9]) + 0.12 * smooth_noise(rng, shape, 30)[..., None]
    return np.asarray(sea * (1 - below) + rock[..., None] * tint * below)


def _school(rng: np.random.Generator) -> list[_Fish]:
    fish = []
    for _ in range(rng.integers(2, _SCHOOL + 1)):
        species = int(rng.integers(len(_SPECIES)))
        length = float(rng.uniform(24, 52))
        speed = length * _LOOKS[_SPECIES[species]][3] * float(rng.uniform(0.7, 1.3))
        place = float(rng.uniform(0, _WIDTH)), float(rng.uniform(20, _HEIGHT - 30))
        heading = int(rng.choice([-1, 1]))
        fish.append(_Fish(species, length, *place, speed, heading, float(rng.random()), float(rng.random())))
    return sorted(fish, key=lambda one: -one.depth)  # the near ones are drawn last


def _picture(
    reef: Array, school: list[_Fish], time_s: float, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], list[tuple[int, int, Box]]]:
    """Return a frame (H, W, 3) and number, species and box of every fish that shows."""
    pixels = reef.copy()
    shown: list[tuple[int, int, Box]] = []
    for number, fish in enumerate(school):
        box = _draw(pixels, fish, time_s)
        if box is not None:
            shown.append((number, fish.species, box))
    pixels += rng.normal(0, 4, pixels.shape)
    return pixels.clip(0, 255).astype(np.uint8), shown


def _draw(pixels: Array, fish: _Fish, time_s: float) -> Box | None:
    """Draw a fish; return the box of what shows, None where that is less than a third of it."""
    back, flank, slender, _ = _LOOKS[_SPECIES[fish.species]]
    span = _WIDTH + 2 * fish.length
    x = (fish.x + fish.heading * fish.speed * time_s + fish.length) % span - fish.length
    y = fish.y + 5 * np.sin(2 * np.pi * (0.15 * time_s + fish.beat))
    left, top = max(int(x - fish.length), 0), max(int(y - fish.length), 0)
    part = pixels[top : int(y + fish.length) + 1, left : max(int(x + fish.length), 0) + 1]
    rows, cols = np.mgrid[: part.shape[0], : part.shape[1]].astype(np.float64)
    rows, cols = rows + top, cols + left
    along = (cols - x) * fish.heading / (fish.length / 2)  # -1 at the tail, 1 at the snout
    bend = 0.12 * fish.length * np.sin(2 * np.pi * (2 * time_s + fish.beat)) * np.clip(-along, 0, 1.4) ** 2
    across = (rows - y - bend) / (fish.length / slender / 2)
    body = (along / 0.72 - 0.28) ** 2 + across**2 <= 1
    tail = (along < -0.35) & (along > -1) & (np.abs(across) < (-along - 0.3) * 1.1)
    mask = body | tail
    whole = np.pi / 4 * 0.72 * fish.length**2 / slender
    if mask.sum() < whole / 3:
        return None
    shade = np.clip((across + 1) / 2, 0, 1)[..., None]
    color = np.array(back) * (1 - shade) + np.array(flank) * shade
    color = np.where(((along - 0.68) ** 2 + (across + 0.25) ** 2 < 0.012)[..., None], 10.0, color)
    haze = 0.5 * fish.depth
    color = color * (1 - haze) + np.array([38.0, 105.0, 135.0]) * haze
    part[mask] = color[mask]
    found_rows, found_cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    cols_at, rows_at = left + found_cols[[0, -1]], top + found_rows[[0, -1]]
    return float(cols_at[0]), float(rows_at[0]), float(cols_at[1] + 1), float(rows_at[1] + 1)


def _write_still(
    root: Path, name: str, pixels: NDArray[np.uint8], boxes: list[tuple[int, int, Box]], coco: dict[str, Any]
) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.jpg", quality=92)
    note = ElementTree.Element("annotation")
    ElementTree.SubElement(note, "filename").text = f"{name}.jpg"
    size = ElementTree.SubElement(note, "size")
    for key, pixels_of in (("width", _WIDTH), ("height", _HEIGHT), ("depth", 3)):
        ElementTree.SubElement(size, key).text = str(pixels_of)
    image = len(coco["images"]) + 1
    coco["images"].append(
        {"id": image, "file_name": f"JPEGImages/{name}.jpg", "width": _WIDTH, "height": _HEIGHT}
    )
    for _, species, box in boxes:
        item = ElementTree.SubElement(note, "object")
        ElementTree.SubElement(item, "name").text = _SPECIES[species]
        place = ElementTree.SubElement(item, "bndbox")
        for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
            ElementTree.SubElement(place, key).text = f"{value:.1f}"
        xmin, ymin, xmax, ymax = box
        coco["annotations"].append(
            {
                "id": len(coco["annotations"]) + 1,
                "image_id": image,
                "category_id": species + 1,
                "bbox": [xmin, ymin, xmax - xmin, ymax - ymin],
                "area": (xmax - xmin) * (ymax - ymin),
                "iscrowd": 0,
            }
        )
    ElementTree.ElementTree(note).write(root / "Annotations" / f"{name}.xml", encoding="utf-8")


def _write_clip(folder: Path) -> tuple[Path, Path]:
    from geomm.io.video import VideoInfo
    from geomm.io.video_writer import VideoWriter

    rng = np.random.default_rng(72)
    reef, school = _reef(rng), _school(rng)
    clip, truth = folder / "reef.mp4", folder / "reef.csv"
    info = VideoInfo("", _WIDTH, _HEIGHT, Fraction(_RATE), None, Fraction(1, _RATE), False)
    lines = ["frame,fish,class,xmin,ymin,xmax,ymax"]
    with VideoWriter(clip, info, mark=None) as writer:
        for frame, (pixels, boxes) in enumerate(_frames(reef, school, rng)):
            writer.write(pixels, frame)
            for number, species, box in boxes:
                lines.append(",".join([str(frame), str(number), _SPECIES[species], *map(str, box)]))
    truth.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return clip, truth


def _frames(reef: Array, school: list[_Fish], rng: np.random.Generator) -> Iterator[Any]:
    for frame in range(_CLIP_FRAMES):
        yield _picture(reef, school, frame / _RATE, rng)
