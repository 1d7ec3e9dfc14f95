"""What training data a folder holds: which format, for which tasks, and how a dataset is to be given it.

Names, and the beginnings of files, are all that is looked at; nothing here loads a library for a format.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from geomm.errors import DataError
from geomm.io.arcgis import DEFINITION, MAP, STATISTICS, TASKS_OF_KIND, export_kind
from geomm.io.paths import RASTER_ENDINGS, VECTOR_ENDINGS
from geomm.io.sniff import csv_header, is_coco, is_geojson, is_tagged_text, is_voc, object_rows

#: Formats in the words of error messages.
KNOWN = (
    "an ArcGIS export, a .pctd export, COCO, PASCAL VOC, YOLO, images/ and labels/ of equal names, a folder "
    "a class, scenes with labels, LAS or LAZ clouds, labelled texts, tables or feature layers"
)
_PICTURES = (*RASTER_ENDINGS, ".webp")
_CLOUDS = (".las", ".laz")
_TEXTS = (".conll", ".bio", ".iob", ".jsonl", ".ndjson", ".spacy")
_MASKS = ("_mask", "_label", "_labels", "_gt", "_truth")
_SPLITS = ("train", "training", "val", "valid", "validation", "test")
_BOXES = {"xmin", "ymin", "xmax", "ymax"}
_OBJECTS = ("detection", "instance_segmentation")
_MAPPED = ("segmentation", *_OBJECTS)
#: Files of a folder, and of all, that are looked at, and how deep; what lies beyond is of the same kind.
_MOST_IN_FOLDER, _MOST_FILES, _DEEPEST = 20_000, 200_000, 6
#: Label files that are opened to see what they are.
_OPENED = 12


@dataclass(frozen=True)
class Use:
    """A way to train on what was found.

    Attributes:
      dataset: name in the config group.
      tasks: that it feeds, the usual one first.
      options: paths by their key below ``dataset``.
    """

    dataset: str
    tasks: tuple[str, ...]
    options: Mapping[str, str | list[str]]


@dataclass(frozen=True)
class Found:
    """What a folder holds, in words, and the ways to train on it, the usual one first."""

    what: str
    uses: tuple[Use, ...]

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(task for use in self.uses for task in use.tasks))

    def use(self, task: str | None) -> Use | None:
        """Return the way to train a task on it (None: the usual task), None where there is none."""
        return next((use for use in self.uses if task is None or task in use.tasks), None)


def detect(root: str | Path) -> Found:
    """Find out what training data a folder, or a file, holds.

    Raises:
      DataError: it holds nothing that is known, or more than one kind of data.
    """
    path = Path(root)
    if not path.exists():
        raise DataError(f"{path}: there is no such folder")
    listing = _Listing.of(path)
    for look in (_pctd, _arcgis):
        found = look(listing)
        if found is not None:
            return found
    several = [found for look in (_imagery, _clouds, _texts, _tables) if (found := look(listing)) is not None]
    if len(several) == 1:
        return several[0]
    if several:
        seen = "; ".join(f"{found.what} (dataset={found.uses[0].dataset})" for found in several)
        raise DataError(
            f"{path} holds more than one kind of data: {seen}; name the dataset, or a folder of one kind"
        )
    raise DataError(f"{path}: no training data found in {listing.seen}; expected {KNOWN}")


@dataclass
class _Listing:
    """The files below a folder.

    Attributes:
      root: the folder, or that of the one file.
      files: sorted, relative to ``root``; a file geodatabase counts as one.
      complete: whether these are all.
      alone: whether it is about one file, whatever lies beside it.
    """

    root: Path
    files: list[Path] = field(default_factory=list)
    complete: bool = True
    alone: bool = False

    @classmethod
    def of(cls, root: Path) -> _Listing:
        if root.is_file():
            return cls(root.parent, [Path(root.name)], alone=True)
        listing = cls(root)
        for folder, folders, names in os.walk(root, followlinks=True):
            here = Path(folder).relative_to(root)
            listing.files += [here / name for name in sorted(folders) if name.endswith(".gdb")]
            folders[:] = sorted(n for n in folders if not n.startswith(".") and not n.endswith(".gdb"))
            if len(here.parts) >= _DEEPEST:
                folders.clear()
            shown = [n for n in sorted(names) if not n.startswith(".") and not n.endswith(".aux.xml")]
            listing.files += [here / name for name in shown[:_MOST_IN_FOLDER]]
            listing.complete &= len(shown) <= _MOST_IN_FOLDER
            if len(listing.files) >= _MOST_FILES:
                listing.complete = False
                break
        return listing

    @cached_property
    def seen(self) -> str:
        """The endings that there are, for messages."""
        counts = Counter(path.suffix.lower() or "files without ending" for path in self.files)
        named = ", ".join(f"{count} {ending}" for ending, count in counts.most_common(6))
        return named or "an empty folder"

    def ending_in(self, endings: Sequence[str]) -> list[Path]:
        return [path for path in self.files if path.suffix.lower() in endings]

    @cached_property
    def pictures(self) -> list[Path]:
        return self.ending_in(_PICTURES)

    def has(self, *names: str) -> bool:
        return not self.alone and any((self.root / name).exists() for name in names)

    def count(self, paths: Sequence[Path], one: str, several: str | None = None) -> str:
        what = one if len(paths) == 1 else several or f"{one}s"
        return f"{len(paths)}{'' if self.complete else ' or more'} {what}"

    def paths(self, files: Sequence[Path]) -> str | list[str]:
        """Return files as a dataset takes them: the only one, a glob where all are alike, else a list."""
        if len(files) == 1:
            return str(self.root / files[0])
        alike = {(path.parent, path.suffix) for path in files}
        if len(alike) == 1 and not any(mark in str(files[0].parent) for mark in "*?["):
            folder, ending = alike.pop()
            if files == [p for p in self.files if p.parent == folder and p.suffix == ending]:
                return str(self.root / folder / f"*{ending}")
        return [str(self.root / path) for path in files]


def _pctd(listing: _Listing) -> Found | None:
    splits = [
        name for name in ("train", "val") if listing.has(f"{name}/ListTable.h5", f"{name}/Statistics.json")
    ]
    if not splits:
        return None
    use = Use("pctd", ("point_cloud",), {"root": str(listing.root)})
    return Found(f"an ArcGIS .pctd export with {' and '.join(splits)}", (use,))


def _arcgis(listing: _Listing) -> Found | None:
    if not (listing.has("images") and listing.has(DEFINITION, STATISTICS, MAP)):
        return None
    kind = export_kind(listing.root)
    chips = [path for path in listing.pictures if path.parts[0] == "images"]
    return _export(listing, kind, f"an ArcGIS export of {kind}, {listing.count(chips, 'chip')}")


def _export(listing: _Listing, kind: str, what: str) -> Found:
    if kind not in TASKS_OF_KIND:
        raise DataError(
            f"{listing.root} is an ArcGIS export of {kind}, which no dataset reads; expected "
            f"{', '.join(TASKS_OF_KIND)}"
        )
    return Found(what, (Use("chips", TASKS_OF_KIND[kind], {"root": str(listing.root)}),))


def _imagery(listing: _Listing) -> Found | None:
    """Pictures, by what labels them."""
    if not listing.pictures:
        return None
    for look in (_coco, _folder_pairs, _voc, _yolo, _scenes, _class_folders):
        found = look(listing)
        if found is not None:
            return found
    maps = listing.ending_in((".tif", ".tiff", ".vrt", ".jp2", ".img"))
    if not maps:
        return None
    bare = Use("geotiff", ("super_resolution",), {"images": listing.paths(maps)})
    return Found(f"{listing.count(maps, 'scene')} without labels", (bare,))


def _coco(listing: _Listing) -> Found | None:
    jsons = [path for path in listing.ending_in((".json",)) if is_coco(listing.root / path)]
    if len(jsons) > 1:
        names = ", ".join(str(path) for path in jsons[:5])
        raise DataError(
            f"{listing.root} holds {len(jsons)} COCO files ({names}); choose one with dataset=coco "
            "dataset.annotations=…"
        )
    if not jsons:
        return None
    options = {"root": str(listing.root), "annotations": str(listing.root / jsons[0])}
    what = f"COCO: {jsons[0]} and {listing.count(listing.pictures, 'image')}"
    return Found(what, (Use("coco", _OBJECTS, options),))


def _folder_pairs(listing: _Listing) -> Found | None:
    """``images`` and ``labels`` as ArcGIS lays them out, without its side files."""
    labels = [path for path in listing.files if path.parts[0] == "labels"]
    if not (listing.has("images") and labels):
        return None
    texts = [path for path in labels if path.suffix.lower() == ".txt"][:_OPENED]
    if texts and all(object_rows(listing.root / path) == "yolo" for path in texts):
        return None
    kind = export_kind(listing.root)
    if not any(path.suffix.lower() in (*RASTER_ENDINGS, ".xml", ".txt") for path in labels):
        return None
    chips = [path for path in listing.pictures if path.parts[0] == "images"]
    return _export(
        listing, kind, f"images/ and labels/ as of {kind}, {listing.count(chips, 'chip')}, no side files"
    )


def _voc(listing: _Listing) -> Found | None:
    xmls = listing.ending_in((".xml",))
    annotations = [path for path in xmls[:_OPENED] if is_voc(listing.root / path)]
    if not annotations or _vectors(listing) or _box_tables(listing):
        return None
    what = f"PASCAL VOC: {listing.count(xmls, 'xml file')} and {listing.count(listing.pictures, 'image')}"
    return Found(what, (Use("voc", _OBJECTS, {"root": str(listing.root)}),))


def _yolo(listing: _Listing) -> Found | None:
    stems = {path.stem for path in listing.pictures}
    texts = [path for path in listing.ending_in((".txt",)) if path.stem in stems]
    if not texts or any(object_rows(listing.root / path) != "yolo" for path in texts[:_OPENED]):
        return None
    what = f"YOLO: {listing.count(texts, 'text file')} and {listing.count(listing.pictures, 'image')}"
    return Found(what, (Use("yolo", _OBJECTS, {"root": str(listing.root)}),))


def _scenes(listing: _Listing) -> Found | None:
    """Whole scenes with what labels them: layers, rasters named alike, or boxes."""
    masks = _label_rasters(listing)
    scenes = [path for path in listing.pictures if path not in masks]
    count = listing.count(scenes, "scene")
    images = listing.paths(scenes)
    layers = _vectors(listing)
    if layers:
        options = {"images": images, "labels": listing.paths(layers)}
        uses = (Use("geotiff", _MAPPED, options), Use("footprints", ("classification",), options))
        return Found(f"{count} with {listing.count(layers, 'vector layer')}", uses)
    if masks:
        options = {"images": images, "labels": listing.paths(masks)}
        what = f"{count} with {listing.count(masks, 'label raster')}"
        return Found(what, (Use("geotiff", ("segmentation",), options),))
    boxes = _box_tables(listing)
    if boxes:
        # Several lie beside their scenes, which is where they are looked for.
        labels = {"labels": listing.paths(boxes)} if len(boxes) == 1 else {}
        what = f"{count} with {listing.count(boxes, 'file of boxes', 'files of boxes')}"
        return Found(what, (Use("geotiff", _OBJECTS, {"images": images, **labels}),))
    return None


def _vectors(listing: _Listing) -> list[Path]:
    return [
        path
        for path in listing.ending_in(VECTOR_ENDINGS)
        if path.suffix.lower() != ".json" or is_geojson(listing.root / path)
    ]


def _box_tables(listing: _Listing) -> list[Path]:
    """Return csv and xml files of boxes in pixels."""
    tables = [path for path in listing.ending_in((".csv",)) if csv_header(listing.root / path)]
    found = [path for path in tables if set(csv_header(listing.root / path)) >= _BOXES]
    return [*found, *listing.ending_in((".xml",))] if found else []


def _label_rasters(listing: _Listing) -> list[Path]:
    """Return rasters that are named like another one, with ``_mask`` or the like behind it."""
    stems = {path.stem for path in listing.pictures}
    return [
        path
        for path in listing.pictures
        if any(path.stem.endswith(mark) and path.stem.removesuffix(mark) in stems for mark in _MASKS)
    ]


def _class_folders(listing: _Listing) -> Found | None:
    """A folder a class, or ``train``, ``val`` and ``test`` with the classes' below."""
    parts = [path.parts[:-1] for path in listing.pictures]
    split = bool(parts) and all(folders and folders[0].lower() in _SPLITS for folders in parts)
    depth = 1 if split else 0
    if not all(len(folders) > depth for folders in parts):
        return None
    names = sorted({folders[depth] for folders in parts})
    if len(names) < 2:
        return None
    shown = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
    what = f"a folder a class: {listing.count(listing.pictures, 'picture')} of {len(names)} ({shown})"
    return Found(what, (Use("folders", ("classification",), {"root": str(listing.root)}),))


