"""The data structures of point clouds: what a model knows of its clouds, and one sample of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.structures import BandStatistics, ClassSpec

#: A feature that geomm works out itself: height above the ground surface, metres.
HEIGHT = "height_above_ground"
#: Features by their short name, and the dimensions they stand for.
FEATURE_GROUPS: dict[str, tuple[str, ...]] = {
    "rgb": ("red", "green", "blue"),
    "returns": ("return_number", "number_of_returns"),
}


def expand_features(names: Any) -> tuple[str, ...]:
    """Return feature names with groups such as ``rgb`` spelled out, each once."""
    spelled = [part for name in names or () for part in FEATURE_GROUPS.get(str(name), (str(name),))]
    return tuple(dict.fromkeys(spelled))


@dataclass(frozen=True)
class PointSpec:
    """What a model must know of the clouds it was trained on; kept in the model package.

    Attributes:
      features: dimensions beside coordinates, in the model's order; ``height_above_ground`` is worked
        out from the cloud.
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
        return tuple(name for name in self.features if name != HEIGHT)

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
