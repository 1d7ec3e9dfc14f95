"""Objects of a video as points with a time."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geomm.inference.objects.views import scores_of
from geomm.inference.videos.tracker import FrameTracker
from geomm.io.frame_places import FramePlaces
from geomm.io.qml import object_style, write_style
from geomm.io.table_stream import RowsLayout
from geomm.io.table_writer import RowWriter
from geomm.io.video import Frame
from geomm.structures import Objects, RasterSpec

_LOG = logging.getLogger("geomm")
_BATCH = 5000


class Followed(Protocol):
    """A frame with its objects, as it is written."""

    @property
    def frame(self) -> Frame: ...
    @property
    def objects(self) -> Objects: ...
    @property
    def keys(self) -> NDArray[np.int64]: ...


class PointWriter:
    """Writes a point an object and frame: ``frame``, ``time_s``, ``track``, ``class``, ``value``,
    ``confidence``, and ``time`` where the places have a clock.

    Args:
      path: GeoPackage to write.
      spec: of the model.
      places: where the frames lie.
      tracker: knows the tracks' numbers.
      delay: frames that rows wait for their track's number.
      width: of the frames, pixels.
      height: of the frames.
    """  # noqa: D205 - the fields are the first thing to know

    def __init__(
        self,
        path: Path,
        spec: RasterSpec,
        places: FramePlaces,
        *,
        tracker: FrameTracker,
        delay: int,
        width: int,
        height: int,
    ) -> None:
        self.path, self.spec, self.places, self.shape = path, spec, places, (width, height)
        self.tracker, self.delay = tracker, delay
        self._rows = RowWriter(path, RowsLayout("geometry", "Point", places.crs))
        self._waiting: list[tuple[Any, ...]] = []
        self._lost, self._written = 0, False

    def __enter__(self) -> PointWriter:
        self._rows.__enter__()
        return self

    def write(self, followed: Followed) -> None:
        frame, objects = followed.frame, followed.objects
        points = self.places.points(objects.boxes.astype(float), frame.index, frame.time_s, *self.shape)
        clock = self.places.clock(frame.index, frame.time_s)
        kept = np.isfinite(points).all(1)
        self._lost += int((~kept).sum())
        for index in np.flatnonzero(kept):
            item = self.spec.classes[objects.labels[index]]
            key = int(followed.keys[index])
            score = round(float(scores_of(objects)[index]), 4)
            self._waiting.append(
                (
                    frame.index,
                    round(frame.time_s, 4),
                    clock,
                    key,
                    item.name,
                    item.value,
                    score,
                    *points[index],
                )
            )
        if len(self._waiting) >= _BATCH and self._waiting[0][0] < frame.index - self.delay:
            self._flush(frame.index - self.delay)

    def __exit__(self, kind: Any, *error: Any) -> None:
        if kind is None and (self._waiting or not self._written):
            self._flush()
        self._rows.__exit__(kind, *error)
        if kind is None:
            write_style(self.path, object_style(self.spec.classes, points=True))
            if self._lost:
                _LOG.warning("%d objects lie above the horizon and got no point", self._lost)

    def _flush(self, until: float = float("inf")) -> None:
        """Write the rows of the frames before ``until``."""
        import pyarrow
        import shapely

        rows = [row for row in self._waiting if row[0] < until]
        self._waiting, self._written = self._waiting[len(rows) :], True
        columns = list(zip(*rows, strict=True)) if rows else [()] * 9
        integer, real, text = pyarrow.int64(), pyarrow.float64(), pyarrow.string()
        arrays = {
            "frame": pyarrow.array(columns[0], integer),
            "time_s": pyarrow.array(columns[1], real),
            "time": pyarrow.array(
                [None if at is None else round(at * 1000) for at in columns[2]],
                pyarrow.timestamp("ms", tz="UTC"),
            ),
            "track": pyarrow.array([self.tracker.number(key) or None for key in columns[3]], integer),
            "class": pyarrow.array(columns[4], text),
            "value": pyarrow.array(columns[5], integer),
            "confidence": pyarrow.array(columns[6], real),
        }
        if self.places.times is None:
            del arrays["time"]
        points = shapely.points(np.array(columns[7], float), np.array(columns[8], float))
        arrays["geometry"] = pyarrow.array(shapely.to_wkb(np.atleast_1d(points)), pyarrow.binary())
        fields = [pyarrow.field(name, array.type) for name, array in arrays.items()]
        fields[-1] = fields[-1].with_metadata({b"ARROW:extension:name": b"geoarrow.wkb"})
        self._rows(pyarrow.RecordBatch.from_pydict(arrays, schema=pyarrow.schema(fields)))
