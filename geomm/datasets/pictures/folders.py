"""Folders of pictures, one a class, as ImageNet has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geomm.datasets.pictures.crops import whole_image
from geomm.datasets.pictures.source import CropSource, Picture
from geomm.errors import DataError
from geomm.io.paths import RASTER_ENDINGS
from geomm.io.raster_info import RasterInfo
from geomm.registry import DATASETS
from geomm.samples import sample_root

#: What the folder of a split may be called.
_SPLIT_NAMES = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "test": 2}
PICTURE_ENDINGS = (*RASTER_ENDINGS, ".webp")


@DATASETS.register_module()
class Folders(CropSource):
    """A folder a class, with pictures of any size and band count in each; photos are turned upright.

    Folders ``train`` and ``val`` (and ``test``) with the classes' below are taken for the splits; else each
    class is shared out at random.

    Args:
      root: the folder.
      sample: name of made-up sample data to use instead (``geomm.samples``).
      from_above: whether any flip or turn of a picture is as plausible; ``auto``: where all have a CRS.
      options: of ``CropSource``.
    """

    def __init__(
        self,
        *,
        root: str | None = None,
        sample: str | None = None,
        from_above: bool | str = "auto",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.root, self.sample, self.from_above = root, sample, from_above

    @property
    def where(self) -> str:
        return str(self.root or self.sample)

    def find(self) -> list[Picture]:
        root = Path(self.root or sample_root(str(self.sample)))
        if not root.is_dir():
            raise DataError(f"{root}: there is no such folder")
        roles = {folder: _SPLIT_NAMES.get(folder.name.lower()) for folder in _folders(root)}
        parts = {folder: role for folder, role in roles.items() if role is not None}
        if 0 not in parts.values():
            return self._classes_of(root, None)
        return [item for folder, role in parts.items() for item in self._classes_of(folder, role)]

    def _classes_of(self, root: Path, role: int | None) -> list[Picture]:
        folders = _folders(root)
        if not folders:
            raise DataError(
                f"{root} holds no folders; expected one a class, with its pictures in it, or train and val "
                "with the classes' below"
            )
        found = []
        for folder in folders:
            files = [
                p for p in sorted(folder.rglob("*")) if p.suffix.lower() in PICTURE_ENDINGS and p.is_file()
            ]
            if not files:
                self.leave_out("empty classes", f"class {folder.name} has no picture in {folder}")
            for file in files:
                try:
                    crop = whole_image(str(file))
                except DataError as error:
                    self.leave_out("damaged images", str(error))
                    continue
                found.append(Picture(crop, (folder.name,), str(file), role))
        return found

    def seen_from_above(self, infos: Sequence[RasterInfo]) -> bool:
        return super().seen_from_above(infos) if self.from_above == "auto" else bool(self.from_above)


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
