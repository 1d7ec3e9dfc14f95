"""Objects of one image, as any kind of label file gives them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError
from geomm.io.clipping import clip_outlines
from geomm.structures import PixelWindow

_LOG = logging.getLogger("geomm")
#: A box that sticks out of its image by less is rounded, not wrong.
_ROUNDING_PX = 1.0


@dataclass(frozen=True)
class ObjectLabels:
    """The labelled objects of one image.

    Attributes:
      path: of the label file.
      geometries: (N,) shapely polygons in pixels of the image (column, row); rectangles where the labels
        are boxes.
      names: (N,) class of each as the file writes it, a name or a number as text; None where it has none.
      ignored: (N,) bool: crowds and what is marked as difficult, neither learnt nor counted.
      image: name of the image file as the labels give it, empty where they do not.
      size: width and height of the image as the labels give them, None where they do not; once placed
        ``in_image``, its own.
    """

    path: str
    geometries: NDArray[np.object_]
    names: NDArray[np.object_]
    ignored: NDArray[np.bool_]
    image: str = ""
    size: tuple[int, int] | None = None

    @classmethod
    def of_boxes(
        cls,
        path: str,
        boxes: Any,
        names: Sequence[str | None],
        *,
        ignored: Sequence[bool] | None = None,
        image: str = "",
        size: tuple[int, int] | None = None,
    ) -> ObjectLabels:
        """Return labels of boxes, (N, 4) xmin, ymin, xmax, ymax in pixels."""
        import shapely

        corners = np.asarray(boxes, np.float64).reshape(-1, 4)
        # A box whose edges are the wrong way round has no area, rather than that of its mirror image.
        corners = np.hstack([corners[:, :2], np.fmax(corners[:, 2:], corners[:, :2])])
        outlines = np.empty(len(corners), object)
        outlines[:] = shapely.box(*corners.T)
        flags = np.zeros(len(corners), bool) if ignored is None else np.asarray(ignored, bool)
        return cls(path, outlines, np.array([*names, None], object)[:-1], flags, image, size)

    def __len__(self) -> int:
        return len(self.geometries)

    def __getitem__(self, chosen: Any) -> ObjectLabels:
        """Return the objects that a mask (N,) bool or indices choose."""
        return replace(
            self,
            geometries=self.geometries[chosen],
            names=self.names[chosen],
            ignored=self.ignored[chosen],
        )

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_tree"}

    @cached_property
    def boxes(self) -> NDArray[np.float64]:
        """(N, 4) xmin, ymin, xmax, ymax."""
        import shapely

        return np.asarray(shapely.bounds(self.geometries), np.float64).reshape(-1, 4)

    @property
    def whole(self) -> NDArray[np.bool_]:
        """(N,) whether an object lies clear of its image's edge, which else may have cut it."""
        if self.size is None:
            return np.ones(len(self), bool)
        clear = np.hstack([self.boxes[:, :2], self.size - self.boxes[:, 2:]])
        return np.asarray((clear >= _ROUNDING_PX).all(1), bool)

    @cached_property
    def areas(self) -> NDArray[np.float64]:
        """(N,) square pixels."""
        import shapely

        return np.asarray(shapely.area(self.geometries), np.float64)

    @cached_property
    def _tree(self) -> Any:
        import shapely

        return shapely.STRtree(self.geometries)

    def inside(self, window: PixelWindow) -> NDArray[np.intp]:
        """Return the indices of the objects whose bounds touch a window, in the file's order."""
        import shapely

        right, bottom = window.col + window.width, window.row + window.height
        return np.sort(self._tree.query(shapely.box(window.col, window.row, right, bottom)))

    def as_boxes(self) -> ObjectLabels:
        """Return the same objects with their bounding boxes for outlines."""
        import shapely

        outlines = np.empty(len(self), object)
        outlines[:] = shapely.box(*self.boxes.T)
        return replace(self, geometries=outlines)

    @property
    def are_boxes(self) -> bool:
        """Whether every outline fills its bounding box."""
        filled = (self.boxes[:, 2:] - self.boxes[:, :2]).prod(1)
        return bool(np.allclose(self.areas, filled))

    def named(self, names: Mapping[str, str]) -> ObjectLabels:
        """Return the same objects with names for what the file calls otherwise, such as numbers."""
        changed = [None if name is None else names.get(str(name), name) for name in self.names]
        return replace(self, names=np.array([*changed, None], object)[:-1])

    def check_size(self, width: int, height: int, image: str) -> None:
        """Check that the labels are of an image of that size, where they say of which.

        Raises:
          DataError: of another.
        """
        if self.size not in (None, (width, height)):
            assert self.size is not None
            raise DataError(
                f"{self.path}: labels of another size, {self.size[0]} x {self.size[1]}; {image} has "
                f"{width} x {height} px"
            )

    def in_image(self, width: int, height: int, problems: Problems) -> ObjectLabels:
        """Return what of the objects lies in an image, those that cannot be used being named and left out.

        Args:
          width: of the image, pixels.
          height: of the image, pixels.
          problems: told of objects outside the image, without area or without a class.

        Raises:
          DataError: there is such an object, and ``problems`` is to raise.
        """
        import shapely

        boxes = self.boxes
        with np.errstate(invalid="ignore"):
            finite = np.isfinite(boxes).all(1)
            sized = finite & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]) & (self.areas > 0)
            outside = sized & (
                (boxes[:, 0] >= width) | (boxes[:, 1] >= height) | (boxes[:, 2] <= 0) | (boxes[:, 3] <= 0)
            )
        for number in np.flatnonzero(~sized):
            problems.tell("object without area", f"{self.path}: {_describe(boxes[number])} has no area")
        for number in np.flatnonzero(outside):
            where = f"{_describe(boxes[number])} lies outside of the image of {width} x {height} px"
            problems.tell("object outside its image", f"{self.path}: {where}")
        kept = replace(self[sized & ~outside], size=(width, height))
        boxes = kept.boxes
        beyond = np.maximum(-boxes[:, :2], boxes[:, 2:] - [width, height]).max(1, initial=0.0)
        if (beyond > _ROUNDING_PX).any():
            problems.note("object reaching out of its image, cut at its edge", int((beyond > 1).sum()))
        cut = beyond > 0
        if not cut.any():
            return kept
        outlines = kept.geometries.copy()
        outlines[cut] = clip_outlines(outlines[cut], shapely.box(0, 0, width, height))
        clipped = replace(kept, geometries=outlines)
        return clipped[clipped.areas > 0]


def _describe(box: NDArray[np.float64]) -> str:
    return "box " + ", ".join(f"{value:g}" for value in box)


@dataclass
class Problems:
    """What was wrong with labels: raised at the first, or told and counted.

    Attributes:
      skip: go on with what is right.
      counts: by kind.
    """

    skip: bool
    counts: Counter[str] = field(default_factory=Counter)

    #: Lines a kind before only the count goes on.
    _LINES = 5

    def tell(self, kind: str, message: str) -> None:
        """Count a problem and name it.

        Raises:
          DataError: problems are not to be skipped.
        """
        if not self.skip:
            raise DataError(f"{message} (dataset.on_error=skip leaves such out)")
        self.counts[kind] += 1
        if self.counts[kind] <= self._LINES:
            _LOG.warning("left out: %s", message)

    def note(self, kind: str, count: int) -> None:
        """Count what was put right and harms nothing."""
        self.counts[kind] += count

    def sum_up(self, what: str) -> None:
        """Say how many of each kind there were."""
        for kind, count in sorted(self.counts.items()):
            _LOG.warning("%s: %s: %d", what, kind, count)
