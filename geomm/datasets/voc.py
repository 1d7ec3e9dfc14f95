"""PASCAL VOC: an xml an image, beside it or in a folder of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

from geomm.datasets.coco import known_labels, list_images
from geomm.datasets.object_chips import ChipFolder, ObjectChips, ReadLabels
from geomm.datasets.object_targets import BoxTarget
from geomm.errors import ConfigError, DataError
from geomm.io.object_files import read_voc
from geomm.io.object_labels import Problems
from geomm.registry import DATASETS

_LOG = logging.getLogger("geomm")


@DATASETS.register_module()
class VocChips(ObjectChips):
    """Images with PASCAL VOC xml, beside them or as ``JPEGImages`` and ``Annotations``.

    ``difficult`` objects are neither learnt nor counted. Images without an xml are left out.

    Args:
      root: folder of both, searched in depth.
      sample: name of generated sample data to use instead (``geomm.samples``), with such a folder.
      classes: None for what the files name; names; or {value: name}.
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
        root: str | None = None,
        sample: str | None = None,
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
            root=sample_root(sample) if root is None and sample is not None else str(root),
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


def sample_root(name: str) -> str:
    """Return the folder of a sample's images, made if it is not there yet.

    Raises:
      ConfigError: the sample has none.
    """
    from geomm.samples import make
    from geomm.samples.store import samples_folder

    made = make(name, samples_folder())
    if "root" not in made:
        raise ConfigError(f"dataset.sample: {name} has no folder of images; it has {', '.join(made)}")
    return made["root"]
