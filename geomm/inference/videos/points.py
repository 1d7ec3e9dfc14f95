"""Objects of a video as points with a time."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from geomm.inference.videos.rows import FrameRows
from geomm.io.frame_places import FramePlaces
from geomm.io.qml import object_style, write_style
from geomm.io.table_stream import RowsLayout
from geomm.io.table_writer import RowWriter
from geomm.io.video import VideoInfo
from geomm.structures import RasterSpec

_LOG = logging.getLogger("geomm")
_BATCH = 5000
_FIELDS = ("frame", "time_s", "track", "class", "value", "confidence")
_STYLE_HEAD = object_style((), points=True).partition("<categories>")[0]


class PointWriter:
    """Writes a point an object and frame: ``frame``, ``time_s``, ``track``, ``class``, ``value``,
    ``confidence``, and ``time`` where the places have a clock.

    Args:
      path: GeoPackage to write.
      spec: of the model.
      places: where the frames lie.
      info: of the video.
    """  # noqa: D205 - the fields are the first thing to know

    def __init__(self, path: Path, spec: RasterSpec, places: FramePlaces, info: VideoInfo) -> None:
        self.path, self.spec, self.places, self.info = path, spec, places, info
        self._rows = RowWriter(path, RowsLayout("geometry", "Point", places.crs))
        self._waiting: list[tuple[Any, ...]] = []
        self._lost, self._written = 0, False

    def __enter__(self) -> PointWriter:
        self._rows.__enter__()
        return self

    def write(self, rows: FrameRows) -> None:
        at, info = (rows.frame, rows.time_s), self.info
        aspect = float(info.pixel_aspect)
        points = self.places.points(
            rows.boxes.astype(float), *at, info.width, info.height, pixel_aspect=aspect
        )
        clock = self.places.clock(*at, float(info.rate))
        kept = np.isfinite(points).all(1)
        self._lost += int((~kept).sum())
        for index in np.flatnonzero(kept):
            item = self.spec.classes[rows.labels[index]]
            track = int(rows.tracks[index]) or None
            score = round(float(rows.scores[index]), 4)
            self._waiting.append(
                (
                    rows.frame,
                    round(rows.time_s, 4),
                    clock,
                    track,
                    item.name,
                    item.value,
                    score,
                    *points[index],
                )
            )
        if len(self._waiting) >= _BATCH:
            self._flush()

    def __exit__(self, kind: Any, *error: Any) -> None:
        if kind is None and (self._waiting or not self._written):
            self._flush()
        self._rows.__exit__(kind, *error)
        if kind is None:
            write_style(self.path, object_style(self.spec.classes, points=True))
            if self._lost:
                _LOG.warning("%d objects lie above the horizon and got no point", self._lost)

    def _flush(self) -> None:
        import pyarrow
        import shapely

        rows, self._waiting, self._written = self._waiting, [], True
        columns = list(zip(*rows, strict=True)) if rows else [()] * 9
        integer, real, text = pyarrow.int64(), pyarrow.float64(), pyarrow.string()
        arrays = {
            "frame": pyarrow.array(columns[0], integer),
            "time_s": pyarrow.array(columns[1], real),
            "time": pyarrow.array(
                [None if at is None else round(at * 1000) for at in columns[2]],
                pyarrow.timestamp("ms", tz="UTC"),
            ),
            "track": pyarrow.array(columns[3], integer),
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


def is_point_layer(path: Path) -> bool:
    """Return whether a file is a layer that ``PointWriter`` wrote."""
    import pyogrio

    try:
        info = pyogrio.read_info(path, layer=0)  # the first: a GeoPackage has its styles too
    except (RuntimeError, ValueError, OSError):
        return False
    return [name for name in info["fields"] if name != "time"] == list(_FIELDS)


def is_point_style(path: Path) -> bool:
    """Return whether a file is a style that was written beside such a layer, whatever its classes."""
    try:
        return path.read_text(encoding="utf-8").startswith(_STYLE_HEAD)
    except (OSError, ValueError):
        return False
