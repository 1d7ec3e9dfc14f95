"""Objects as what windows of scenes are to teach."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from geomm.datasets.maps.labels import Classes, LabelTable, choose_classes, is_vector
from geomm.datasets.maps.scene_files import OpenScene, Paths, open_scenes
from geomm.datasets.maps.windows import Change, RandomWindows
from geomm.datasets.objects.chip_folder import tell_turned
from geomm.datasets.objects.windows import JudgeObjects, LearnObjects, ObjectWindows, SceneObjects, margin_px
from geomm.errors import DataError
from geomm.io.coco import read_coco
from geomm.io.namesakes import scenes_of_labels
from geomm.io.object_files import labels_of_image, objects_of_layer, read_pixel_csv, read_voc
from geomm.io.object_labels import ObjectLabels, Problems
from geomm.io.paths import VECTOR_ENDINGS, expand
from geomm.io.raster import RasterReader
from geomm.io.raster_info import RasterInfo
from geomm.io.sniff import is_coco
from geomm.io.vector import VectorLabels, layer_classes
from geomm.structures import MAX_CLASSES, ClassSpec, RasterSpec
from geomm.transforms.compose import Compose

_LOG = logging.getLogger("geomm")
#: What objects are called that no file names.
ONLY_OBJECT = "object"
#: Label files of objects.
_ENDINGS = (*VECTOR_ENDINGS, ".csv", ".xml")
#: Label files that are looked for beside a scene, in this order.
_BESIDE = (".xml", ".csv", ".gpkg", ".geojson", ".json", ".shp", ".fgb")
#: The class of pixels that are no object's middle; only counted, never taught.
_NOTHING = ClassSpec(0, "ground without objects", (225, 225, 220))


class BoxTarget:
    """Boxes, or outlines, of objects.

    Args:
      label_field: attribute of a vector layer with the class; without it all its features are one class.
      classes: None for what the labels hold; names; or {value: name}, values that share a name being
        grouped.
      min_visible: an object is ignored in a training window that shows less than this share of its area.
      empty_share: share of training windows without an object.
      masks: samples carry each object's pixels; without, an object is its box.
      tell_boxes: whether to say so where all outlines are boxes.
    """

    labelled = True
    #: What a class is counted in.
    unit = "objects"

    def __init__(
        self,
        *,
        label_field: str | None = None,
        classes: Classes = None,
        min_visible: float = 0.5,
        empty_share: float = 0.1,
        masks: bool = False,
        tell_boxes: bool = True,
    ) -> None:
        self.label_field, self.classes = label_field, classes
        self.min_visible, self.empty_share, self.masks = min_visible, empty_share, masks
        self.tell_boxes = tell_boxes
        self.object_px: tuple[float, float] | None = None
        self._edges = np.zeros(0)
        #: The scenes that each label file is for, those to validate and test on too.
        self._scenes_of: dict[str, dict[str, None]] = {}

    @classmethod
    def of(cls, dataset: Mapping[str, Any], *, masks: bool, tell_boxes: bool = True) -> BoxTarget:
        """Return the target that a dataset's config describes."""
        keys = ("label_field", "classes", "min_visible", "empty_share")
        return cls(
            masks=masks, tell_boxes=tell_boxes, **{key: dataset[key] for key in keys if key in dataset}
        )

    def open(self, images: Paths, labels: Paths, *, skip_errors: bool, role: int) -> list[OpenScene]:
        assert images is not None
        problems = Problems(skip_errors)
        scenes = tuple(expand(images))
        files = [] if labels is None else expand(labels, _ENDINGS)

        def place(scene: str, file: str) -> OpenScene:
            reader = RasterReader(scene)
            info = reader.info
            # A file of one scene is known by its own name, whatever it calls the image.
            rivals = scenes if len(files) == 1 else (scene,)
            found = self._read(file or _beside(scene), scene, rivals, info, problems.skip)
            tell_turned(info, problems)
            found = found.in_image(info.width, info.height, problems)
            objects = found if self.masks else found.as_boxes()
            return OpenScene(reader, SceneObjects(objects=objects, masks=self.masks), role)

        opened = open_scenes(images, labels, place, skip_errors=skip_errors, endings=_ENDINGS)
        for file in files:
            self._scenes_of.setdefault(file, {}).update(dict.fromkeys(scenes))
        problems.sum_up("labels")
        return opened

    def _read(
        self, file: str, scene: str, scenes: tuple[str, ...], info: RasterInfo, skip: bool
    ) -> ObjectLabels:
        """Return the objects that a file has for one of the scenes, in its pixels."""
        ending = Path(file).suffix.lower()
        many = self._of_many(file, skip)
        if self.label_field is not None and (ending == ".xml" or (many is not None and ending == ".json")):
            raise DataError(
                f"{file}: dataset.label_field={self.label_field} is for vector layers and csv; PASCAL VOC "
                "xml and COCO json have their own place for the class: leave the option out"
            )
        if many is not None:
            found = labels_of_image(many, scene, file, scenes)
        elif ending == ".xml":
            found = read_voc(file)
        elif is_vector(file):
            return objects_of_layer(VectorLabels.open(file, info, label_field=self.label_field))
        else:
            raise DataError(
                f"{file}: labels of objects are a vector layer, a csv of pixel boxes, PASCAL VOC xml or COCO "
                f"json, not a {ending or 'file without ending'}"
            )
        found.check_size(info.width, info.height, info.path)
        return found

    def _of_many(self, file: str, skip: bool) -> dict[str, ObjectLabels] | None:
        """Return the labels of a file of several images by image, None where it is of another kind."""
        ending = Path(file).suffix.lower()
        if ending == ".csv":
            return _read_csv(file, os.path.getmtime(file) if os.path.exists(file) else 0.0, self.label_field)
        if ending == ".json" and is_coco(file):
            return _read_coco(file, os.path.getmtime(file), skip)
        return None

    def _tell_missing(self, file: str, scenes: tuple[str, ...]) -> None:
        """Say how many images that a file of several labels are not among the scenes."""
        try:
            labels = self._of_many(file, True) or {}
        except DataError:
            return  # its scene is left out for it
        owners = scenes_of_labels(tuple(labels), scenes, file)
        missing = [name for name, found in owners.items() if name and not found]
        if missing:
            _LOG.warning("%s: labels of a missing image: %d (%s …)", file, len(missing), missing[0])

    def settle(self, scenes: Sequence[OpenScene], cache: Path, *, skip_errors: bool) -> LabelTable:
        for file, of in self._scenes_of.items():
            self._tell_missing(file, tuple(of))
        placed = [scene.labels for scene in scenes if isinstance(scene.labels, SceneObjects)]
        found = [item.objects for item in placed if item.objects is not None]
        problems = Problems(skip_errors)
        specs, index_of, known = self.settle_classes(found, problems)
        problems.sum_up("labels")
        table = LabelTable((*specs, _NOTHING), None, index_of, {})
        for item, objects in zip(placed, known, strict=True):
            item.objects, item.table = objects, table
        return table

    def settle_classes(
        self,
        labels: Sequence[ObjectLabels],
        problems: Problems,
        *,
        names: Mapping[int, str] | None = None,
        by_value: bool | None = None,
    ) -> tuple[tuple[ClassSpec, ...], dict[str, int], list[ObjectLabels]]:
        """Settle the classes of all images.

        Args:
          labels: of every image.
          problems: told of objects of a class that ``classes`` does not list, and of those without one, which
            are ignored.
          names: what the files call values, by value.
          by_value: whether labels hold values rather than names; None where files do not say.

        Returns:
          The classes, the index of each name in the labels, and the labels that are of a class or ignored.

        Raises:
          DataError: no object at all, a class without an object, or a problem that is to be raised.
        """
        # Where no file names a class, all objects are of one.
        nameless = all(name is None for item in labels for name in item.names[~item.ignored])
        names = {} if names is None or (nameless and len(names) > 1) else names
        only = _only(self.classes or list(names.values())) if nameless else ""
        known = [_name_all(item, only) if nameless else item for item in labels]
        if names:
            texts = {str(name) for item in known for name in item.names if name is not None}
            called = _called(names, self.classes, texts, by_value)
            known = [item.named(called) for item in known]
        listed = _listed(self.classes) or set(names.values())
        known = [self._of_known_classes(item, listed, problems) for item in known]
        found = layer_classes([item.names[~item.ignored] for item in known])
        if not found:
            raise DataError("the labels hold no object that can be used")
        classes: Classes = self.classes
        if classes is None and names:
            classes = {value: name for value, name in names.items() if name in found}
            unseen = [name for name in names.values() if name not in found]
            if unseen:
                _LOG.warning("no object of class %s in these labels", ", ".join(unseen))
        specs, index_of = choose_classes(found, classes, "objects", names_first=bool(names))
        if len(specs) >= MAX_CLASSES:
            raise DataError(f"{len(specs)} classes found; at most {MAX_CLASSES - 1} are possible")
        self._measure(known)
        if self.masks and self.tell_boxes and all(item.are_boxes for item in known):
            _LOG.warning(
                "all outlines are rectangles, as of labels that are boxes: such masks are taught; "
                "task=detection learns boxes"
            )
        return specs, index_of, known

    def _of_known_classes(self, labels: ObjectLabels, listed: set[str], problems: Problems) -> ObjectLabels:
        """Leave out objects of a class that is not listed, where any are; ignore those without a class."""
        where = "dataset.classes" if self.classes else "the list of classes that lies with the labels"
        keep = np.ones(len(labels), bool)
        # Something is there that nobody named: not even background.
        nameless = np.array([name is None for name in labels.names], bool)
        if (nameless & ~labels.ignored).any():
            problems.note("object without a class, ignored", int((nameless & ~labels.ignored).sum()))
            labels = replace(labels, ignored=labels.ignored | nameless)
        for number, name in enumerate(labels.names):
            if name is not None and listed and str(name) not in listed:
                keep[number] = False
                problems.tell(
                    "object of a class that is not listed",
                    f"{labels.path}: class {name!r} is not in {where} ({', '.join(sorted(listed))})",
                )
        return labels if keep.all() else labels[keep]

    def _measure(self, labels: Sequence[ObjectLabels]) -> None:
        """Measure the objects, without those that their image cuts, if others are left."""
        boxes = np.concatenate([item.boxes[~item.ignored] for item in labels])
        whole = np.concatenate([item.whole[~item.ignored] for item in labels])
        boxes = boxes[whole] if whole.any() else boxes
        edges = boxes[:, 2:] - boxes[:, :2]
        self._edges = edges.max(1)
        small, large = np.percentile(np.sqrt(edges.prod(1)), [5, 95])
        self.object_px = (round(float(small), 2), round(float(large), 2))

    def describe(self, spec: RasterSpec) -> RasterSpec:
        assert spec.class_pixels is not None
        return replace(
            spec,
            classes=tuple(item for item in spec.classes if item is not _NOTHING),
            class_pixels=spec.class_pixels[: len([c for c in spec.classes if c is not _NOTHING])],
            object_px=self.object_px,
        )

    def finish(self, augment: Compose, *, training: bool) -> Change:
        return LearnObjects(augment, self.min_visible) if training else JudgeObjects()

    @property
    def train_windows(self) -> Callable[..., RandomWindows]:
        return partial(ObjectWindows, empty_share=self.empty_share)

    def cell_px(self, window_px: int) -> int:
        return window_px - 2 * margin_px(self._edges, window_px)

    def check_window(self, window_px: int) -> None:
        """Any edge will do."""


