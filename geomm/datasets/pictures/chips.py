"""Chips that ArcGIS exported with a class, or several, for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geomm.datasets.maps.labels import Classes
from geomm.datasets.overlaps import group_chips
from geomm.datasets.pictures.crops import whole_image
from geomm.datasets.pictures.source import CropSource, Picture
from geomm.errors import DataError
from geomm.io.arcgis import kinds_of, read_export
from geomm.io.class_folders import class_folders
from geomm.io.object_files import read_voc_names
from geomm.io.raster_info import RasterInfo, read_info


class NamedChips(CropSource):
    """Chips of ArcGIS's Labeled_Tiles, MultiLabeled_Tiles and Imagenet, of one size or many.

    What ``Chips`` is where pictures are named whole. Chips that overlap on the map stay together.

    Args:
      root: folder of the export.
      options: of ``CropSource``.
    """

    groups = "groups of chips that do not overlap"
    names_first = True

    def __init__(self, *, root: str, **options: Any) -> None:
        super().__init__(**options)
        self.root = Path(root)

    @property
    def where(self) -> str:
        return str(self.root)

    def find(self) -> list[Picture]:
        self.export = read_export(self.root, kinds=kinds_of("classification"))
        self.colors = self.export.colors
        described = list(self.export.classes.values())
        self.class_of = dict(zip(class_folders(described), described, strict=True))
        crops, names = [], []
        for image, label in self.export.pairs:
            try:
                if not image.is_file():
                    raise DataError(f"label without an image: {label}")
                crop = whole_image(str(image))
                found = self._names(image, label)
            except DataError as error:
                self.leave_out("chips that cannot be used", str(error))
                continue
            crops.append(crop)
            names.append(found)
        groups = group_chips([read_info(crop.path) for crop in crops]).tolist() if crops else []
        return [Picture(*item) for item in zip(crops, names, groups, strict=True)]

    def _names(self, image: Path, label: Path | None) -> tuple[str, ...]:
        """Return the classes of a chip, by name or value as the export has them."""
        if self.export.kind == "Imagenet":
            inside = image.relative_to(self.root / "images").parts
            if len(inside) < 2:
                raise DataError(f"{image} lies in the folder of no class; expected images/CLASS/{image.name}")
            return (self.class_of.get(inside[0], inside[0]),)
        file = label or self.root / "labels" / f"{image.stem}.xml"
        if not file.is_file():
            raise DataError(f"chip without a label: {image}")
        found = read_voc_names(file)
        if self.export.kind == "MultiLabeled_Tiles":
            return tuple(dict.fromkeys(found))
        if not found:
            raise DataError(f"{file} names no class")
        return (found[0],)

    def several_labels(self) -> bool:
        return self.export.kind == "MultiLabeled_Tiles"

    def seen_from_above(self, infos: Sequence[RasterInfo]) -> bool:
        return self.export.map_space

    def _asked(self) -> Classes:
        """Return the classes that are to be learnt, by name and by value: labels may hold either."""
        if self.classes is None:
            return None
        value_of: dict[int | str, int] = {name: value for value, name in self.export.classes.items()}
        name_of: dict[int | str, str] = {str(value): name for value, name in self.export.classes.items()}
        if not isinstance(self.classes, Mapping):
            return {value_of.get(name, name): name for name in map(str, self.classes)}
        asked = dict(self.classes)
        for key, name in self.classes.items():
            if key in value_of:
                asked.setdefault(value_of[key], name)
            if str(key) in name_of:
                asked.setdefault(name_of[str(key)], name)
        return asked

    def _given(self, found: Sequence[str]) -> Classes:
        """Return the export's classes that these chips show: it may describe more than are here."""
        if self.classes is not None or not self.export.classes:
            return self._asked()
        there = set(found)
        named: dict[int | str, str] = {
            v: n for v, n in self.export.classes.items() if n in there or str(v) in there
        }
        lacking = there - {*named.values(), *map(str, named)}
        return None if lacking else named
