"""YOLO: a text file an image, a line an object, in shares of the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from geomm.datasets.coco import list_images
from geomm.datasets.object_chips import ChipFolder, ObjectChips, ReadLabels
from geomm.datasets.object_targets import BoxTarget
from geomm.errors import DataError
from geomm.io.object_files import read_yolo
from geomm.io.object_labels import ObjectLabels, Problems
from geomm.io.raster_info import RasterInfo
from geomm.registry import DATASETS

#: Text files that hold no objects.
_NO_LABELS = ("classes.txt", "train.txt", "val.txt", "test.txt", "readme.txt", "notes.txt")


@DATASETS.register_module()
class YoloChips(ObjectChips):
    """Images with YOLO text files, beside them or as ``images/…`` and ``labels/…``; boxes or polygons.

    Class names come from ``data.yaml`` or ``classes.txt``. An image without a text file has no object.

    Args:
      root: folder of both, searched in depth.
      classes: None for all that are named; names; or {value: name}.
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
        self.map_space = map_space

    def read_folder(self, problems: Problems) -> ChipFolder:
        images = list_images(self.root)
        used = {path: _label_of(path, self.root) for path in images}
        stems = {path.stem for path in images}
        for file in sorted(self.root.rglob("*.txt")):
            if file.name.lower() not in _NO_LABELS and file.stem not in stems:
                problems.tell("label of a missing image", f"label without an image: {file}")
        if not any(path.is_file() for path in used.values()):
            raise DataError(
                f"{self.root} holds no labels; expected a text file an image, beside it or in labels/"
            )
        chips: list[tuple[Path, ReadLabels]] = [(image, partial(_read, file)) for image, file in used.items()]
        return ChipFolder(chips, class_names(self.root), map_space=self.map_space)


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
        except (yaml.YAMLError, UnicodeDecodeError, AttributeError) as error:
            raise DataError(
                f"{file} cannot be read as YOLO's data.yaml ({error})".replace("\n", " ")
            ) from error
        if isinstance(names, Mapping):
            return {int(value): str(name) for value, name in names.items()}
        if isinstance(names, list):
            return {value: str(name) for value, name in enumerate(names)}
    file = root / "classes.txt"
    if not file.is_file():
        return {}
    lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    return dict(enumerate(lines))
