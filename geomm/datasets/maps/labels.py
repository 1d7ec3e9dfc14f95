"""What the pixels of a scene are labelled as, whether by features or by a raster."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError
from geomm.io.paths import VECTOR_ENDINGS
from geomm.io.raster import RasterInfo, RasterReader
from geomm.io.vector import VectorLabels, layer_classes
from geomm.structures import (
    IGNORE_INDEX,
    MAX_CLASSES,
    ClassSpec,
    PixelWindow,
    RasterSample,
    class_color,
    make_classes,
)

Classes = Sequence[str] | Mapping[int | str, str] | None
#: What a class that has no other name is called.
ONLY_CLASS = "feature"
BACKGROUND = "background"


@dataclass
class SceneLabels:
    """The labels of one scene; ``table`` is filled when the classes of all scenes are known.

    Attributes:
      vector: features, or
      raster: a raster of class values, read on the scene's grid.
      all_touched: burn every pixel that a feature touches.
    """

    vector: VectorLabels | None = None
    raster: RasterReader | None = None
    all_touched: bool = False
    table: LabelTable | None = None

    #: Windows begin at multiples of this many pixels …
    step_px = 1
    #: … from this column and row on.
    offset_px = (0, 0)

    def extend(self, sample: RasterSample, window: PixelWindow, bands: Sequence[int]) -> RasterSample:
        """Add what a window's sample carries beside its mask."""
        return sample

    @property
    def path(self) -> str:
        if self.vector is not None:
            return self.vector.path
        return "" if self.raster is None else self.raster.source.path

    def mask(self, window: PixelWindow) -> NDArray[np.uint8]:
        """Return class indices (h, w) of a window, ``IGNORE_INDEX`` where unlabelled."""
        assert self.table is not None
        if self.vector is not None:
            index_of = self.table.index_of if self.vector.names is not None else self.table.only
            return self.vector.burn(window, index_of, fill=self.table.fill, all_touched=self.all_touched)
        assert self.raster is not None
        values, valid = self.raster.read(window, [1])
        return self.table.look_up(values[0], valid)


