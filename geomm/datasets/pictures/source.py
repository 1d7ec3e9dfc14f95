"""What the sources of labelled pictures have in common: classes, splits, statistics, what is left out."""

from __future__ import annotations

import abc
import logging
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.datasets.blocks import SPLITS, assign_groups
from geomm.datasets.maps.labels import Classes, choose_classes, recolour
from geomm.datasets.moments import merge_moments, moments_of
from geomm.datasets.pictures.crops import LEAST_COVERED, Crop, CropDataset, oversampled, read_crop
from geomm.errors import DataError
from geomm.io.raster_info import RasterInfo, read_info
from geomm.io.vector import layer_classes
from geomm.structures import ClassificationSpec, ClassSpec
from geomm.transforms.compose import Compose

_LOG = logging.getLogger("geomm")
#: Problems of one kind that are named one by one; the rest is counted.
_NAMED = 5


@dataclass(frozen=True)
class LabelTarget:
    """What the task asks of a source.

    Attributes:
      multi_label: whether pictures show several classes; None where the data says.
      oversample: each class comes up at least this share as often as the most frequent one.
    """

    multi_label: bool | None = None
    oversample: float = 0.0


@dataclass(frozen=True)
class Picture:
    """A picture and what is known of it.

    Attributes:
      crop: what to read.
      names: of its classes, as the labels have them.
      group: pictures of one group go to one split.
      role: index into ``SPLITS`` where the data decides, None where it is divided.
    """

    crop: Crop
    names: tuple[str, ...]
    group: Any
    role: int | None = None


