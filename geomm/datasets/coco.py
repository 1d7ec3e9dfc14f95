"""COCO: images beside one json of boxes, polygons or run-length encoded masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from geomm.datasets.object_chips import ChipFolder, ObjectChips, ReadLabels
from geomm.datasets.object_targets import BoxTarget
from geomm.errors import DataError
from geomm.io.coco import is_coco, read_coco
from geomm.io.object_labels import ObjectLabels, Problems
from geomm.io.paths import RASTER_ENDINGS
from geomm.io.raster_info import RasterInfo
from geomm.registry import DATASETS


def list_images(root: Path) -> list[Path]:
    """Return the images below a folder, sorted.

    Raises:
      DataError: there is no such folder, or no image in it.
    """
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder")
    found = [path for path in sorted(root.rglob("*")) if path.suffix.lower() in RASTER_ENDINGS]
    if not found:
        raise DataError(
            f"{root} holds no images; expected files that end in {', '.join(RASTER_ENDINGS[:8])} …"
        )
    return found


def known_labels(labels: ObjectLabels, info: RasterInfo) -> ObjectLabels:
    """Return labels that were read with those of all images."""
    return labels


@DATASETS.register_module()
class CocoChips(ObjectChips):
    """Images with a json in COCO's form; ``iscrowd`` objects are neither learnt nor counted.

    Args:
      root: folder of the images, searched in depth.
      annotations: the json; None for the only one of COCO's form below ``root``.
      classes: None for those of the json; names; or {value: name}.
      bands: 1-based numbers or names, None for all but alpha.
      window_px: edge of windows cut out of images, None for whole images.
      split: ``val`` and ``test`` shares and ``seed`` (the run's).
      min_visible: an object is ignored in a training window that shows less than this share of its area.
      empty_share: largest share of training images without an object, None for all there are.
      map_space: False for photos and oblique imagery.
      on_error: ``raise``, or ``skip`` to leave out what cannot be used, with a warning.
      augment: transforms of training images, filled in from the task.
      seed: of every random choice.
      target: boxes or outlines, filled in from the task.
    """

    def __init__(
        self,
        *,
        root: str,
        annotations: str | None = None,
        classes: Any = None,
        bands: Sequence[int | str] | None = None,
        window_px: int | None = None,
        split: Mapping[str, Any] | None = None,
        min_visible: float = 0.5,
        empty_share: float | None = None,
        map_space: bool = True,
        on_error: str = "raise",
        augment: Mapping[str, Mapping[str, Any] | None] | None = None,
        seed: int = 0,
        target: BoxTarget | None = None,
    ) -> None:
        super().__init__(
            root=root,
            bands=bands,
            window_px=window_px,
            split=split,
            on_error=on_error,
            augment=augment,
            seed=seed,
            empty_share=empty_share,
            target=target or BoxTarget(classes=classes, min_visible=min_visible),
        )
        self.annotations, self.map_space = annotations, map_space

    def read_folder(self, problems: Problems) -> ChipFolder:
        images = {path.name: path for path in list_images(self.root)}
        file = read_coco(self._json(), problems)
        chips: list[tuple[Path, ReadLabels]] = []
        for name, labels in file.labels.items():
            path = self.root / name
            path = path if path.is_file() else images.get(Path(name).name, path)
            if not path.is_file():
                problems.tell(
                    "labels of a missing image", f"{labels.path}: image {name} is not below {self.root}"
                )
            else:
                chips.append((path, partial(known_labels, labels)))
        # Categories are names already; their numbers become the classes' values.
        return ChipFolder(chips, file.classes, map_space=self.map_space)

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
