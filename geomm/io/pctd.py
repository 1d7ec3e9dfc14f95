"""ArcGIS's exports of training data from point clouds, ``.pctd`` folders, read and written.

``train/`` and ``val/`` each hold Statistics.json, ListTable.h5 (``Tiles``, ``Centers``, ``Files``)
and data files with ``xyz`` from -1 to 1 in a tile, ``classification`` and further attributes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
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
                    flat = data["xyz"]
                    points = flat[part] if flat.ndim == 2 else flat[3 * start : 3 * (start + count)]
                    xyz = np.reshape(points, (-1, 3)).astype(np.float64) * self.tile_size / 2 + center
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


class PctdWriter:
    """Writes one data file of an export, tile by tile.

    Args:
      path: of the file, which appears when it is closed.
      names: attributes beside coordinates and classification, in geomm's words.
      tile_size: edge of a tile, in the clouds' units.
    """

    def __init__(self, path: Path, names: Sequence[str], tile_size: float) -> None:
        self.path, self.names, self.tile_size = path, tuple(names), tile_size
        self.tiles: list[tuple[int, int]] = []
        self.centers: list[list[float]] = []
        self.limits: dict[str, list[float]] = {}
        self.codes: set[int] = set()
        self._count = 0

    def __enter__(self) -> PctdWriter:
        self._temporary = self.path.with_name(f".{self.path.name}.part")
        self._file = _h5py().File(self._temporary, "w")
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._file.close()
        if kind is None:
            self._temporary.replace(self.path)
        else:
            self._temporary.unlink(missing_ok=True)

    def add(self, tile: PctdTile, center: NDArray[np.float64]) -> None:
        """Write a tile's points, which lie around ``center`` (3,)."""
        count = len(tile.xyz)
        self.tiles.append((self._count, count))
        self.centers.append([float(value) for value in center])
        self._append("xyz", ((tile.xyz - center) / (self.tile_size / 2)).astype(np.float32))
        self._append("classification", tile.codes.astype(np.uint8))
        self.codes |= {int(code) for code in np.unique(tile.codes)}
        for name in self.names:
            values = tile.values[name]
            self._append(ATTRIBUTES[name], values.astype(np.float32))
            low, high = self.limits.get(name, [np.inf, -np.inf])
            self.limits[name] = [min(low, float(values.min())), max(high, float(values.max()))]
        self._count += count

    def _append(self, name: str, values: NDArray[Any]) -> None:
        if name not in self._file:
            tail = values.shape[1:]
            self._file.create_dataset(
                name, shape=(0, *tail), maxshape=(None, *tail), dtype=values.dtype, chunks=(8192, *tail)
            )
        stored = self._file[name]
        stored.resize(len(stored) + len(values), axis=0)
        stored[len(stored) - len(values) :] = values


def write_pctd_tables(
    folder: Path,
    *,
    files: Sequence[str],
    tiles: NDArray[np.int64],
    centers: NDArray[np.float64],
    limits: Mapping[str, Sequence[float]],
    codes: Sequence[int],
    tile_size: float,
    max_points: int,
) -> None:
    """Write ListTable.h5 and Statistics.json of a split.

    Args:
      folder: ``train`` or ``val``.
      files: names of the data files.
      tiles: (T, 3) of data file, first point, points.
      centers: (T, 3).
      limits: least and largest value of each attribute, in geomm's words.
      codes: classification codes that there are.
      tile_size: edge of a tile.
      max_points: most points of a tile.
    """
    with _h5py().File(folder / "ListTable.h5", "w") as table:
        table["Files"] = np.array([name.encode() for name in files])
        table["Tiles"], table["Centers"] = tiles, centers
        table["Masks"] = np.ones(len(tiles), np.uint8)
    attributes = {ATTRIBUTES[name]: {"min": low, "max": high} for name, (low, high) in limits.items()}
    statistics = {
        "parameters": {"tileSize": tile_size, "maxPoints": max_points, "numberOfTiles": len(tiles)},
        "attributes": attributes,
        "classification": {"table": [{"classCode": int(code)} for code in codes]},
    }
    (folder / "Statistics.json").write_text(json.dumps(statistics, indent=2), encoding="utf-8")


def _text(item: Any) -> str:
    return item.decode("utf-8") if isinstance(item, bytes) else str(item)


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise DependencyError("reading .pctd exports needs h5py: pip install h5py") from error
    return h5py
