"""Chips with objects that ArcGIS exported."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

from geomm.datasets.objects.chip_folder import ChipFolder, ReadLabels
from geomm.datasets.objects.chips import ObjectChips
from geomm.errors import DataError
from geomm.io.arcgis import files_in, kinds_of, read_export
from geomm.io.namesakes import own_labels
from geomm.io.object_files import read_instances, read_kitti, read_voc
from geomm.io.object_labels import ObjectLabels, Problems
from geomm.io.raster_info import RasterInfo


class ExportedObjects(ObjectChips):
    """Chips of ArcGIS's PASCAL_VOC_rectangles, KITTI_rectangles and RCNN_Masks."""

    def read_folder(self, problems: Problems) -> ChipFolder:
        export = read_export(self.root, kinds=kinds_of("detection"))
        masks = _masks(self.root) if export.kind == "RCNN_Masks" else {}
        chips: list[tuple[Path, ReadLabels]] = []
        for image, label in export.pairs:
            if not image.is_file():
                problems.tell("label of a missing image", f"label without an image: {label} ({image})")
            elif export.kind == "RCNN_Masks":
                chips.append((image, partial(_read_masks, image, masks.get(image, {}))))
            elif label is None or not label.is_file():
                problems.tell("chip without a label", f"chip without a label: {image}")
            else:
                read = read_kitti if export.kind == "KITTI_rectangles" else read_voc
                chips.append((image, partial(_read_by_path, read, label)))
        return ChipFolder(chips, export.classes, export.colors, export.map_space, export.cell_size)


def _read_by_path(read: Any, label: Path, info: RasterInfo) -> ObjectLabels:
    found: ObjectLabels = read(label)
    return found


def _masks(root: Path) -> dict[Path, dict[str, Path]]:
    """Return the masks of each image: one raster in a folder of its class's name or value."""
    images, labels = root / "images", root / "labels"
    names = [path.relative_to(images) for path in files_in(images)]
    masks: dict[Path, dict[str, Path]] = defaultdict(dict)
    for folder in sorted(labels.iterdir()) if labels.is_dir() else ():
        inside = [path.relative_to(folder) for path in files_in(folder)]
        for name, mask in own_labels(names, inside).items():
            masks[images / name][folder.name] = folder / mask
    return masks


def _read_masks(image: Path, masks: dict[str, Path], info: RasterInfo) -> ObjectLabels:
    if not masks:
        raise DataError(f"chip without a label: no labels/CLASS/{image.stem}.tif for {image}")
    return read_instances(masks)
