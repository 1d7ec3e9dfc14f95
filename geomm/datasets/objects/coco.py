"""COCO: images beside one json of boxes, polygons or run-length encoded masks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from geomm.datasets.objects.chip_folder import ChipFolder, certain_chips, list_images
from geomm.datasets.objects.chips import ObjectChips
from geomm.errors import DataError
from geomm.io.coco import read_coco
from geomm.io.namesakes import namesakes
from geomm.io.object_labels import Problems
from geomm.io.sniff import is_coco
from geomm.registry import DATASETS


@DATASETS.register_module()
class CocoChips(ObjectChips):
    """Images with a json in COCO's form; ``iscrowd`` objects are neither learnt nor counted.

    Args:
      annotations: the json; None for the only one of COCO's form below ``root``.
      options: of ``ObjectChips``; ``root`` is the folder of the images, searched in depth. Images that lie
        deeper than the json says are known by their stem and the folders that agree.
    """

    def __init__(self, *, annotations: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.annotations = annotations

    def read_folder(self, problems: Problems) -> ChipFolder:
        images = list_images(self.root)
        file = read_coco(self._json(), problems)
        called = tuple(os.path.normpath(self.root / name) for name in file.labels)
        owners: dict[str, list[Path]] = {}
        for name, mine in zip(file.labels, namesakes(called, tuple(map(str, images))), strict=True):
            direct = self.root / name
            owners[name] = [direct] if direct.is_file() else [images[index] for index in mine]
            if not owners[name]:
                path = file.labels[name].path
                problems.tell("labels of a missing image", f"{path}: image {name} is not below {self.root}")
        chips = certain_chips(file.labels, owners, problems)
        # Categories are names already; their numbers become the classes' values.
        return ChipFolder(chips, file.classes, by_value=False, map_space=self.map_space)

    def _json(self) -> Path:
        if self.annotations is not None:
            return Path(self.annotations)
        found = [path for path in sorted(self.root.rglob("*.json")) if is_coco(path)]
        if len(found) == 1:
            return found[0]
        names = ", ".join(path.name for path in found[:5]) or "none"
        raise DataError(
            f"{self.root}: expected one json of COCO's form, found {names}; name dataset.annotations"
        )