def _listed(classes: Classes) -> set[str]:
    """Return what classes may be called in labels: names, and the values they are given for."""
    if isinstance(classes, Mapping):
        return {str(key) for pair in classes.items() for key in pair}
    return {str(name) for name in classes or ()}


def _called(
    names: Mapping[int, str], classes: Classes, texts: set[str], by_value: bool | None
) -> dict[str, str]:
    """Return what the labels' texts, values or the files' names of them, are called.

    The user's word goes first. Texts that are all names are no values, whatever they look like.
    """
    own = {str(key): str(name) for key, name in classes.items()} if isinstance(classes, Mapping) else {}
    values = {str(value): own.get(str(value), name) for value, name in names.items()}
    known = {name: own.get(str(value), name) for value, name in names.items()}
    if by_value is False or (by_value is None and texts <= known.keys()):
        return known
    return values if by_value or texts <= values.keys() else values | known


def _only(classes: Classes) -> str:
    """Return the name of the one class there is."""
    if not classes:
        return ONLY_OBJECT
    names = list(dict.fromkeys(classes.values() if isinstance(classes, Mapping) else classes))
    if len(names) > 1:
        raise DataError(
            f"dataset.classes names {len(names)} classes, but the labels do not say which is whose; "
            "say which attribute does (dataset.label_field)"
        )
    return str(names[0])


def _name_all(labels: ObjectLabels, name: str) -> ObjectLabels:
    """Return the labels with a name for the objects that have none."""
    names = [name if own is None else own for own in labels.names]
    return replace(labels, names=np.array([*names, None], object)[:-1])


@lru_cache(maxsize=4)
def _read_csv(file: str, changed: float, label_field: str | None) -> dict[str, ObjectLabels]:
    return read_pixel_csv(file, label_field=label_field)


@lru_cache(maxsize=4)
def _read_coco(file: str, changed: float, skip: bool) -> dict[str, ObjectLabels]:
    problems = Problems(skip)
    found = read_coco(file, problems)
    problems.sum_up(file)
    return found.labels


def _beside(scene: str) -> str:
    """Return the label file of a scene's name in its folder.

    Raises:
      DataError: there is none.
    """
    for ending in _BESIDE:
        path = Path(scene).with_suffix(ending)
        if path.is_file():
            return str(path)
    raise DataError(
        f"dataset.labels: none given, and {Path(scene).stem}{'|'.join(_BESIDE[:4])} is not beside {scene}"
    )
