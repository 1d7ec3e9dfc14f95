"""PASCAL VOC: an xml an image, beside it or in a folder of its own."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path, PureWindowsPath

from geomm.datasets.objects.chip_folder import ChipFolder, certain_chips, list_images
from geomm.datasets.objects.chips import ObjectChips
from geomm.errors import DataError
from geomm.io.namesakes import namesakes
from geomm.io.object_files import image_key, read_voc
from geomm.io.object_labels import ObjectLabels, Problems
from geomm.registry import DATASETS

_LOG = logging.getLogger("geomm")
#: Folders whose images are labels themselves, unless an xml lies beside them.
_LABEL_FOLDERS = {"annotations", "labels", "masks", "segmentationclass", "segmentationobject"}


@DATASETS.register_module()
class VocChips(ObjectChips):
    """Images with PASCAL VOC xml, beside them or as ``JPEGImages`` and ``Annotations``.

    An xml is of the image of its stem, else of that of the stem that its ``filename`` gives; of several such,
    of the one whose folders and ending agree best. ``difficult`` objects are neither learnt nor counted.
    Images without an xml are left out. Its options are those of ``ObjectChips``; ``root`` is the folder of
    both, searched in depth.
    """

    def read_folder(self, problems: Problems) -> ChipFolder:
        found = list_images(self.root)
        files = [path for path in sorted(self.root.rglob("*.xml")) if not path.name.endswith(".aux.xml")]
        if not files:
            raise DataError(f"{self.root} holds no xml; expected one an image, beside it or in Annotations/")
        labels: dict[str, ObjectLabels] = {}
        for file in files:
            try:
                labels[str(file)] = read_voc(file)
            except DataError as error:
                problems.tell("label file that cannot be read", str(error))
        images = _pictures(found, files, self.root)
        stems = {path.stem for path in images}
        called = tuple(_called(Path(file), item.image, stems) for file, item in labels.items())
        owners = {
            file: [images[index] for index in mine]
            for file, mine in zip(labels, namesakes(called, tuple(map(str, images))), strict=True)
        }
        for name, mine in owners.items():
            if not mine:
                problems.tell("label of a missing image", f"label without an image: {name}")
        chips = certain_chips(labels, owners, problems)
        alone = len(images) - len(chips)
        if alone > 0:
            _LOG.warning("%s: images without an xml left out: %d", self.root, alone)
        return ChipFolder(chips, map_space=self.map_space)


def _pictures(images: Sequence[Path], files: Sequence[Path], root: Path) -> list[Path]:
    """Return the images that are no labels themselves, such as masks; all where none else are there."""
    beside = {file.with_suffix("") for file in files}
    kept = [
        path
        for path in images
        if path.with_suffix("") in beside
        or not _LABEL_FOLDERS & {folder.lower() for folder in path.relative_to(root).parts[:-1]}
    ]
    return kept or list(images)


def _called(file: Path, named: str, stems: Collection[str]) -> str:
    """Return the path by which an xml's image is looked for, in the folder of the xml.

    An xml that was renamed with its image often keeps the old ``filename``, so its own stem goes first.

    Args:
      file: the xml.
      named: the image's file name as the xml gives it.
      stems: of the images.
    """
    # Of an absolute path only the name is sure to be true on this machine.
    given = PureWindowsPath(named)
    there = file.parent / (given.name if given.anchor else image_key(named))
    return str(there if named and (there.stem == file.stem or file.stem not in stems) else file)
