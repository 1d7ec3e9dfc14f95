"""Folders of ArcGIS's "Export Training Data For Deep Learning"."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

from geomm.errors import DataError
from geomm.io.namesakes import own_labels
from geomm.io.paths import RASTER_ENDINGS
from geomm.io.sniff import object_rows

#: The MetaDataModes that are read, and the tasks that each feeds, the usual one first.
TASKS_OF_KIND: dict[str, tuple[str, ...]] = {
    "Classified_Tiles": ("segmentation",),
    "PASCAL_VOC_rectangles": ("detection", "instance_segmentation"),
    "KITTI_rectangles": ("detection", "instance_segmentation"),
    "RCNN_Masks": ("instance_segmentation", "detection"),
    "Labeled_Tiles": ("classification",),
    "MultiLabeled_Tiles": ("classification",),
    "Imagenet": ("classification",),
    "Export_Tiles": ("super_resolution",),
}
#: How labels end, where they are no rasters.
_LABEL_ENDINGS: dict[str, tuple[str, ...]] = {
    "PASCAL_VOC_rectangles": (".xml",),
    "KITTI_rectangles": (".txt",),
    "Labeled_Tiles": (".xml",),
    "MultiLabeled_Tiles": (".xml",),
}
DEFINITION, STATISTICS, MAP = "esri_model_definition.emd", "esri_accumulated_stats.json", "map.txt"
#: A file in a line of map.txt. Its folders may have blanks: it ends where the next one or nothing follows.
_MAPPED = re.compile(r"(?:^|\s)((?:images2?|labels)[\\/].*?\.\w+)(?=\s+(?:images2?|labels)[\\/]|\s*$)", re.I)
_LOG = logging.getLogger("geomm")


@dataclass(frozen=True)
class Export:
    """What an export's side files say.

    Attributes:
      root: its folder.
      kind: MetaDataMode, by the layout of the folder where nothing says.
      pairs: image and label of each chip; either file may be missing, the label None where nothing names it.
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
    definition, statistics = _json(folder / DEFINITION), _json(folder / STATISTICS)
    kind = _kind(folder, definition, statistics)
    pairs = _in_folders(folder) if kind == "Imagenet" else _map_file(folder) or _by_name(folder, kind)
    if not pairs:
        raise DataError(f"{folder}/images holds no chips")
    if kind not in kinds:
        raise DataError(f"{folder} is an export of kind {kind}; this task reads {', '.join(kinds)}")
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


def kinds_of(task: str) -> tuple[str, ...]:
    """Return the MetaDataModes that feed a task."""
    return tuple(kind for kind, tasks in TASKS_OF_KIND.items() if task in tasks)


def export_kind(root: str | Path) -> str:
    """Return the MetaDataMode of an export, by its side files, or by its layout where they do not say.

    Raises:
      DataError: a side file is damaged.
    """
    folder = Path(root)
    return _kind(folder, _json(folder / DEFINITION), _json(folder / STATISTICS))


def _kind(folder: Path, definition: dict[str, Any], statistics: dict[str, Any]) -> str:
    for data in (definition, statistics):
        said = data.get("MetaDataMode")
        if isinstance(said, str) and said and not said.startswith("e.g."):
            return said
    return _kind_by_layout(folder)


def _kind_by_layout(folder: Path) -> str:
    labels = folder / "labels"
    if not (labels.is_dir() or (folder / "images").is_dir()):
        inside = sorted(p.name for p in folder.iterdir())
        raise DataError(
            f"{folder} holds no chips; expected an export with images and labels, "
            f"found {', '.join(inside[:8]) or 'nothing'}"
        )
    if not labels.is_dir():
        in_folders = (folder / "images").is_dir() and any(p.is_dir() for p in (folder / "images").iterdir())
        return "Imagenet" if in_folders else "Export_Tiles"
    for path in sorted(labels.iterdir())[:20]:
        files = sorted(path.rglob("*"))[:20] if path.is_dir() else [path]
        of_class = path.is_dir() and not (folder / "images" / path.name).is_dir()
        if of_class and any(p.suffix.lower() in RASTER_ENDINGS for p in files):
            return "RCNN_Masks"
        found = next(filter(None, map(_kind_of_label, files)), None)
        if found is not None:
            return found
    return "Classified_Tiles"


