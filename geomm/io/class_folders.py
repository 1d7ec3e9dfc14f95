"""Folders that are called like classes."""

from __future__ import annotations

from collections.abc import Sequence


def class_folders(names: Sequence[str]) -> list[str]:
    """Return a folder for each class, numbered where another has its name: ``a_b``, ``a_b_2``.

    Classes that can be folders as they are keep their names. Upper and lower case are one on some systems.
    """
    folders: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(dict.fromkeys(names), key=lambda name: _as_folder(name) != name):
        folder = first = _as_folder(name)
        number = 1
        while folder.casefold() in taken:
            number += 1
            folder = f"{first}_{number}"
        taken.add(folder.casefold())
        folders[name] = folder
    return [folders[name] for name in names]


def _as_folder(name: str) -> str:
    """Return a class's name as a folder's, on any system."""
    kept = "".join("_" if letter in '\\/:*?"<>|' or ord(letter) < 32 else letter for letter in name)
    return kept.strip(". ") or "_"
