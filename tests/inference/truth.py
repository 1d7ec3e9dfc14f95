"""Scenes with objects, and detectors that know the truth."""

import numpy as np
import rasterio
import torch

from geomm.inference import ObjectOptions, predict_objects
from geomm.structures import Objects

FAST = {"preview": False, "device": "cpu", "progress": False, "on_error": "raise"}
GSD, LEFT, TOP = 0.5, 700000.0, 3700000.0


def run(scene, out, spec, detect, **options):
    chosen = ObjectOptions(**{**FAST, **options})
    return predict_objects(scene, out, detect=detect, spec=spec, options=chosen, model_id="m")


def numbered_scene(path, height, width, *, left=LEFT, top=TOP, crs="EPSG:32616", first=0, gsd=GSD):
    """Write a scene whose pixels tell where they are: their number in rows, plus ``first``."""
    pixels = np.arange(height * width, dtype=np.float64).reshape(1, height, width) + first
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=1, dtype="float64", crs=crs,
        transform=rasterio.Affine(gsd, 0, left, 0, -gsd, top),
    ) as target:  # fmt: skip
        target.write(pixels)
    return path


def disjoint_boxes(rng, height, width, count, longest, gap=6):
    """Return up to ``count`` whole-pixel boxes that keep apart, and inside the scene."""
    boxes = []
    for _ in range(count * 6):
        w, h = rng.integers(1, min(longest, width) + 1), rng.integers(1, min(longest, height) + 1)
        x, y = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
        if all(x > b[2] + gap or x + w + gap < b[0] or y > b[3] + gap or y + h + gap < b[1] for b in boxes):
            boxes.append((x, y, x + w, y + h))
        if len(boxes) == count:
            break
    return np.array(boxes, np.float64).reshape(-1, 4)


class Truth:
    """A detector that shows of each tile the part of the truth that lies in it.

    Args:
      boxes: (N, 4) pixels of the scene.
      width: of the scene, whose pixels hold their number.
      masks: (N, H, W) of the scene, for instances.
    """

    def __init__(self, boxes, labels, width, masks=None, firsts=(0,), origins=((0, 0),)):
        self.boxes, self.labels, self.width, self.masks = boxes, labels, width, masks
        self.firsts, self.origins = firsts, origins
        self.tiles = 0

    def __call__(self, inputs, valid):
        return [
            self._tile(pixels[0], seen) for pixels, seen in zip(inputs.numpy(), valid.numpy(), strict=True)
        ]

    def _tile(self, pixels, seen):
        self.tiles += 1
        number = pixels[0, 0]
        at = max(i for i, first in enumerate(self.firsts) if first <= number)
        number = int(number - self.firsts[at])
        left, top = number % self.width, number // self.width
        left, top = left + self.origins[at][0], top + self.origins[at][1]
        height, width = pixels.shape
        boxes = np.clip(self.boxes - [left, top, left, top], 0, [width, height, width, height])
        shown = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        masks = None
        if self.masks is not None:
            masks = np.zeros((int(shown.sum()), height, width), bool)
            for index, mask in enumerate(self.masks[shown]):
                part = mask[top : top + height, left : left + width]
                masks[index, : part.shape[0], : part.shape[1]] = part
        count = int(shown.sum())
        return Objects(
            boxes[shown].astype(np.float32), self.labels[shown], np.full(count, 0.9, np.float32), masks
        )


def in_pixels(frame, gsd=GSD, left=LEFT, top=TOP):
    bounds = frame.geometry.bounds.to_numpy()
    x = (bounds[:, [0, 2]] - left) / gsd
    y = (top - bounds[:, [3, 1]]) / gsd
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)


def rows_of(boxes, labels):
    return sorted((*np.round(box, 3).tolist(), int(label)) for box, label in zip(boxes, labels, strict=True))


def forty_a_tile(inputs, valid):
    """Show 40 fixed boxes in every tile."""
    rng = np.random.default_rng(0)
    size = inputs.shape[-1]
    corner = rng.uniform(0, size * 0.9, (40, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(8, 30, (40, 2))], axis=1).clip(0, size)
    scores = rng.uniform(0.5, 1, 40).astype(np.float32)
    found = Objects(boxes.astype(np.float32), rng.integers(0, 2, 40), scores)
    return [found for _ in range(len(torch.as_tensor(inputs)))]
