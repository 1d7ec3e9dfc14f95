"""YOLO: a text file an image, a line an object, in shares of the image."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from geomm.datasets.objects.chip_folder import ChipFolder, ReadLabels, list_images
from geomm.datasets.objects.chips import ObjectChips
from geomm.errors import DataError
from geomm.io.object_files import is_yolo, read_lines, read_yolo
from geomm.io.object_labels import ObjectLabels, Problems
from geomm.io.raster_info import RasterInfo
from geomm.registry import DATASETS


@DATASETS.register_module()
class YoloChips(ObjectChips):
    """Images with YOLO text files, beside them or as ``images/…`` and ``labels/…``; boxes or polygons.

    Class names come from ``data.yaml`` or ``classes.txt``. An image without a text file has no object. Its
    options are those of ``ObjectChips``; ``root`` is the folder of both, searched in depth.
    """

    def read_folder(self, problems: Problems) -> ChipFolder:
        images = list_images(self.root)
        used = {path: _label_of(path, self.root) for path in images}
        stems = {path.stem for path in images}
        for file in sorted(self.root.rglob("*.txt")):
            # Lists of classes and files, and whatever is to be read first, are no labels.
            if file.stem not in stems and is_yolo(file):
                problems.tell("label of a missing image", f"label without an image: {file}")
        if not any(path.is_file() for path in used.values()):
            raise DataError(
                f"{self.root} holds no labels; expected a text file an image, beside it or in labels/"
            )
        chips: list[tuple[Path, ReadLabels]] = [(image, partial(_read, file)) for image, file in used.items()]
        return ChipFolder(chips, class_names(self.root), by_value=True, map_space=self.map_space)


def _label_of(image: Path, root: Path) -> Path:
    """Return where the labels of an image are: in ``labels`` instead of ``images``, or beside it."""
    parts = list(image.relative_to(root).parts)
    if "images" in parts[:-1]:
        last = len(parts) - 2 - parts[-2::-1].index("images")
        parts[last] = "labels"
        there = root.joinpath(*parts).with_suffix(".txt")
        if there.is_file():
            return there
    return image.with_suffix(".txt")


def _read(file: Path, info: RasterInfo) -> ObjectLabels:
    if not file.is_file():
        return ObjectLabels.of_boxes(str(file), [], [])
    return read_yolo(file, info.width, info.height)


def class_names(root: Path) -> dict[int, str]:
    """Return the class names that a YOLO folder gives by number; none where it has no such file.

    Raises:
      DataError: the file cannot be read.
    """
    import yaml

    for file in sorted(root.glob("*.y*ml")):
        try:
            names = (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("names")
            if isinstance(names, Mapping):
                return {int(value): str(name) for value, name in names.items()}
        except (yaml.YAMLError, ValueError, TypeError, AttributeError) as error:
            raise DataError(
                f"{file} cannot be read as YOLO's data.yaml ({error})".replace("\n", " ")
            ) from error
        if isinstance(names, list):
            return {value: str(name) for value, name in enumerate(names)}
    # Tools write it beside the labels too.
    lists = sorted(root.rglob("classes.txt"), key=lambda path: len(path.parts))
    return dict(enumerate(line.strip() for _, line in read_lines(lists[0]))) if lists else {}
