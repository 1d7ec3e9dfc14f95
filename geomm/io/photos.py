"""What the tags of a photo say: how it was held, where and when it was taken."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError

#: Files that may carry tags.
PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")
_EXIF, _GPS = 0x8769, 0x8825
_ORIENTATION, _TIME, _TAKEN = 0x0112, 0x0132, 0x9003


@dataclass(frozen=True)
class PhotoTags:
    """The tags that count here, as EXIF 2.32 has them.

    Attributes:
      orientation: 1 to 8; 1 is upright.
      longitude: degrees east, None where unknown.
      latitude: degrees north.
      time: when it was taken, ``2026-05-01T09:30:00``; by its own clock, None where unknown.
    """

    orientation: int = 1
    longitude: float | None = None
    latitude: float | None = None
    time: str | None = None

    @property
    def placed(self) -> bool:
        return self.longitude is not None and self.latitude is not None


def read_tags(path: str | Path) -> PhotoTags:
    """Return a photo's tags; those that are missing or make no sense are left at their defaults."""
    if Path(path).suffix.lower() not in PHOTO_ENDINGS:
        return PhotoTags()
    from PIL import Image

    try:
        with Image.open(path) as image:
            tags = image.getexif()
            taken, place = tags.get_ifd(_EXIF), tags.get_ifd(_GPS)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return PhotoTags()  # whoever reads its pixels says what is wrong with it
    orientation = tags.get(_ORIENTATION, 1)
    longitude, latitude = _place(place)
    return PhotoTags(
        orientation if orientation in range(1, 9) else 1,
        longitude,
        latitude,
        _time(taken.get(_TAKEN) or tags.get(_TIME)),
    )


def _place(tags: Mapping[int, Any]) -> tuple[float | None, float | None]:
    """Return longitude and latitude in degrees, both None unless both are there."""
    latitude = _degrees(tags.get(2), str(tags.get(1, "")).upper() == "S", 90)
    longitude = _degrees(tags.get(4), str(tags.get(3, "")).upper() == "W", 180)
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return None, None  # cameras without a fix write zeros
    return longitude, latitude


def _degrees(parts: Any, negative: bool, most: float) -> float | None:
    try:
        value: float = sum(float(part) / 60**power for power, part in enumerate(parts))
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not math.isfinite(value) or not 0 <= value <= most:
        return None
    return -value if negative else value


def _time(text: Any) -> str | None:
    try:
        return datetime.datetime.strptime(str(text).strip("\0 "), "%Y:%m:%d %H:%M:%S").isoformat()
    except ValueError:
        return None


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return pixels (…, H, W) as the photographer saw them.

    Args:
      pixels: as stored.
      orientation: EXIF's number of how they are stored.
    """
    turns = {3: 2, 4: 2, 5: 3, 6: 3, 7: 1, 8: 1}.get(orientation, 0)
    turned = np.rot90(pixels, turns, axes=(-2, -1))
    return np.ascontiguousarray(turned[..., ::-1] if orientation in (2, 4, 5, 7) else turned)


def check_whole(path: str | Path) -> None:
    """Check that a JPEG or PNG goes to its end: GDAL reads one that is cut short as if it did.

    Raises:
      DataError: it does not.
    """
    ending = Path(path).suffix.lower()
    if ending not in (".jpg", ".jpeg", ".png"):
        return
    data = Path(path).read_bytes()
    # A thumbnail among the tags ends before the picture itself begins.
    if b"IEND" in data[-4096:] if ending == ".png" else data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda"):
        return
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()  # what some cameras append is no harm
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is damaged ({error}); copy it again") from error
