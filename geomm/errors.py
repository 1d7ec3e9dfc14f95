"""Errors that a user can cure.

Every message says what is wrong, what was found, what was expected and what to do, in one line.
The command-line tools print these without a traceback; anything else is a bug in geomm.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class GeommError(Exception):
    """A user's mistake or a broken input, with its cure in the message."""


@dataclass(frozen=True)
class Problem:
    """One mistake in a config: where it is, what was found, what is allowed."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigError(GeommError):
    """The config cannot be run; carries every problem found, one line each."""

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        self.problems = (Problem("", problems),) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type, tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


class DataError(GeommError):
    """An input file or label that cannot be used as it is."""


class FileSystemError(DataError):
    """A file or folder that cannot be written or read as the system is."""


class MissingCRSError(DataError):
    """A source that must be placed on the map has no coordinate reference system."""


class PackageError(GeommError):
    """A model package is damaged, foreign, unsafe or of another version."""


class DependencyError(GeommError):
    """An optional library that this operation needs is not installed."""


#: What helps against an error of the system, by its name in ``errno``.
_CURES = {
    **dict.fromkeys(("ENOSPC", "EDQUOT"), "free some space or give a folder on another disk"),
    **dict.fromkeys(("EACCES", "EPERM", "EROFS", "ENOTDIR"), "give a folder that can be written"),
    "EFBIG": "the limit of a file's size is reached: give a folder on another disk or raise it (ulimit -f)",
    "EMFILE": "too many files are open: raise the limit (ulimit -n)",
    "ENAMETOOLONG": "give the input a shorter name",
}


def of_system(error: OSError, what: str = "") -> FileSystemError:
    """Return an error of the system in one line.

    Args:
      error: as Python, or a library, raised it.
      what: was worked on, where the error names no file.
    """
    said = error.strerror or (str(error).strip().splitlines() or [type(error).__name__])[0]
    cure = _CURES.get(errno.errorcode.get(error.errno or 0, ""), "")
    where = str(error.filename or "") or what
    return FileSystemError((f"{where}: " if where else "") + said + (f"; {cure}" if cure else ""))


def did_you_mean(found: str, allowed: Iterable[str], *, limit: int = 12) -> str:
    """Name the nearest of the allowed names and list them.

    Args:
      found: the unknown name.
      allowed: the names that exist.
      limit: how many names to list before cutting the list short.

    Returns:
      For example ``did you mean 'unet'? allowed: deeplabv3, pspnet, unet``.
    """
    names = sorted({str(name) for name in allowed})
    near = difflib.get_close_matches(str(found), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    if not names:
        return f"{hint}there are none"
    rest = f", … ({len(names)} in all)" if len(names) > limit else ""
    return f"{hint}allowed: {', '.join(names[:limit])}{rest}"
