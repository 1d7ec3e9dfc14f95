"""Which of the inputs of inference are videos."""

from __future__ import annotations

import glob
import logging
from collections.abc import Sequence
from pathlib import Path

from geomm.errors import DataError
from geomm.io.paths import RASTER_ENDINGS, expand, is_connection

_LOG = logging.getLogger("geomm")
VIDEO_ENDINGS = (
    ".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv",
)  # fmt: skip


def is_video(path: str | Path) -> bool:
    """Return whether a path ends as video files do."""
    return Path(path).suffix.lower() in VIDEO_ENDINGS


def are_videos(inputs: str | Path | Sequence[str | Path]) -> bool:
    """Return whether inputs (files, globs, folders or a list of these) mean videos; scenes otherwise.

    A folder means videos where it holds some and no scenes; where it holds both, a warning names the videos.
    What is neither, such as a csv, decides nothing.

    Raises:
      DataError: videos and scenes are named together.
    """
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    named = [match for item in given for match in _matches(str(item))]
    videos = [item for item in named if is_video(item) or _is_folder_of_videos(item)]
    scenes = [item for item in named if item not in videos and _may_be_scene(item)]
    if videos and scenes:
        raise DataError(
            f"the input is {_some(videos)} and {_some(scenes)}: videos and scenes; "
            f"give one kind at a time, such as *{Path(videos[0]).suffix or '.mp4'}"
        )
    return bool(videos)


def find_videos(inputs: str | Path | Sequence[str | Path]) -> list[str]:
    """Return the videos that inputs (files, globs, folders or a list of these) mean, sorted, each once.

    What is named itself counts whatever its ending; of folders and globs, what ends as videos do.

    Raises:
      DataError: nothing matches.
    """
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    found = []
    for item in map(str, given):
        matches = _matches(item)
        if matches == [item]:
            found += expand(item, VIDEO_ENDINGS)
            continue
        for match in matches:
            found += [path for path in _files(match, VIDEO_ENDINGS) or [match] if is_video(path)]
    if not found:
        raise DataError(f"{', '.join(map(str, given))}: no match ends in {', '.join(VIDEO_ENDINGS)}")
    return list(dict.fromkeys(found))


def _matches(item: str) -> list[str]:
    if is_connection(item) or Path(item).exists():
        return [item]
    return sorted(glob.glob(item, recursive=True)) or [item]


def _is_folder_of_videos(item: str) -> bool:
    videos = [path for path in _files(item, VIDEO_ENDINGS) if is_video(path)]
    scenes = _files(item, RASTER_ENDINGS) if videos else []
    if scenes:
        _LOG.warning(
            "%s holds scenes too (%s): its videos are left out (%s); name them themselves to follow "
            "objects there, such as input='%s'",
            item, _some(scenes), _some(videos), Path(videos[0]).parent / f"*{Path(videos[0]).suffix}",
        )  # fmt: skip
    return bool(videos) and not scenes


def _may_be_scene(item: str) -> bool:
    return (
        is_connection(item)
        or Path(item).suffix.lower() in RASTER_ENDINGS
        or bool(_files(item, RASTER_ENDINGS))
    )


def _files(folder: str, endings: tuple[str, ...]) -> list[str]:
    try:
        return expand(folder, endings) if Path(folder).is_dir() else []
    except DataError:
        return []


def _some(paths: Sequence[str]) -> str:
    names = ", ".join(Path(path).name for path in paths[:3])
    return names if len(paths) <= 3 else f"{names} and {len(paths) - 3} more"
