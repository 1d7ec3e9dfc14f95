"""PASCAL VOC: an xml an image, beside it or in a folder of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PureWindowsPath

from geomm.datasets.objects.chips import ChipFolder, ObjectChips, ReadLabels, known_labels, list_images
from geomm.errors import DataError
from geomm.io.object_files import read_voc
from geomm.io.object_labels import Problems
from geomm.registry import DATASETS

_LOG = logging.getLogger("geomm")


@DATASETS.register_module()
class VocChips(ObjectChips):
    """Images with PASCAL VOC xml, beside them or as ``JPEGImages`` and ``Annotations``.

    ``difficult`` objects are neither learnt nor counted. Images without an xml are left out. Its options are
    those of ``ObjectChips``; ``root`` is the folder of both, searched in depth.
    """

    def read_folder(self, problems: Problems) -> ChipFolder:
        found = list_images(self.root)
        images: dict[str, list[Path]] = {}
        for path in found:
            for key in (path.stem, path.name):
                images.setdefault(key, []).append(path)
        files = [path for path in sorted(self.root.rglob("*.xml")) if not path.name.endswith(".aux.xml")]
        if not files:
            raise DataError(f"{self.root} holds no xml; expected one an image, beside it or in Annotations/")
        chips: list[tuple[Path, ReadLabels]] = []
        for file in files:
            try:
                labels = read_voc(file)
            except DataError as error:
                problems.tell("label file that cannot be read", str(error))
                continue
            image = _image_of(file, labels.image, images)
            if image is None:
                problems.tell("label of a missing image", f"label without an image: {file}")
            else:
                chips.append((image, partial(known_labels, labels)))
        alone = len(found) - len(chips)
        if alone > 0:
            _LOG.warning("%s: images without an xml left out: %d", self.root, alone)
        return ChipFolder(chips, map_space=self.map_space)


def _image_of(file: Path, named: str, images: Mapping[str, list[Path]]) -> Path | None:
    """Return the image of an xml: of its stem, in its own folder if there, else of the name that it gives.

    Args:
      file: the xml.
      named: the image's file name as the xml gives it.
      images: by stem and by file name.
    """
    alike = images.get(file.stem, [])
    beside = [path for path in alike if path.parent == file.parent]
    return next(iter([*beside, *alike, *images.get(PureWindowsPath(named).name, [])]), None)