def _clouds(listing: _Listing) -> Found | None:
    clouds = listing.ending_in(_CLOUDS)
    if not clouds:
        return None
    roles = {
        role: str(listing.root / name)
        for role, names in (("root", _SPLITS[:2]), ("val", _SPLITS[2:5]), ("test", _SPLITS[5:]))
        for name in names
        if any(path.parts[0] == name for path in clouds if len(path.parts) > 1)
    }
    options = roles if "root" in roles else {"root": listing.paths(clouds)}
    what = listing.count(clouds, "LAS or LAZ cloud")
    if len(roles) > 1 and "root" in roles:
        what += f", kept apart as {', '.join(sorted(Path(p).name for p in roles.values()))}"
    return Found(what, (Use("las", ("point_cloud",), options),))


def _texts(listing: _Listing) -> Found | None:
    if listing.pictures or listing.ending_in(_CLOUDS):
        return None
    files = listing.ending_in(_TEXTS)
    names = {path.name.lower() for path in listing.files}
    pairs = bool({"tokens.csv", "token.csv"} & names and {"tags.csv", "tag.csv"} & names)
    if pairs:
        files += [path for path in listing.files if path.name.lower() in ("tokens.csv", "token.csv")]
    files += [
        path for path in listing.ending_in((".txt", ".tsv"))[:_OPENED] if is_tagged_text(listing.root / path)
    ]
    files += [path for path in listing.ending_in((".csv",)) if "text" in csv_header(listing.root / path)]
    if not files:
        return None
    what = f"{listing.count(files, 'labelled text file')} ({files[0].name}{' …' if len(files) > 1 else ''})"
    options = {"path": listing.paths(files)}
    rows = all(path.suffix.lower() == ".csv" for path in files) and not pairs
    tables = (Use("table", ("tabular",), options),) if rows else ()
    return Found(what, (Use("text", ("ner",), options), *tables))


def _tables(listing: _Listing) -> Found | None:
    if listing.pictures or listing.ending_in(_CLOUDS):
        return None
    texts = listing.ending_in((".csv", ".tsv"))
    tokens = any(path.name.lower() in ("tokens.csv", "token.csv") for path in texts)
    rows = [
        path
        for path in texts
        if not tokens
        and "text" not in csv_header(listing.root / path)
        and not is_tagged_text(listing.root / path)
    ]
    tables = [*rows, *_vectors(listing)]
    if not tables:
        return None
    what = f"{listing.count(tables, 'table or layer', 'tables or layers')} ({tables[0].name})"
    return Found(what, (Use("table", ("tabular",), {"path": listing.paths(tables)}),))
