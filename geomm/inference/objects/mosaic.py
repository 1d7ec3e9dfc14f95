"""Scenes that lie beside and over each other on the map, as one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError
from geomm.inference.objects.candidates import RIGHT, Candidates, join, load
from geomm.inference.objects.job import ObjectJob
from geomm.inference.objects.merge import ObjectMerger, cut_sides
from geomm.inference.objects.options import ObjectOptions
from geomm.io.raster import RasterInfo, RasterReader, read_info, same_crs
from geomm.structures import Georeference, PixelWindow

_LIKE_PX = 1.02
#: A scene with data under this much of a box shows what is in it.
_SHOWN = 0.9
#: Rounding on the way to the common grid and back, pixels.
_WITHIN_PX = 1e-3
#: Edge of the picture in which a scene's gaps are looked for, pixels.
_OVERVIEW_PX = 4096
#: Where along a box's side gaps are looked for.
_ALONG = np.array([0.1, 0.3, 0.5, 0.7, 0.9])


def fits_together(scenes: Sequence[str]) -> str | None:
    """Return why scenes cannot be merged on one grid, None if they can.

    Those that cannot be read do not count: they fail on their own.
    """
    infos = [info for info in map(_info, scenes) if info is not None]
    if not infos:
        return "none of them can be read"
    first = infos[0]
    for info in infos:
        crs = info.georeference.crs
        if crs is None:
            return f"{info.path} has no CRS"
        if not same_crs(crs, first.georeference.crs or ""):
            return f"{info.path} is in another CRS than {first.path}"
        a, b, _, d, e, _ = info.georeference.transform
        if b or d or a <= 0 or e >= 0:
            return f"{info.path} is not north-up"
    return None


def _info(scene: str) -> RasterInfo | None:
    try:
        return read_info(scene)
    except DataError:
        return None


class Mosaic:
    """What was found in each of many scenes, and what is there on the map.

    Args:
      scenes: north-up, in one CRS.
      work: hidden folder for what is found in each.
      options: how objects are merged.
    """

    def __init__(self, scenes: Sequence[str], work: Path, options: ObjectOptions) -> None:
        self.scenes, self.work, self.options = list(scenes), work, options
        self._hidden: dict[int, NDArray[np.bool_]] = {}

    @cached_property
    def _infos(self) -> list[RasterInfo | None]:
        return [_info(scene) for scene in self.scenes]

    @cached_property
    def georeference(self) -> Georeference:
        """The common grid: of the finest scene's pixels, from the corner of all."""
        found = [info.georeference for info in self._infos if info is not None]
        width = min(place.transform[0] for place in found)
        height = min(-place.transform[4] for place in found)
        left = min(place.transform[2] for place in found)
        top = max(place.transform[5] for place in found)
        return Georeference(found[0].crs, (width, 0.0, left, 0.0, -height, top))

    def rows_folder(self, position: int) -> Path:
        """Return the folder for the rows of tiles of a scene that is being looked at."""
        return self.work / f"scene_{position:06d}"

    def _file(self, position: int) -> Path:
        return self.work / f"scene_{position:06d}.npz"

    def has(self, position: int, *extra: Any) -> bool:
        """Return whether a scene was looked at before, by the same model with the same options."""
        mark = self._mark(position, *extra)
        note = self._file(position).with_suffix(".json")
        known = self.options.resume and self._file(position).is_file() and note.is_file()
        if known and note.read_text(encoding="utf-8") == mark:
            return True
        self.work.mkdir(parents=True, exist_ok=True)
        self._file(position).unlink(missing_ok=True)
        note.write_text(mark, encoding="utf-8")
        return False

    def _mark(self, position: int, *extra: Any) -> str:
        path = Path(self.scenes[position])
        stat = path.stat() if path.exists() else None
        options = self.options
        # What is drawn or how layers are called makes no difference to what is found.
        parts = {
            "scene": [str(path.absolute()), stat and [stat.st_size, stat.st_mtime_ns]],
            "tiles": [options.tile_px, options.overlap_px, options.batch_size, options.edge_px],
            "found": [options.least_score, options.merge, options.iou_threshold, options.tta],
            "model": [*map(str, extra), options.precision],
        }
        return json.dumps(parts, indent=1)

    def keep(self, position: int, job: ObjectJob) -> None:
        """Keep a scene's objects, merged, and forget its rows of tiles."""
        join(list(job.merged())).save(self._file(position))
        shutil.rmtree(job.work)

    def done(self) -> list[int]:
        """Return the positions of the scenes that were looked at, from the top of the map down."""
        there = [position for position in range(len(self.scenes)) if self._file(position).is_file()]
        return sorted(there, key=lambda position: (self._window(position)[1], position))

    def has_outlines(self) -> bool:
        return any(load(self._file(position)).shapes is not None for position in self.done())

    def merged(self) -> Iterator[Candidates]:
        """Yield the objects on the common grid, those that several scenes show once."""
        options = self.options
        merger = ObjectMerger(
            options.merge, options.iou_threshold, options.least_score, sources_are_merged=True
        )
        order = self.done()
        tops = [self._window(position)[1] for position in order[1:]]
        for position, frontier in zip(order, [*tops, float("inf")], strict=True):
            yield merger.add(self._placed(position), frontier)

    def _window(self, position: int) -> NDArray[np.float64]:
        """Return a scene's extent on the common grid."""
        info = self._infos[position]
        assert info is not None, "only scenes that can be read are placed"
        return self._to_grid(info, np.array([[0.0, 0.0, info.width, info.height]])).reshape(4)

    def _to_grid(self, info: RasterInfo, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        scale, shift = self._placing(info)
        return np.asarray(boxes * np.tile(scale, 2) + np.tile(shift, 2))

    def _placing(self, info: RasterInfo) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        width, _, left, _, height, top = info.georeference.transform
        g_width, _, g_left, _, g_height, g_top = self.georeference.transform
        scale = np.array([width / g_width, height / g_height])
        return scale, np.array([(left - g_left) / g_width, (top - g_top) / g_height])

    @cached_property
    def _windows(self) -> tuple[list[int], NDArray[np.float64], Any]:
        """The scenes that were looked at, their extents, and an index of these."""
        import shapely

        positions = self.done()
        windows = np.array([self._window(position) for position in positions])
        return positions, windows, shapely.STRtree(shapely.box(*windows.T))

    def _placed(self, position: int) -> Candidates:
        """Return a scene's objects on the common grid, without those that another scene shows whole."""
        info = self._infos[position]
        assert info is not None, "only scenes that can be read are placed"
        found = load(self._file(position))
        scale, shift = self._placing(info)
        window, edge = self._window(position), self.options.edge_px * float(scale.max()) * _LIKE_PX
        boxes = self._to_grid(info, found.boxes)
        everywhere = (True, True, True, True)
        cut = cut_sides(boxes, tuple(window), everywhere, edge)  # type: ignore[arg-type]
        shapes = found.shapes
        if shapes is not None:
            import shapely

            shapes = np.asarray(
                shapely.transform(shapes, lambda points: points * scale + shift), dtype=object
            )
        # A scene ends where its data do.
        at_gap = self._at_gaps(position, found.boxes)
        cut |= at_gap
        windows = np.where(at_gap, boxes, window)
        placed = replace(found, boxes=boxes, cut=cut, windows=windows, shapes=shapes)
        if position not in self._hidden:
            self._hidden[position] = self._shown_whole_elsewhere(placed, window, edge)
        return placed[~self._hidden[position]]

    def _at_gaps(self, position: int, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return (N, 4) bool: the sides of boxes, in a scene's pixels, behind which it has no data.

        Looked for where another scene may have some.
        """
        import shapely

        at_gap, info = np.zeros((len(boxes), 4), bool), self._infos[position]
        assert info is not None, "only scenes that can be read are placed"
        near = self._windows[2].query(shapely.box(*self._window(position)))
        if not info.has_gaps or len(near) < 2 or not len(boxes):
            return at_gap
        reader = RasterReader(info.path)
        try:
            valid = reader.read_overview(_OVERVIEW_PX, info.image_bands)[1]
        finally:
            reader.close()
        shape = np.array(valid.shape[::-1])
        scale = shape / np.array([info.width, info.height])
        behind = self.options.edge_px + 1 / scale
        across = boxes[:, None, :2] + _ALONG[:, None] * (boxes[:, None, 2:] - boxes[:, None, :2])
        for side in range(4):
            axis, away = side % 2, 1 if side >= RIGHT else -1
            at = across.copy()
            at[..., axis] = (boxes[:, side] + away * behind[axis])[:, None]
            cols, rows = np.moveaxis(np.clip(np.floor(at * scale).astype(int), 0, shape - 1), -1, 0)
            at_gap[:, side] = ~valid[rows, cols].any(1)
        return at_gap

    def _shown_whole_elsewhere(
        self, found: Candidates, window: NDArray[np.float64], edge: float
    ) -> NDArray[np.bool_]:
        """Return (N,) bool: objects at this scene's border that lie clear of another's borders and gaps."""
        import shapely

        hidden = np.zeros(len(found), bool)
        at = np.flatnonzero(found.is_cut)
        if not len(at):
            return hidden
        around = found.boxes[at] + np.array([-edge, -edge, edge, edge])
        positions, windows, tree = self._windows
        inside, other = tree.query(shapely.box(*around.T), predicate="within")
        elsewhere = (windows[other] != window).any(1)
        for number in np.unique(other[elsewhere]):
            asked = at[inside[elsewhere & (other == number)]]
            asked = asked[~hidden[asked]]
            hidden[asked] = self._shows(positions[number], found.boxes[asked])
        return hidden

    def _shows(self, position: int, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return (N,) bool: whether a scene has data under boxes of the common grid, which it covers."""
        info = self._infos[position]
        assert info is not None, "only scenes that can be read are placed"
        if not info.has_gaps:
            return np.ones(len(boxes), bool)
        scale, shift = self._placing(info)
        there = (boxes - np.tile(shift, 2)) / np.tile(scale, 2)
        first = np.floor(there[:, :2] + _WITHIN_PX).astype(int)
        sizes = np.maximum(np.ceil(there[:, 2:] - _WITHIN_PX).astype(int) - first, 1)
        shows = np.zeros(len(boxes), bool)
        reader = RasterReader(info.path)
        try:
            for number in np.argsort(first[:, 1]):  # down the rows, as files are read best
                where = PixelWindow(*first[number].tolist(), *sizes[number].tolist())
                shows[number] = reader.valid_share(where) >= _SHOWN
        finally:
            reader.close()
        return shows
