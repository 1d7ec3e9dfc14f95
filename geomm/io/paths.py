"""From what a user calls an input to the files it means."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from geomm.errors import DataError

RASTER_ENDINGS = (
    ".tif", ".tiff", ".vrt", ".img", ".jp2", ".png", ".jpg", ".jpeg", ".nc", ".hdf", ".bil", ".dat",
    ".asc",
)  # fmt: skip
VECTOR_ENDINGS = (
    ".gpkg", ".geojson", ".json", ".shp", ".fgb", ".parquet", ".geoparquet", ".kml", ".gml", ".gdb",
)  # fmt: skip
#: GDAL's driver by how the name of a database begins, in any case.
_DATABASES = {
    "pg:": "PostgreSQL",
    "postgresql://": "PostgreSQL",
    "postgres://": "PostgreSQL",
    "mssql:": "MSSQLSpatial",
    "mysql:": "MySQL",
    "oci:": "OCI",
}


def database_driver(text: str) -> str | None:
    """Return GDAL's driver of a database (``PG:…``), None of what is none."""
    return next((name for start, name in _DATABASES.items() if text.lower().startswith(start)), None)


def is_connection(text: str) -> bool:
    """Return whether it is a data source of GDAL (``PG:…``, ``/vsi…``) or a URL rather than a file."""
    return "://" in text or text.startswith("/vsi") or database_driver(text) is not None


def file_in_the_way(folder: Path) -> Path | None:
    """Return the file that stands where a folder, or one above it, is to be; None where none does."""
    return next((path for path in (folder, *folder.parents) if path.is_file()), None)


def check_folder(folder: Path, option: str) -> None:
    """Raise a DataError, which names the option, where a file stands in a folder's way."""
    file = file_in_the_way(folder)
    if file is not None:
        raise DataError(f"{option}={folder}: {file} is a file; give a folder for the results")


def expand(given: str | Path | Sequence[str | Path], endings: Sequence[str] = RASTER_ENDINGS) -> list[str]:
    """Return the files that a path, glob, folder or list of these means, sorted, each once.

    Args:
      given: connections and remote paths, as ``is_connection`` knows them, are taken as they are.
      endings: which files of a folder count.

    Raises:
      DataError: nothing matches.
    """
    items = [given] if isinstance(given, str | Path) else list(given)
    found: list[str] = []
    for item in items:
        found += _expand_one(str(item), tuple(endings))
    return list(dict.fromkeys(found))


def _expand_one(item: str, endings: tuple[str, ...]) -> list[str]:
    path = Path(item)
    if is_connection(item) or path.is_file():
        return [item]
    if path.is_dir() and path.suffix.lower() != ".gdb":
        files = sorted(str(p) for p in path.rglob("*") if _is_one(p, endings) and _shown(p, path))
        if not files:
            raise DataError(f"{item}: no file in this folder ends in {', '.join(endings)}")
        return files
    if path.is_dir():
        return [item]
    matches = sorted(p for p in glob.glob(item, recursive=True) if not p.endswith(".aux.xml"))
    if not matches:
        raise DataError(f"{item}: there is no such file, folder or match in {Path.cwd()}")
    return [file for match in matches for file in _expand_one(match, endings)]


def _is_one(path: Path, endings: tuple[str, ...]) -> bool:
    """Return whether a file ends as wanted; what GDAL notes beside a raster is no file of its own."""
    return path.suffix.lower() in endings and not path.name.endswith(".aux.xml")


def _shown(path: Path, folder: Path) -> bool:
    return not any(part.startswith(".") for part in path.relative_to(folder).parts)
