"""Where the frames of each of a call's videos lie."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from geomm.errors import DataError
from geomm.io.frame_places import FramePlaces, frame_places, read_frame_places
from geomm.io.place_table import read_place_table

_LOG = logging.getLogger("geomm")


class VideoPlaces:
    """Finds the places of a video's frames: in a csv, or in a folder that has one for each video.

    Args:
      path: a csv, whose column ``video`` names the file that a row is of where there are several; or a
        folder with a csv for each, called as its results.
      videos: all of the call.
      names: what their results are called.

    Attributes:
      files: the csvs.

    Raises:
      DataError: a csv cannot be read, or does not tell which of several videos its rows are of.
    """

    def __init__(self, path: str | Path, videos: Sequence[str], names: Sequence[str]) -> None:
        self.path, self.videos, self.names = Path(path), videos, names
        self._table: Any = None
        if self.path.is_dir():
            self.files = sorted(file for file in self.path.iterdir() if file.suffix.lower() == ".csv")
            return
        self.files = [self.path]
        self._table = read_place_table(path)
        if "video" in self._table.columns:
            self._positions = self._table["video"].map(self._find_videos())
        elif len(videos) > 1:
            raise DataError(
                f"{path} does not say which of {len(videos)} videos its rows are of; add a column video with "
                "their files' names, or give a folder with a csv for each, called as its results"
            )

    def of(self, position: int) -> FramePlaces:
        """Return the places of a video's frames.

        Raises:
          DataError: there are none, or they cannot be used.
        """
        video, name = self.videos[position], self.names[position]
        if self._table is None:
            file = next((file for file in self.files if file.stem == name), None)
            if file is None:
                found = ", ".join(file.name for file in self.files[:5]) or "no csv"
                raise DataError(f"{video}: {self.path} has no {name}.csv with its places; found {found}")
            return read_frame_places(file)
        if "video" not in self._table.columns:
            return frame_places(self._table, str(self.path))
        rows = self._table[self._positions == position]
        if rows.empty:
            found = ", ".join(self._table["video"].dropna().unique()[:5]) or "nothing"
            raise DataError(f"{video}: no row of {self.path} is of it; its column video has {found}")
        return frame_places(rows, f"{self.path} ({Path(video).name})")

    def _find_videos(self) -> dict[str, int]:
        """Return by what the column has which video it means; other calls' videos are left out."""
        column = self._table["video"]
        if column.isna().any():
            _LOG.warning("%s: %d rows name no video: left out", self.path, column.isna().sum())
        found = {}
        for said in column.dropna().unique():
            meant = [position for position, video in enumerate(self.videos) if _means(said, video)]
            if len(meant) > 1:
                raise DataError(
                    f"{self.path}: video is {said!r}, which may be {self.videos[meant[0]]} or "
                    f"{self.videos[meant[1]]}; name its folder and ending too"
                )
            if meant:
                found[said] = meant[0]
        return found


def _means(said: str, video: str) -> bool:
    """Return whether a file is meant by its name, with or without its ending and folders."""
    parts = PurePosixPath(said.strip().replace("\\", "/")).parts
    path = Path(video).absolute()
    return parts in (path.parts[-len(parts) :], path.with_suffix("").parts[-len(parts) :])