class CropSource(abc.ABC):
    """A source of labelled pictures; derived classes find them.

    Args:
      classes: None for what the labels hold; names; or {value: name}, where values may share a name.
      bands: 1-based numbers or names, None for all but alpha.
      window_px: edge that pictures are resampled to, None for a usual size.
      split: ``val`` and ``test`` shares and ``seed`` (the run's).
      on_error: ``raise``, or ``skip`` to leave out what cannot be used, named and counted.
      augment: transforms of training samples, filled in from the task.
      seed: of every random choice.
      target: what the task asks, filled in.
    """

    #: What decides that pictures stay together, for messages.
    groups = "pictures"
    #: Whether what labels say is a name rather than a value where it is both.
    names_first = False
    margin: float = 0.0
    margin_m: float | None = None
    blackout: bool = False

    def __init__(
        self,
        *,
        classes: Classes = None,
        bands: Sequence[int | str] | None = None,
        window_px: int | None = None,
        split: Mapping[str, Any] | None = None,
        on_error: str = "raise",
        augment: Mapping[str, Mapping[str, Any] | None] | None = None,
        seed: int = 0,
        target: LabelTarget | None = None,
    ) -> None:
        self.classes, self.bands, self.window_px, self.on_error = classes, bands, window_px, on_error
        self.split_options = {"val": 0.2, "test": 0.0, "seed": None, **(split or {})}
        self.augment, self.seed = augment or {}, seed
        self.target = target or LabelTarget()
        self.colors: dict[int, tuple[int, int, int]] = {}
        self._datasets: dict[str, CropDataset] = {}
        self._problems: Counter[str] = Counter()

    @abc.abstractmethod
    def find(self) -> list[Picture]:
        """Return every picture that has a label; what cannot be used goes to ``leave_out``."""

    @property
    def where(self) -> str:
        """What the data is called in messages."""
        return type(self).__name__

    def seen_from_above(self, infos: Sequence[RasterInfo]) -> bool:
        """Return whether any flip or turn of a picture is as plausible."""
        return all(info.georeference.crs is not None for info in infos)

    def several_labels(self) -> bool:
        """Return whether the data says that pictures show several classes."""
        return False

    def leave_out(self, kind: str, problem: str, count: int = 1) -> None:
        """Note what cannot be used.

        Args:
          kind: of problem, in the plural, to be counted by.
          problem: what exactly, with its name.
          count: how many it is about.

        Raises:
          DataError: unless ``on_error`` is ``skip``.
        """
        if self.on_error != "skip":
            raise DataError(f"{problem} (dataset.on_error=skip leaves such out)")
        self._problems[kind] += count
        if self._problems[kind] <= _NAMED:
            _LOG.warning("left out: %s", problem)

    def prepare(self, cache: Path) -> ClassificationSpec:
        """Find the pictures, read every one once, settle classes and splits.

        Args:
          cache: folder for what was found; unused.

        Raises:
          DataError: nothing can be used, or, with ``on_error="raise"``, something cannot.
        """
        pictures = self.pictures()
        bands = read_info(pictures[0].crop.path).select_bands(self.bands)
        window = self.window_px or self._usual_window(pictures)
        pictures, moments = self._readable(self._of_these_bands(pictures, bands), bands, window)
        classes, labels, several = self._classes(pictures)
        self._tell_problems(len(pictures))
        splits = self._assign(pictures, labels, classes)
        infos = [read_info(path) for path in dict.fromkeys(item.crop.path for item in pictures)]
        from_above = self.seen_from_above(infos)
        for index, name in enumerate(SPLITS):
            self._datasets[name] = self._dataset(
                name, pictures, labels, splits == index, bands=bands, window=window, from_above=from_above
            )
        train = splits == 0
        info = infos[0]
        sizes = ", ".join(f"{len(set(d.positions))} {name}" for name, d in self._datasets.items() if len(d))
        counts = ", ".join(f"{int(n)} {c.name}" for n, c in zip(labels.sum(0), classes, strict=True))
        _LOG.info("%s: %d pictures (%s): %s", self.where, len(pictures), sizes, counts[:400])
        return ClassificationSpec(
            bands=tuple(bands),
            band_names=tuple(info.band_names[band - 1] for band in bands),
            dtype=info.dtype,
            nodata=info.nodata,
            statistics=merge_moments([m for m, keep in zip(moments, train, strict=True) if keep]),
            classes=recolour(classes, self.colors),
            window_px=window,
            gsd=info.gsd if self.groups == "blocks" else 0.0,
            crs=info.georeference.crs,
            map_space=from_above,
            class_pixels=tuple(int(n) for n in labels[train].sum(0)),
            multi_label=several,
            margin=self.margin,
            margin_m=self.margin_m,
            blackout=self.blackout,
        )

    def pictures(self) -> list[Picture]:
        """Return the pictures of the classes that are to be learnt.

        Raises:
          DataError: there are none, or, with ``on_error="raise"``, one that cannot be used.
        """
        found = self.find()
        if not found:
            raise DataError(f"{self.where}: no labelled picture can be used")
        return self._known(found)

    def split(self, name: str) -> CropDataset:
        """Return the pictures of ``train``, ``val`` or ``test``."""
        return self._datasets[name]

    def _known(self, pictures: list[Picture]) -> list[Picture]:
        """Leave out pictures of classes that are not to be learnt."""
        given = self._asked()
        if given is None:
            return pictures
        known = {str(c) for c in given} | (
            set(map(str, given.values())) if isinstance(given, Mapping) else set()
        )
        kept = []
        for item in pictures:
            unknown = [name for name in item.names if name not in known]
            if unknown:
                names = ", ".join(sorted(known)[:12])
                self.leave_out(
                    "pictures of other classes",
                    f"{item.crop.name}: class {unknown[0]!r} is not in dataset.classes ({names})",
                )
            else:
                kept.append(item)
        if not kept:
            raise DataError(f"{self.where}: no picture is of a class of dataset.classes")
        return kept

    def _of_these_bands(self, pictures: list[Picture], bands: Sequence[int]) -> list[Picture]:
        """Leave out images that the chosen bands do not fit."""
        first = read_info(pictures[0].crop.path)
        fits: dict[str, str | None] = {}
        kept = []
        for item in pictures:
            path = item.crop.path
            if path not in fits:
                info = read_info(path)
                same = len(info.image_bands) == len(first.image_bands) or self.bands is not None
                fits[path] = (
                    None
                    if same and info.count >= max(bands)
                    else (
                        f"{path} has {len(info.image_bands)} bands, {first.path} {len(first.image_bands)}; "
                        "choose common ones with dataset.bands"
                    )
                )
            problem = fits[path]
            if problem is None:
                kept.append(item)
            else:
                self.leave_out("images of other bands", problem)
        return kept

    def _readable(
        self, pictures: list[Picture], bands: Sequence[int], window: int
    ) -> tuple[list[Picture], list[NDArray[np.float64]]]:
        """Read every picture once; return those with pixels, and the moments (5, C) of each."""

        def look(item: Picture) -> NDArray[np.float64] | DataError | None:
            try:
                sample = read_crop(item.crop, bands, window, blackout=self.blackout)
            except DataError as error:
                return error
            if sample.extras["covered"] < LEAST_COVERED or not sample.valid.any():
                return None
            return moments_of(sample.image[:, sample.valid])

        kept, moments = [], []
        said = time.monotonic()
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for number, (item, found) in enumerate(zip(pictures, pool.map(look, pictures), strict=True)):
                if isinstance(found, DataError):
                    self.leave_out("damaged images", str(found))
                elif found is None:
                    self.leave_out(
                        "pictures off the imagery",
                        f"{item.crop.name}: more than half of it is off the image or without data",
                    )
                else:
                    kept.append(item)
                    moments.append(found)
                if time.monotonic() - said > 15:
                    said = time.monotonic()
                    _LOG.info("%s: %d of %d pictures read", self.where, number + 1, len(pictures))
        if not kept:
            raise DataError(f"{self.where}: none of the {len(pictures)} pictures can be read")
        return kept, moments

    def _classes(
        self, pictures: Sequence[Picture]
    ) -> tuple[tuple[ClassSpec, ...], NDArray[np.float32], bool]:
        """Return the classes, each picture's as (N, K), and whether a picture may have several."""
        found = layer_classes([np.array([n for item in pictures for n in item.names], object)])
        classes, index_of = choose_classes(
            found, self._given(found), "pictures", names_first=self.names_first
        )
        labels = np.zeros((len(pictures), len(classes)), np.float32)
        for row, item in zip(labels, pictures, strict=True):
            row[[index_of[name] for name in item.names]] = 1
        several = self.several_labels() if self.target.multi_label is None else self.target.multi_label
        if len(classes) < 2 and not several:
            raise DataError(
                f"{self.where}: all pictures are of one class ({classes[0].name}); nothing can be told apart "
                "from it: add pictures of another class"
            )
        if not several and (labels.sum(1) != 1).any():
            odd = pictures[int(np.flatnonzero(labels.sum(1) != 1)[0])]
            raise DataError(
                f"{odd.crop.name} shows {len(odd.names)} classes ({', '.join(odd.names)}); "
                "task.multi_label=true learns several a picture"
            )
        for name, count in zip((c.name for c in classes), labels.sum(0), strict=True):
            if count < 2:
                _LOG.warning("class %s has %d picture: it cannot be both learnt and judged", name, count)
        return classes, labels, several

    def _asked(self) -> Classes:
        """Return the classes that are to be learnt; derived classes may know them by further names."""
        return self.classes

    def _given(self, found: Sequence[str]) -> Classes:
        """Return the classes to choose from; derived classes may know their names."""
        return self._asked()

    def _usual_window(self, pictures: Sequence[Picture]) -> int:
        """Return the median size of pictures, from 32 to 224 pixels and a multiple of 32."""
        edges = [item.crop.window.width for item in pictures]
        return int(np.clip(-(-int(np.median(edges)) // 32) * 32, 32, 224))

    def _tell_problems(self, kept: int) -> None:
        if self._problems:
            counts = ", ".join(f"{count} {kind}" for kind, count in self._problems.items())
            _LOG.warning("%s: %d pictures used; left out: %s", self.where, kept, counts)

    def _assign(
        self, pictures: Sequence[Picture], labels: NDArray[np.float32], classes: Sequence[ClassSpec]
    ) -> NDArray[np.int8]:
        """Return each picture's split: the data's own, else each class shared out by groups."""
        roles = np.array([-1 if item.role is None else item.role for item in pictures], np.int8)
        own = set(roles.tolist()) - {0}
        free = np.flatnonzero(roles <= 0)
        wanted = sum(float(self.split_options[SPLITS[index]]) for index in (1, 2) if index not in own)
        if wanted > 0 and len(free):
            roles[free] = assign_groups(
                _numbers(pictures[i].group for i in free),
                # A picture without any label must be counted too.
                np.column_stack([labels[free], labels[free].sum(1) == 0]).astype(np.int64),
                self.split_options,
                seed=self.seed,
                own=own,
                what=self.groups,
                cure="give more data, or a set for validation",
            )
        roles[roles < 0] = 0
        unlearnt = [c.name for c, n in zip(classes, labels[roles == 0].sum(0), strict=True) if n == 0]
        if unlearnt:
            raise DataError(
                f"{self.where}: no training picture shows class {', '.join(unlearnt)}; add some, or take the "
                "class from dataset.classes"
            )
        if not (roles == 1).any():
            raise DataError(f"{self.where}: no picture is left for validation; give dataset.split.val=0.2")
        return roles

    def _dataset(
        self,
        name: str,
        pictures: Sequence[Picture],
        labels: NDArray[np.float32],
        mine: NDArray[np.bool_],
        *,
        bands: Sequence[int],
        window: int,
        from_above: bool,
    ) -> CropDataset:
        training = name == "train"
        own = labels[mine]
        return CropDataset(
            [item.crop for item, keep in zip(pictures, mine, strict=True) if keep],
            own,
            bands=bands,
            window_px=window,
            blackout=self.blackout,
            augment=Compose(self.augment if training else {}, map_space=from_above),
            seed=self.seed,
            positions=oversampled(own, self.target.oversample) if training and len(own) else None,
        )


def _numbers(groups: Iterable[Any]) -> NDArray[np.intp]:
    """Return a number a group, counted from 0 in order of appearance."""
    known: dict[Any, int] = {}
    return np.array([known.setdefault(group, len(known)) for group in groups], np.intp)