def _kind_of_label(path: Path) -> str | None:
    ending = path.suffix.lower()
    if ending == ".xml" and not path.name.endswith(".aux.xml"):
        return "PASCAL_VOC_rectangles"
    return "KITTI_rectangles" if ending == ".txt" and object_rows(path) == "kitti" else None


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not JSON ({error}); export again, or remove it") from error
    return data if isinstance(data, dict) else {}


def _in_folders(folder: Path) -> list[tuple[Path, Path | None]]:
    """Return every chip of folders a class, whose names may come again in the next folder."""
    return [(path, None) for path in files_in(folder / "images")]


def files_in(folder: Path, endings: Collection[str] = RASTER_ENDINGS) -> list[Path]:
    """Return the files of some endings in a folder, searched in depth; none where it is missing."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in endings and not path.name.endswith(".aux.xml") and path.is_file()
    ]


def _map_file(folder: Path) -> list[tuple[Path, Path | None]]:
    """Read map.txt: an image and a label a line, Windows paths, any white space between.

    A chip that several lines name is one chip.
    """
    file = folder / MAP
    if not file.is_file():
        return []
    pairs: dict[Path, Path | None] = {}
    lines = [
        line for line in file.read_text(encoding="utf-8-sig", errors="replace").splitlines() if line.strip()
    ]
    lacking = []
    for line in lines:
        parts = [folder.joinpath(*PureWindowsPath(part).parts) for part in _MAPPED.findall(line)]
        if not any(part.is_file() for part in parts):
            lacking.append(line.strip())
            continue
        image, label = parts[0], parts[-1] if len(parts) > 1 else None
        known = pairs.setdefault(image, label)
        if known is None or not known.is_file():
            pairs[image] = label or known
    if lacking:
        _LOG.warning(
            "%s: %d of %d lines name no file that is there (the first: %r); they are left out",
            *(file, len(lacking), len(lines), lacking[0]),
        )
    if pairs:
        _tell_unlisted(file, pairs)
    return list(pairs.items())


def _tell_unlisted(file: Path, listed: Collection[Path]) -> None:
    """Warn of the images that map.txt does not list."""
    images = files_in(file.parent / "images")
    unlisted = [path for path in images if path not in listed]
    if unlisted:
        _LOG.warning(
            "%s: %d of %d chips of images/ are in none of its lines (the first: %s); they are left out",
            *(file, len(unlisted), len(images), unlisted[0]),
        )


def _by_name(folder: Path, kind: str) -> list[tuple[Path, Path | None]]:
    """Pair images and labels by their names; halves of a pair are kept for the caller to judge."""
    images = {path.relative_to(folder / "images"): path for path in files_in(folder / "images")}
    if not images:
        return []
    endings = _LABEL_ENDINGS.get(kind, RASTER_ENDINGS)
    labels: dict[Path, Path] = {}
    for path in files_in(folder / "labels", endings):
        inside = path.relative_to(folder / "labels")
        if kind == "RCNN_Masks" and len(inside.parts) > 1:
            # The masks of a chip, a folder for each class, are one label.
            inside = Path(*inside.parts[1:]).with_suffix(endings[0])
        labels.setdefault(inside, path)
    owned = own_labels(list(images), list(labels))
    pairs: list[tuple[Path, Path | None]] = []
    for name, image in images.items():
        missing = folder / "labels" / name.with_suffix(endings[0])
        pairs.append((image, labels[owned[name]] if name in owned else missing))
    used = set(owned.values())
    return [*pairs, *((folder / "images" / name, labels[name]) for name in labels if name not in used)]


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
