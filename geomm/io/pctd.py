"""ArcGIS's exports of training data from point clouds, ``.pctd`` folders.

``train/`` and ``val/`` each hold Statistics.json, ListTable.h5 (``Tiles``, ``Centers``, ``Files``)
and data files with ``xyz`` from -1 to 1 in a tile, ``classification`` and further attributes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError, DependencyError, did_you_mean

#: What geomm calls an attribute, and what an export calls it.
ATTRIBUTES = {
    "intensity": "intensity",
    "return_number": "returnNumber",
    "number_of_returns": "numberOfReturns",
    "red": "red",
    "green": "green",
    "blue": "blue",
    "nir": "nearInfrared",
}


@dataclass(frozen=True)
class PctdTile:
    """One tile of an export.

    Attributes:
      xyz: (n, 3) float64, in the units of the clouds it was made of.
      values: (n,) arrays by geomm's names.
      codes: (n,) uint8 classification codes.
    """

    xyz: NDArray[np.float64]
    values: dict[str, NDArray[np.float32]]
    codes: NDArray[np.uint8]


@dataclass(frozen=True)
class PctdSplit:
    """``train`` or ``val`` of an export.

    Attributes:
      folder: where it lies.
      tile_size: edge of a tile, in the clouds' units.
      tiles: (T, 3) of data file, first point, points.
      centers: (T, 3) of tiles' middles.
      files: data files.
    """

    folder: Path
    tile_size: float
    tiles: NDArray[np.int64]
    centers: NDArray[np.float64]
    files: tuple[Path, ...]

    def read(self, names: Sequence[str]) -> Iterator[PctdTile]:
        """Read tiles in order, one at a time.

        Raises:
          DataError: an attribute that the export does not have, a damaged file.
        """
        h5py = _h5py()
        for (file, start, count), center in zip(self.tiles.tolist(), self.centers, strict=True):
            path = self.files[file]
            try:
                with h5py.File(path, "r") as data:
                    there = {ours for ours, theirs in ATTRIBUTES.items() if theirs in data}
                    for name in names:
                        if name not in there:
                            raise DataError(f"{path} has no {name!r}; {did_you_mean(name, there)}")
                    part = slice(start, start + count)
                    flat = np.asarray(data["xyz"]).reshape(-1, 3)
                    xyz = flat[part].astype(np.float64) * self.tile_size / 2 + center
                    values = {n: np.asarray(data[ATTRIBUTES[n]][part], np.float32) for n in names}
                    codes = np.asarray(data["classification"][part]).astype(np.uint8)
            except (OSError, KeyError) as error:
                raise DataError(f"{path} is damaged or no part of a .pctd export ({error})") from error
            yield PctdTile(xyz, values, codes)


def open_pctd(folder: str | Path, split: str) -> PctdSplit | None:
    """Open ``train`` or ``val`` of an export; None where it has no such folder.

    Raises:
      DataError: files are missing or not as an export has them.
    """
    place = Path(folder) / split
    if not place.is_dir():
        return None
    h5py = _h5py()
    try:
        statistics = json.loads((place / "Statistics.json").read_text(encoding="utf-8-sig"))
        parameters: dict[str, Any] = statistics["parameters"]
        with h5py.File(place / "ListTable.h5", "r") as table:
            tiles = np.asarray(table["Tiles"], np.int64).reshape(-1, 3)
            centers = np.asarray(table["Centers"], np.float64).reshape(-1, 3)
            names = [_text(item) for item in np.asarray(table["Files"]).ravel()]
        size = float(parameters["tileSize"])
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{place} is not as a .pctd export has it ({type(error).__name__}: {error}); expected "
            "Statistics.json with parameters.tileSize and ListTable.h5 with Files, Tiles and Centers"
        ) from error
    files = tuple(place / name.replace("\\", "/").rpartition("/")[2] for name in names)
    for file in files:
        if not file.is_file():
            raise DataError(f"{file} is named in {place / 'ListTable.h5'} and not there; export again")
    if len(centers) != len(tiles) or (len(tiles) and tiles[:, 0].max() >= len(files)):
        raise DataError(f"{place / 'ListTable.h5'}: its tiles, centers and files do not match; export again")
    return PctdSplit(place, size, tiles, centers, files)


def _text(item: Any) -> str:
    return item.decode("utf-8") if isinstance(item, bytes) else str(item)


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise DependencyError("reading .pctd exports needs h5py: pip install h5py") from error
    return h5py
