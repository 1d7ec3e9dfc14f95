"""Folders of ArcGIS's "Export Training Data For Deep Learning"."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

from geomm.errors import DataError
from geomm.io.paths import RASTER_ENDINGS


@dataclass(frozen=True)
class Export:
    """What an export's side files say.

    Attributes:
      root: its folder.
      kind: MetaDataMode, ``Classified_Tiles`` where nothing says.
      pairs: image and label of each chip, the label None where it is missing.
      classes: name by value.
      colors: colour by value, where the export gives a usable one.
      map_space: False for oblique imagery.
      cell_size: pixel edge in map units, 0 where unknown.
    """

    root: Path
    kind: str
    pairs: tuple[tuple[Path, Path | None], ...]
    classes: dict[int, str] = field(default_factory=dict)
    colors: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    map_space: bool = True
    cell_size: float = 0.0


def read_export(root: str | Path, *, kinds: Sequence[str]) -> Export:
    """Read the description of an export, or of plain ``images`` and ``labels`` folders.

    Args:
      root: the export's folder.
      kinds: MetaDataModes that the caller can use.

    Raises:
      DataError: no such folder, no chips, or another kind of export.
    """
    folder = Path(root)
    if not (folder / "images").is_dir():
        inside = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
        raise DataError(
            f"{folder} has no folder 'images'; expected an export with images and labels, "
            f"found {', '.join(inside[:8]) or 'nothing'}"
        )
    definition = _json(folder / "esri_model_definition.emd")
    statistics = _json(folder / "esri_accumulated_stats.json")
    kind = str(definition.get("MetaDataMode") or statistics.get("MetaDataMode") or "Classified_Tiles")
    if kind not in kinds:
        raise DataError(f"{folder} is an export of kind {kind}; this task reads {', '.join(kinds)}")
    pairs = _map_file(folder) or _by_name(folder)
    if not pairs:
        raise DataError(f"{folder}/images holds no chips")
    classes, colors = _classes(definition, statistics)
    return Export(
        root=folder,
        kind=kind,
        pairs=tuple(pairs),
        classes=classes,
        colors=colors,
        map_space=str(definition.get("ImageSpaceUsed", "MAP_SPACE")) != "PIXEL_SPACE",
        cell_size=_cell_size(definition, statistics),
    )


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not JSON ({error}); export again, or remove it") from error
    return data if isinstance(data, dict) else {}


def _map_file(folder: Path) -> list[tuple[Path, Path | None]]:
    """Read map.txt: an image and a label a line, Windows paths, any white space between."""
    file = folder / "map.txt"
    if not file.is_file():
        return []
    pairs: list[tuple[Path, Path | None]] = []
    for line in file.read_text(encoding="utf-8-sig").splitlines():
        parts = [folder.joinpath(*PureWindowsPath(part).parts) for part in line.split()]
        if parts:
            pairs.append((parts[0], parts[-1] if len(parts) > 1 else None))
    # A part of an export may lack chips that its map names.
    return [pair for pair in pairs if pair[0].is_file() or (pair[1] is not None and pair[1].is_file())]


def _by_name(folder: Path) -> list[tuple[Path, Path | None]]:
    """Pair images and labels by their names; halves of a pair are kept for the caller to judge."""
    labels, images = (
        {p.stem: p for p in sorted((folder / part).rglob("*")) if p.suffix.lower() in endings}
        for part, endings in (("labels", (*RASTER_ENDINGS, ".xml", ".txt")), ("images", RASTER_ENDINGS))
    )
    alone = [(folder / "images" / labels[stem].name, labels[stem]) for stem in labels if stem not in images]
    return [*((image, labels.get(stem)) for stem, image in images.items()), *alone] if images else []


def _classes(
    definition: dict[str, Any], statistics: dict[str, Any]
) -> tuple[dict[int, str], dict[int, tuple[int, int, int]]]:
    """Merge the two files' classes; their keys differ, and colours may be missing or -1."""
    names: dict[int, str] = {}
    colors: dict[int, tuple[int, int, int]] = {}
    for item in [*_list(statistics, "Classes"), *_list(definition, "Classes")]:
        value = item.get("Value", item.get("ClassValue"))
        if not isinstance(value, int | float):
            continue
        names[int(value)] = str(item.get("Name", item.get("ClassName", f"class_{int(value)}")))
        color = item.get("Color")
        if not isinstance(color, list) or len(color) != 3:
            continue
        if all(isinstance(c, int | float) and 0 <= c <= 255 for c in color):
            red, green, blue = (int(c) for c in color)
            colors[int(value)] = (red, green, blue)
    return names, colors


def _list(data: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Return a list of objects; templates hold a text in its place."""
    value = data.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _cell_size(definition: dict[str, Any], statistics: dict[str, Any]) -> float:
    for data in (definition, statistics):
        size = data.get("MinCellSize")
        if isinstance(size, dict) and isinstance(size.get("x"), int | float):
            return float(size["x"])
        if isinstance(size, int | float):
            return float(size)
    return 0.0
