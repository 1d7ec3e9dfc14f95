"""The data structures of point clouds: what a model knows of its clouds, and one sample of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import ConfigError
from geomm.structures import BandStatistics, ClassSpec

#: A feature that geomm works out itself: height above the ground surface, metres.
HEIGHT = "height_above_ground"
#: Features of a point's surroundings that geomm works out itself, each within a radius in metres:
#: ``planarity_0.5m``. Whether it is a length, which grows with the cloud.
SHAPES: dict[str, bool] = {
    "linearity": False,
    "planarity": False,
    "sphericity": False,
    "verticality": False,
    "curvature": False,
    "height_range": True,
    "height_std": True,
    "height_above_lowest": True,
    "neighbours": False,
}
_SHAPE = re.compile(f"({'|'.join(SHAPES)})_([0-9]+(?:\\.[0-9]+)?)m")
#: Features by their short name, and what they stand for.
FEATURE_GROUPS: dict[str, tuple[str, ...]] = {
    "rgb": ("red", "green", "blue"),
    "returns": ("return_number", "number_of_returns"),
    "shape": tuple(f"{name}_{radius}m" for radius in ("0.5", "1", "2") for name in SHAPES),
}


#: Dimensions that are no features, and why.
NO_FEATURES: dict[str, str] = {
    "classification": "is what is learnt",
    "X": "is a coordinate, which networks always see",
    "Y": "is a coordinate, which networks always see",
    "Z": "is a coordinate, which networks always see; for heights take height_above_ground",
}


def shape_of(name: str) -> tuple[str, float] | None:
    """Return the quantity and radius, metres, of a feature of surroundings; None of another feature."""
    found = _SHAPE.fullmatch(name)
    return None if found is None or not float(found[2]) else (found[1], float(found[2]))


def is_length(name: str) -> bool:
    """Say whether a feature is in metres of the cloud's own, so that it grows with the cloud."""
    shape = shape_of(name)
    return name == HEIGHT or (shape is not None and SHAPES[shape[0]])


def file_dimensions(features: Sequence[str]) -> tuple[str, ...]:
    """Return the features that files must have; the others are worked out."""
    return tuple(name for name in features if name != HEIGHT and shape_of(name) is None)


def expand_features(names: Any) -> tuple[str, ...]:
    """Return feature names with groups such as ``rgb`` spelled out, each once.

    Raises:
      ConfigError: a name that is no feature.
    """
    names = [names] if isinstance(names, str) else names
    for name in names or ():
        if name in NO_FEATURES:
            raise ConfigError(f"dataset.features: {name!r} {NO_FEATURES[name]}; leave it out")
    spelled = [part for name in names or () for part in FEATURE_GROUPS.get(str(name), (str(name),))]
    return tuple(dict.fromkeys(spelled))


def to_code(key: str, given: Any, more: str = "") -> int:
    """Return a classification code that a user gave.

    Args:
      key: where it was given, for the message.
      given: the code, a number or its digits.
      more: what else would do, for the message.

    Raises:
      ConfigError: it is none.
    """
    text = str(given)
    if not (text.isascii() and text.isdigit() and int(text) <= 255):
        raise ConfigError(f"{key}: found {given!r}, expected a classification code, 0 to 255{more}")
    return int(text)


@dataclass(frozen=True)
class PointSpec:
    """What a model must know of the clouds it was trained on; kept in the model package.

    Attributes:
      features: dimensions beside coordinates, in the model's order; ``height_above_ground`` and those
        of ``SHAPES`` are worked out from the cloud.
      statistics: of the training points' features, used to normalise.
      classes: in the order of the model's scores; ``value`` is the classification code written.
      codes: classification code -> class index, of every code that was trained on.
      block_m: edge of the square blocks that a sample is cut from, metres.
      block_points: most points of a sample.
      class_points: training points a class.
      crs: WKT of the training clouds, None where unknown.
      points_per_m2: of the training clouds.
    """

    features: tuple[str, ...]
    statistics: BandStatistics
    classes: tuple[ClassSpec, ...]
    codes: dict[int, int]
    block_m: float
    block_points: int
    class_points: tuple[int, ...]
    crs: str | None = None
    points_per_m2: float = 0.0

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def in_channels(self) -> int:
        """Channels of a point: its height in its block, its features, and small heights spread out."""
        return 1 + len(self.features) + (HEIGHT in self.features)

    @property
    def class_pixels(self) -> tuple[int, ...]:
        """``class_points``, under the name that losses ask for."""
        return self.class_points

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The features that files must have."""
        return file_dimensions(self.features)

    @property
    def shapes(self) -> tuple[str, ...]:
        """The features that are worked out from a point's surroundings."""
        return tuple(name for name in self.features if shape_of(name) is not None)

    @property
    def shape_reach_m(self) -> float:
        """How far away a point may lie that such a feature depends on."""
        return max((shape[1] for shape in map(shape_of, self.features) if shape is not None), default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; ``from_dict`` reads them back."""
        return {
            "features": list(self.features),
            "statistics": self.statistics.to_dict(),
            "classes": [item.to_dict() for item in self.classes],
            "codes": {str(code): index for code, index in self.codes.items()},
            "block_m": self.block_m,
            "block_points": self.block_points,
            "class_points": list(self.class_points),
            "crs": self.crs,
            "points_per_m2": self.points_per_m2,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PointSpec:
        known = dict(data)
        known["features"] = tuple(data["features"])
        known["statistics"] = BandStatistics.from_dict(data["statistics"])
        known["classes"] = tuple(ClassSpec.from_dict(item) for item in data["classes"])
        known["codes"] = {int(code): int(index) for code, index in data["codes"].items()}
        known["class_points"] = tuple(int(count) for count in data["class_points"])
        return cls(**known)


@dataclass
class PointSample:
    """Some of the points of one block.

    Attributes:
      xyz: (n, 3) float32, metres from the middle of the block's floor.
      features: (n, F) float32 in the files' own units, in the spec's order.
      labels: (n,) uint8 class indices with ``IGNORE_INDEX``; None where there is no truth.
      numbers: (n,) int64, which points of the source these are; None where nobody asks.
      name: file and block, for messages and figures.
      feature_names: of the F features, for transforms that change one of them.
      extras: what further tasks carry.
    """

    xyz: NDArray[np.float32]
    features: NDArray[np.float32]
    labels: NDArray[np.uint8] | None = None
    numbers: NDArray[np.int64] | None = None
    name: str = ""
    feature_names: tuple[str, ...] = ()
    extras: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.xyz)

    def take(self, chosen: NDArray[Any]) -> PointSample:
        """Return the sample of the chosen points, by number or mask."""
        return PointSample(
            self.xyz[chosen],
            self.features[chosen],
            None if self.labels is None else self.labels[chosen],
            None if self.numbers is None else self.numbers[chosen],
            self.name,
            self.feature_names,
            self.extras,
        )
