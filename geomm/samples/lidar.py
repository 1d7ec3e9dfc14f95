"""Airborne LiDAR made up with a fixed seed: what a scanner would see of streets and of a power line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from geomm.io.las_create import create_las
from geomm.samples.store import sample
from geomm.samples.texture import Array, fractal_noise

_CRS = "EPSG:32632"
_ORIGIN = (691000.0, 5335000.0, 520.0)
#: Classification codes of the ASPRS.
GROUND, LOW, HIGH, BUILDING, WIRE, TOWER, NONE = 2, 3, 5, 6, 14, 15, 1


@dataclass
class _Scan:
    """Points collected so far, each part with its code, brightness and returns.

    Attributes:
      rng: of everything random.
      size: extent in x and y, metres.
      density: ground points a square metre.
    """

    rng: np.random.Generator
    size: tuple[float, float]
    density: float
    relief_m: float = 3.0
    _parts: list[tuple[Array, int, Array, Array, Array]] = field(default_factory=list)

    def __post_init__(self) -> None:
        shape = (int(self.size[1]) + 8, int(self.size[0]) + 8)
        self._terrain = self.relief_m * fractal_noise(self.rng, shape, (12, 40, 90))

    def terrain(self, x: Any, y: Any) -> Array:
        """Return the ground's height, bilinear between metres."""
        from scipy.ndimage import map_coordinates

        return np.asarray(map_coordinates(self._terrain, [y + 2, x + 2], order=1, mode="nearest"))

    def spread(self, count: int) -> tuple[Array, Array]:
        """Return random places in the scene."""
        return self.rng.uniform(0, self.size[0], count), self.rng.uniform(0, self.size[1], count)

    def add(self, xyz: Array, code: int, light: float, *, returns: tuple[Array, Array] | None = None) -> None:
        """Add points of one class; those outside the scene are left out."""
        inside = ((xyz[:, :2] >= 0) & (xyz[:, :2] < self.size)).all(1)
        count = len(xyz)
        first, total = returns if returns is not None else (np.ones(count), np.ones(count))
        bright = np.clip(self.rng.normal(light, 0.18 * light + 0.02, count), 0.01, 1)
        noisy = xyz + self.rng.normal(0, 0.015, xyz.shape)
        self._parts.append((noisy[inside], code, bright[inside], first[inside], total[inside]))

    def write(self, path: Path, shift: float) -> str:
        """Write the points in an order like a scanner's: strip after strip."""
        xyz = np.concatenate([part[0] for part in self._parts])
        codes = np.concatenate([np.full(len(part[0]), part[1]) for part in self._parts])
        light, number, total = (np.concatenate([part[i] for part in self._parts]) for i in (2, 3, 4))
        order = np.lexsort((self.rng.random(len(xyz)), xyz[:, 0] // 1.5))
        values = {
            "classification": codes[order],
            "intensity": (light[order] * 40000).astype(np.uint16),
            "return_number": number[order].astype(np.uint8),
            "number_of_returns": total[order].astype(np.uint8),
            "gps_time": np.arange(len(xyz)) * 2e-6,
        }
        return create_las(path, xyz[order] + np.array(_ORIGIN) + [shift, 0, 0], values, crs=_CRS)


@sample
def buildings_and_trees(folder: Path) -> dict[str, str]:
    """Make three tiles of 60 x 60 m at 10 points a square metre to train on, and one to classify.

    Gabled and flat houses with some of their walls, trees and hedges of several shapes through which
    the ground is seen, parked cars (no class), sloping ground. Codes 2, 3 (shrubs), 5, 6, and 1.
    """
    (folder / "train").mkdir()
    for number in range(4):
        scan = _Scan(np.random.default_rng([29, number]), (60.0, 60.0), 10.0)
        covered = _houses(scan)
        _trees(scan, 26, covered)
        _shrubs(scan, 40, covered)
        _cars(scan, covered)
        _ground(scan, covered)
        name = f"train/town_{number + 1}.laz" if number < 3 else "unseen.laz"
        path = scan.write(folder / name, number * 60.0)
    return {"root": str(folder / "train"), "unseen": path}


@sample
def power_lines(folder: Path) -> dict[str, str]:
    """Make two corridors of 180 x 40 m to train on, and one to classify.

    Lattice pylons every 60 m or so, six sagging conductors and an earth wire, trees and shrubs that
    grow towards them, ground. Codes 2, 5, 14 (conductors) and 15 (pylons).
    """
    (folder / "train").mkdir()
    for number in range(3):
        scan = _Scan(np.random.default_rng([31, number]), (180.0, 40.0), 8.0, relief_m=5.0)
        _line(scan)
        _trees(scan, 60, np.zeros((0, 4)))
        _shrubs(scan, 60, np.zeros((0, 4)), code=HIGH)
        _ground(scan, np.zeros((0, 4)))
        name = f"train/corridor_{number + 1}.laz" if number < 2 else "unseen.laz"
        path = scan.write(folder / name, number * 400.0)
    return {"root": str(folder / "train"), "unseen": path}


def _ground(scan: _Scan, covered: Array) -> None:
    x, y = scan.spread(int(scan.size[0] * scan.size[1] * scan.density))
    free = np.ones(len(x), bool)
    for left, low, right, high in covered:
        free &= ~((x > left) & (x < right) & (y > low) & (y < high))
    x, y = x[free], y[free]
    scan.add(np.column_stack([x, y, scan.terrain(x, y)]), GROUND, 0.45)


def _houses(scan: _Scan) -> Array:
    """Add houses; return their outlines, (n, 4) of left, low, right, high."""
    rng, boxes = scan.rng, []
    for row in range(3):
        for col in range(3):
            if rng.random() < 0.3:
                continue
            wide, deep = rng.uniform(8, 14), rng.uniform(7, 11)
            left = col * 20 + rng.uniform(1, 19 - wide)
            low = row * 20 + rng.uniform(1, 19 - deep)
            boxes.append((left, low, left + wide, low + deep))
            _house(scan, left, low, wide, deep)
    return np.array(boxes).reshape(-1, 4)


def _house(scan: _Scan, left: float, low: float, wide: float, deep: float) -> None:
    rng = scan.rng
    middle = np.array([left + wide / 2]), np.array([low + deep / 2])
    eaves = float(scan.terrain(*middle)[0]) + rng.uniform(2.8, 6.5)
    pitch = rng.choice([0.0, 0.5, 0.8])
    light = rng.uniform(0.25, 0.7)
    count = int(wide * deep * scan.density)
    x, y = rng.uniform(left, left + wide, count), rng.uniform(low, low + deep, count)
    ridge = deep / 2 - np.abs(y - low - deep / 2)
    scan.add(np.column_stack([x, y, eaves + pitch * ridge]), BUILDING, light)
    for side in range(2):  # the scanner sees two walls, thinly
        along = rng.uniform(0, wide if side else deep, int(3.0 * (wide if side else deep)))
        wall_x = left + along if side else np.full(len(along), left)
        wall_y = np.full(len(along), low) if side else low + along
        floor = scan.terrain(wall_x, wall_y)
        height = rng.uniform(floor + 0.2, np.maximum(eaves, floor + 0.3))
        scan.add(np.column_stack([wall_x, wall_y, height]), BUILDING, light)
    if rng.random() < 0.6:
        chimney = np.column_stack(
            [
                left + wide / 3 + rng.uniform(0, 0.7, 14),
                low + deep / 2 + rng.uniform(0, 0.7, 14),
                eaves + pitch * deep / 2 + rng.uniform(0, 1.2, 14),
            ]
        )
        scan.add(chimney, BUILDING, light)


def _away(x: float, y: float, covered: Array, reach: float) -> bool:
    return not any(
        left - reach < x < right + reach and low - reach < y < high + reach
        for left, low, right, high in covered
    )


def _trees(scan: _Scan, count: int, covered: Array) -> None:
    rng = scan.rng
    for _ in range(count):
        x, y = (float(v[0]) for v in scan.spread(1))
        if not _away(x, y, covered, 0.8):
            continue
        radius, tall = rng.uniform(1.2, 3.6), rng.uniform(3.5, 13)
        floor = float(scan.terrain(np.array([x]), np.array([y]))[0])
        amount = int(np.pi * radius**2 * scan.density * rng.uniform(1.2, 2.0))
        direction = rng.normal(size=(amount, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        shell = direction * (rng.random((amount, 1)) ** 0.45)
        crown = max(tall * rng.uniform(0.5, 0.8), 1.5)
        if rng.random() < 0.4:  # a spruce narrows upwards
            shell[:, :2] *= ((1 - shell[:, 2:]) / 2).clip(0.08)
        points = shell * np.array([radius, radius, crown / 2]) + np.array([x, y, floor + tall - crown / 2])
        total = rng.choice([1, 2, 3], amount, p=[0.35, 0.4, 0.25]).astype(float)
        scan.add(points, HIGH, 0.3, returns=(np.ceil(rng.random(amount) * total), total))


def _shrubs(scan: _Scan, count: int, covered: Array, *, code: int = LOW) -> None:
    rng = scan.rng
    for _ in range(count):
        x, y = (float(v[0]) for v in scan.spread(1))
        if not _away(x, y, covered, 0.3):
            continue
        amount = int(rng.uniform(8, 40))
        place = rng.normal(0, rng.uniform(0.3, 0.9), (amount, 2)) + np.array([x, y])
        height = scan.terrain(place[:, 0], place[:, 1]) + rng.uniform(0.25, rng.uniform(0.5, 1.4), amount)
        total = rng.choice([1.0, 2.0], amount)
        scan.add(np.column_stack([place, height]), code, 0.33, returns=(np.ones(amount), total))


def _cars(scan: _Scan, covered: Array) -> None:
    rng = scan.rng
    for _ in range(7):
        x, y = (float(v[0]) for v in scan.spread(1))
        if _away(x, y, covered, 3):
            place = rng.uniform([-2.2, -0.9], [2.2, 0.9], (int(8 * scan.density), 2)) + np.array([x, y])
            roof = 0.9 + 0.6 * (np.abs(place[:, 0] - x) < 1.1)
            height = scan.terrain(place[:, 0], place[:, 1]) + roof
            scan.add(np.column_stack([place, height]), NONE, 0.5)


def _line(scan: _Scan) -> None:
    """Add pylons along x and the wires between them, which sag as catenaries do."""
    rng = scan.rng
    across = scan.size[1] / 2 + rng.uniform(-4, 4)
    stands = np.arange(-35, scan.size[0] + 70, 58) + rng.uniform(-6, 6)
    tall = rng.uniform(18, 24)
    feet = scan.terrain(stands, np.full(len(stands), across))
    for x, foot in zip(stands, feet, strict=True):
        _pylon(scan, float(x), across, float(foot), tall)
    for side in (-1, 1):
        for level, arm in ((0.98, 0.0), (0.88, 4.0), (0.74, 5.5), (0.6, 4.5)):
            if level > 0.95 and side > 0:
                continue
            for i in range(len(stands) - 1):
                span = stands[i + 1] - stands[i]
                t = np.sort(rng.random(int(span * 5)))
                ends = feet[i : i + 2] + tall * level - (0 if arm == 0 else 1.2)
                sag = rng.uniform(1.6, 2.4) * 4 * t * (1 - t)
                z = ends[0] * (1 - t) + ends[1] * t - sag
                y = np.full(len(t), across + side * arm)
                scan.add(np.column_stack([stands[i] + t * span, y, z]), WIRE, 0.14)


def _pylon(scan: _Scan, x: float, y: float, foot: float, tall: float) -> None:
    rng = scan.rng
    height = rng.uniform(0, tall, 420)
    half = 2.2 * (1 - height / tall) ** 1.3 + 0.25
    corner = rng.choice([-1.0, 1.0], (420, 2))
    brace = rng.random(420) < 0.45
    corner[brace, rng.integers(0, 2)] = rng.uniform(-1, 1, brace.sum())
    scan.add(np.column_stack([corner * half[:, None] + [x, y], foot + height]), TOWER, 0.22)
    for level, arm in ((0.88, 4.0), (0.74, 5.5), (0.6, 4.5)):
        reach = rng.uniform(-arm, arm, 60)
        beam: Any = np.column_stack(
            [x + rng.uniform(-0.3, 0.3, 60), y + reach, foot + tall * level + rng.uniform(0, 0.5, 60)]
        )
        scan.add(beam, TOWER, 0.22)