@dataclass(frozen=True)
class LabelTable:
    """How labels become class indices.

    Attributes:
      classes: in the model's order.
      background: index of the class of what no label covers, None where that is unlabelled.
      index_of: class name in the layer -> index.
      value_index: raster value -> index.
    """

    classes: tuple[ClassSpec, ...]
    background: int | None
    index_of: Mapping[str, int]
    value_index: Mapping[int, int]

    @property
    def fill(self) -> int:
        return IGNORE_INDEX if self.background is None else self.background

    @property
    def only(self) -> int:
        """Index of the single class of a layer without a label field."""
        return (
            0
            if self.background is None
            else 1 - self.background
            if len(self.classes) == 2
            else len(self.classes) - 1
        )

    def look_up(self, values: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Turn raster values (h, w) into class indices; other values are unlabelled.

        With a background, value 0 is background too; what is not valid stays unlabelled all the same.
        """
        out = np.full(values.shape, IGNORE_INDEX, np.uint8)
        for value, index in self.value_index.items():
            out[values == value] = index
        if self.background is not None:
            out[values == 0] = self.background
        out[~valid] = IGNORE_INDEX
        return out


def is_vector(path: str) -> bool:
    """Return whether a path names a vector layer, by its ending."""
    return Path(path).suffix.lower() in VECTOR_ENDINGS or path.startswith("PG:")


def open_labels(path: str, scene: RasterInfo, *, label_field: str | None, all_touched: bool) -> SceneLabels:
    """Open the labels of a scene: a vector layer, or a raster on any grid with a CRS."""
    if is_vector(path):
        vector = VectorLabels.open(path, scene, label_field=label_field)
        return SceneLabels(vector=vector, all_touched=all_touched)
    return SceneLabels(raster=open_label_raster(path, like=scene))


def open_label_raster(path: str, *, like: RasterInfo | None = None) -> RasterReader:
    """Open a raster of class values.

    Where its nodata value is 0, zeros are read as values: whether they are a class, background or
    unlabelled is for the classes to say.

    Raises:
      DataError: it cannot be opened, or does not hold whole numbers.
    """
    reader = RasterReader(path, like=like)
    if reader.source.nodata == 0:
        reader = RasterReader(path, like=like, nodata_is_data=True)
    if reader.source.dtype.startswith(("float", "complex")):
        raise DataError(f"{path}: labels of type {reader.source.dtype}; expected whole class values")
    return reader


def make_table(
    labels: Sequence[SceneLabels],
    found_values: Sequence[int],
    *,
    classes: Classes,
    background: bool | str,
) -> LabelTable:
    """Settle the classes from what the labels hold and what the user says.

    Args:
      labels: of every scene.
      found_values: distinct values of the label rasters, nodata left out.
      classes: None takes what is found; names; or {value: name}, in which values that share a name
        are grouped.
      background: true, false or ``auto`` (true for vector labels of one class).

    Raises:
      DataError: a label outside the classes, a class without a label, one class and no background.
    """
    vectors = [item.vector for item in labels if item.vector is not None]
    if vectors:
        table = _vector_table(vectors, classes, background)
    else:
        table = _raster_table(found_values, classes, background)
    if len(table.classes) > MAX_CLASSES:
        raise DataError(f"{len(table.classes)} classes found; at most {MAX_CLASSES} are possible")
    if len(table.classes) < 2:
        name = table.classes[0].name if table.classes else "none"
        raise DataError(
            f"the labels name one class only ({name}); nothing can be told apart from it: set "
            "dataset.background=true to make the rest of the scene background, or label a second class"
        )
    for item in labels:
        item.table = table
    return table


def _vector_table(vectors: Sequence[VectorLabels], classes: Classes, background: bool | str) -> LabelTable:
    columns = [item.names for item in vectors if item.names is not None]
    if not columns:
        names = _names(classes) or [ONLY_CLASS]
        if len(names) > 1:
            raise DataError(
                f"dataset.classes names {len(names)} classes, but without dataset.label_field all "
                "features are one; say which attribute holds the class"
            )
        found = names
    else:
        found = layer_classes(columns)
    chosen, aliases = choose_classes(found, classes, "features")
    add = background is True or (background == "auto" and len(chosen) == 1)
    specs, offset = _with_background(chosen, add)
    index = {alias: offset + position for alias, position in aliases.items()}
    return LabelTable(specs, 0 if add else None, index, {})


def _raster_table(found: Sequence[int], classes: Classes, background: bool | str) -> LabelTable:
    zero_is_class = isinstance(classes, Mapping) and any(int(value) == 0 for value in classes)
    values = [value for value in sorted(found) if value != 0 or zero_is_class]
    if isinstance(classes, Mapping):
        named = {int(value): str(name) for value, name in classes.items()}
    elif classes is not None:
        names = [str(name) for name in classes]
        if len(names) < len(values):
            raise DataError(
                f"the label raster holds values {values}, dataset.classes names {len(names)}; name "
                "each value: dataset.classes='{value: name, …}'"
            )
        named = dict(
            zip(
                range(1, len(names) + 1) if not values or max(values) <= len(names) else values,
                names,
                strict=False,
            )
        )
    else:
        named = {value: f"class_{value}" for value in values}
    unknown = [value for value in values if value not in named]
    if unknown:
        raise DataError(
            f"the label raster holds values {unknown} that dataset.classes does not name; name or map them"
        )
    empty = [f"{value} {name}" for value, name in named.items() if value not in found]
    if empty:
        raise DataError(
            f"no labelled pixel of class {', '.join(empty)}; take it from dataset.classes or label some"
        )
    distinct = list(dict.fromkeys(named.values()))
    first = {name: next(v for v, n in named.items() if n == name) for name in distinct}
    add = background is True and not zero_is_class
    specs, offset = _with_background(make_classes(distinct, [first[n] for n in distinct]), add)
    index = {value: offset + distinct.index(name) for value, name in named.items()}
    return LabelTable(specs, 0 if add else None, {}, index)


def _names(classes: Classes) -> list[str]:
    if classes is None:
        return []
    return list(
        dict.fromkeys(str(name) for name in (classes.values() if isinstance(classes, Mapping) else classes))
    )


def choose_classes(
    found: Sequence[str], classes: Classes, what: str, *, names_first: bool = False
) -> tuple[tuple[ClassSpec, ...], dict[str, int]]:
    """Return the classes in order, and from each name in the layer to its class's index.

    Args:
      found: what the labels call the classes: by name, or by the value that a name is given for.
      classes: names, or names by value; None takes what was found.
      what: is labelled, for errors.
      names_first: texts that are all names are names, even if they are all values too.
    """
    numeric = all(name.lstrip("-").isdigit() for name in found)
    if classes is None:
        values = [int(name) for name in found] if numeric and len(found) > 1 else None
        return make_classes(found, values), {name: i for i, name in enumerate(found)}
    names = _names(classes)
    aliases = {name: index for index, name in enumerate(names)}
    values = None
    if isinstance(classes, Mapping):
        first: dict[str, int] = {}
        texts = set(found)
        are_names = (names_first and texts <= set(names)) or not texts <= set(map(str, classes))
        for value, name in classes.items():
            if not (are_names and str(value) in names):
                aliases[str(value)] = names.index(str(name))
            if str(value).lstrip("-").isdigit():
                first.setdefault(str(name), int(value))
        free = (number for number in count(1) if number not in first.values())
        values = [first[name] if name in first else next(free) for name in names]
    unknown = [name for name in found if name not in aliases]
    if unknown:
        raise DataError(
            f"{what} of class {', '.join(map(repr, unknown[:8]))} are not in dataset.classes "
            f"({', '.join(names)}); add or map them"
        )
    present = {aliases[name] for name in found}
    empty = [name for index, name in enumerate(names) if index not in present]
    if empty:
        raise DataError(f"no {what} of class {', '.join(empty)}; take it from dataset.classes or label some")
    return make_classes(names, values), aliases


def _with_background(classes: tuple[ClassSpec, ...], add: bool) -> tuple[tuple[ClassSpec, ...], int]:
    if not add:
        return classes, 0
    if any(item.value == 0 for item in classes):
        raise DataError("dataset.background=true needs class value 0 free; give that class another value")
    return (ClassSpec(0, BACKGROUND, (225, 225, 220)), *classes), 1


def distinct_values(reader: RasterReader, windows: Sequence[PixelWindow]) -> set[int]:
    """Return the class values in some windows of a label raster, nodata left out."""
    found: set[int] = set()
    for window in windows:
        values, valid = reader.read(window, [1])
        found |= {int(value) for value in np.unique(values[0][valid]) if not math.isnan(float(value))}
    return found


def recolour(
    classes: Sequence[ClassSpec], colors: Mapping[int, tuple[int, int, int]]
) -> tuple[ClassSpec, ...]:
    """Return the classes with the colours that a source gives by value; defaults elsewhere."""
    return tuple(
        ClassSpec(item.value, item.name, colors.get(item.value, item.color or class_color(index)))
        for index, item in enumerate(classes)
    )
