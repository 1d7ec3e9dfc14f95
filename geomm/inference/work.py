"""Hidden folders of what a run has finished so far, so that one that was killed goes on where it was."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_NOTE = "fingerprint"


def fingerprint(*parts: Any) -> str:
    """Return a text that differs whenever one of the parts, made of JSON types, does."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


def file_stamps(files: Sequence[str | Path]) -> list[Any]:
    """Return what tells a file's versions apart: its path, and size and time where it is a local file."""
    stamps: list[Any] = []
    for file in map(Path, files):
        stat = file.stat() if file.exists() else None
        stamps.append([str(file.absolute()), stat and [stat.st_size, stat.st_mtime_ns]])
    return stamps


def open_work(folder: Path, mark: str, *, resume: bool) -> None:
    """Make a folder of finished parts; what a run with another mark left in it is thrown away.

    Args:
      folder: of the parts.
      mark: from ``fingerprint``, of all that decides what a part is.
      resume: False to throw away what is there in any case.
    """
    if not (resume and is_work_of(folder, mark)):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / _NOTE).write_text(mark, encoding="utf-8")


def is_work_of(folder: Path, mark: str) -> bool:
    """Return whether a folder holds the parts of a run with this mark."""
    note = folder / _NOTE
    return note.is_file() and note.read_text(encoding="utf-8") == mark
