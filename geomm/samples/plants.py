"""Field photos of leaves of four species, with the place and time of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from geomm.samples.store import sample
from geomm.samples.texture import Array, fractal_noise, smooth_noise

SPECIES = ("birch", "maple", "oak", "willow")
_EACH, _UNSEEN = 80, 12
#: Photos are taken around here, longitude and latitude.
_PLACE = (8.545, 47.378)
#: Stored lying on its side by some cameras: EXIF's number, and the quarter turns that undo it.
_HELD = {1: 0, 6: 1, 8: 3, 3: 2}


@sample
def plant_species(folder: Path) -> dict[str, str]:
    """Make 320 photos in a folder a species, and 48 more in one folder for maps.

    Leaves of species that differ by outline (toothed, lobed, palmate, slender) and overlap in colour, at any
    angle and size, on soil, litter or grass, in sun or shade. JPEG with EXIF position and time, some stored
    on their side.
    """
    rng = np.random.default_rng(29)
    root, unseen = folder / "photos", folder / "walk"
    unseen.mkdir()
    number = 0
    for species in SPECIES:
        (root / species).mkdir(parents=True)
        for index in range(_EACH + _UNSEEN):
            number += 1
            seen = index < _EACH
            name = f"IMG_{number:04d}.jpg" if seen else f"{species}_{number:04d}.jpg"
            _save(rng, _photo(rng, species), (root / species if seen else unseen) / name, number)
    return {"root": str(root), "unseen": str(unseen)}


def _outline(rng: np.random.Generator, species: str, angle: Array) -> Array:
    """Return a leaf's radius towards each angle (0 is its tip), about 1 at most."""
    slender = {"birch": 0.72, "maple": 1.0, "oak": 0.62, "willow": 0.24}[species] * rng.uniform(0.85, 1.15)
    ellipse = slender / np.sqrt((slender * np.cos(angle)) ** 2 + np.sin(angle) ** 2)
    if species == "birch":
        teeth = 1 + 0.06 * np.abs(((angle * rng.integers(14, 18) / np.pi) % 2) - 1)
        return ellipse * teeth * (1 + 0.18 * np.cos(angle))  # type: ignore[no-any-return]
    if species == "maple":
        lobes = np.abs(np.cos(2.5 * angle)) ** 0.7
        return 0.42 + 0.58 * lobes * (0.72 + 0.28 * np.cos(angle))  # type: ignore[no-any-return]
    if species == "oak":
        return ellipse * (1 + 0.2 * np.cos(angle * rng.integers(9, 12)))  # type: ignore[no-any-return]
    return np.asarray(ellipse, np.float64)


def _photo(rng: np.random.Generator, species: str) -> Any:
    """Return (H, W, 3) uint8 as the photographer saw it."""
    from scipy.ndimage import gaussian_filter

    shape = (144, 192)
    ground = rng.choice([[0.42, 0.34, 0.26], [0.5, 0.42, 0.3], [0.3, 0.42, 0.2]])
    rough = 0.09 * fractal_noise(rng, shape, (2, 8, 40)) + 0.03 * rng.standard_normal(shape)
    picture = ground[:, None, None] * (1 + rough)
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    for _ in range(int(rng.integers(1, 4))):
        size, turn = rng.uniform(28, 58), rng.uniform(0, 2 * np.pi)
        y, x = rng.uniform(40, shape[0] - 40), rng.uniform(45, shape[1] - 45)
        angle = np.arctan2(rows - y, cols - x) - turn
        far = np.hypot(rows - y, cols - x)
        leaf = far < size * _outline(rng, species, angle)
        shadow = np.roll(leaf, (4, 4), (0, 1)) & ~leaf
        picture = np.where(shadow, 0.6 * picture, picture)
        color = np.array([0.24, 0.44, 0.14]) + rng.normal(0, [0.09, 0.05, 0.03])
        veins = 1 + 0.12 * (np.abs(np.sin(angle)) * far < 1.5) + 0.05 * smooth_noise(rng, shape, 5)
        picture = np.where(leaf, color[:, None, None] * veins, picture)
    light = rng.uniform(0.7, 1.25) * (1 + 0.15 * smooth_noise(rng, shape, 90))
    picture = gaussian_filter(picture * light, (0, 0.7, 0.7)) + 0.01 * rng.standard_normal((3, *shape))
    return (np.clip(picture, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)


def _save(rng: np.random.Generator, picture: Any, path: Path, number: int) -> None:
    from PIL import Image

    held = int(rng.choice(list(_HELD), p=[0.7, 0.12, 0.12, 0.06]))
    exif = Image.Exif()
    exif[0x0112] = held
    exif.get_ifd(0x8769)[0x9003] = f"2026:05:{1 + number % 28:02d} {9 + number % 8:02d}:{number % 60:02d}:00"
    if number % 10:  # some cameras had no fix
        longitude, latitude = _PLACE + rng.normal(0, 0.01, 2)
        exif.get_ifd(0x8825).update({1: "N", 2: _sexagesimal(latitude), 3: "E", 4: _sexagesimal(longitude)})
    stored = np.ascontiguousarray(np.rot90(picture, _HELD[held]))
    Image.fromarray(stored).save(path, quality=90, exif=exif)


def _sexagesimal(degrees: float) -> tuple[float, float, float]:
    minutes = (degrees % 1) * 60
    return float(int(degrees)), float(int(minutes)), round((minutes % 1) * 60, 4)
