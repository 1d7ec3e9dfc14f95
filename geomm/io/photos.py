"""What the tags of a photo say: how it was held, where and when it was taken."""

from __future__ import annotations

import contextlib
import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

#: Files that may carry tags.
PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")
_EXIF, _GPS = 0x8769, 0x8825
_ORIENTATION, _TIME, _TAKEN = 0x0112, 0x0132, 0x9003
#: Pixels of a PNG above which its tags are looked for before its pixels alone.
_LARGE_PIXELS = 178_956_970


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
        with _opened(path) as image:
            # PIL would decompress a whole PNG for tags that may lie behind its pixels.
            large = image.width * image.height > _LARGE_PIXELS
            tags = Image.Image.getexif(image) if large else image.getexif()
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


def _opened(path: str | Path) -> ImageFile:
    """Return a photo of any number of pixels, opened: PIL's own ``open`` refuses or warns above a limit.

    Raises:
      OSError, SyntaxError: it is no photo.
    """
    from PIL import JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

    for kind in (JpegImagePlugin.JpegImageFile, PngImagePlugin.PngImageFile, TiffImagePlugin.TiffImageFile):
        with contextlib.suppress(SyntaxError):  # what they raise where it is of another kind
            return kind(path)
    return WebPImagePlugin.WebPImageFile(path)


def _place(tags: Mapping[int, Any]) -> tuple[float | None, float | None]:
    """Return longitude and latitude in degrees, both None unless both are there."""
    latitude = _degrees(tags.get(2), _sign(tags.get(1), "NS"), 90)
    longitude = _degrees(tags.get(4), _sign(tags.get(3), "EW"), 180)
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return None, None  # cameras without a fix write zeros
    return longitude, latitude


def _sign(reference: Any, letters: str) -> int | None:
    """Return 1 or -1 for the first or second of two hemispheres, None where neither is named."""
    text = reference.decode("latin-1") if isinstance(reference, bytes) else str(reference or "")
    named = letters.find(text.strip("\0 \t\r\n").upper()[:1] or "?")
    return None if named < 0 else 1 - 2 * named


def _degrees(parts: Any, sign: int | None, most: float) -> float | None:
    try:
        numbers = [float(part) for part in parts]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    # Cameras that give minutes with decimals write 0/0 for the seconds.
    if len(numbers) == 3 and math.isnan(numbers[2]):
        numbers[2] = 0.0
    value: float = sum(number / 60**power for power, number in enumerate(numbers))
    if sign is None or not math.isfinite(value) or not 0 <= value <= most:
        return None
    return sign * value


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
        with _opened(path) as image:
            image.draft(None, (1, 1))  # a JPEG is read to its end, in an eighth of its size
            image.load()  # what some cameras append is no harm
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is damaged ({error}); copy it again") from error
