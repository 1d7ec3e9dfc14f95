"""Which files belong together, by their names and folders."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from itertools import takewhile
from pathlib import Path, PurePosixPath


@lru_cache(maxsize=16)
def namesakes(paths: tuple[str, ...], others: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    """Return for each path the others of its stem that are most alike to it, and to no other path more.

    The more folders agree, counted from the file upwards, the more alike two paths are. Among such, those
    come first that are the same path, then those of the same ending, then those whose folders agree from the
    top, as those of ``train/images/1.tif`` and ``train/labels/1.xml`` do.

    Args:
      paths: of files, or what labels call them; with slashes of either kind.
      others: likewise.

    Returns:
      Indices into ``others``: one, none, or several where these are equally alike.
    """
    here, there = _Files(paths), _Files(others)
    back = [set(here.most_alike(parts)) for parts in there.parts]
    return tuple(
        tuple(other for other in there.most_alike(parts) if number in back[other])
        for number, parts in enumerate(here.parts)
    )


@lru_cache(maxsize=4)
def scenes_of_labels(
    names: tuple[str, ...], scenes: tuple[str, ...], file: str
) -> dict[str, tuple[str, ...]]:
    """Return the scenes that each image named in a file of labels may be: one, none or several alike."""
    placed = tuple(os.path.normpath(Path(file).parent / name) if name else "" for name in names)
    return {
        name: tuple(scenes[index] for index in found)
        for name, found in zip(names, namesakes(placed, scenes), strict=True)
    }


def own_labels(images: Sequence[Path], labels: Sequence[Path]) -> dict[Path, Path]:
    """Return the label of each image that surely has one.

    It lies in the folder called alike and has the image's stem; else it is the one of that stem whose folders
    are most alike, unless each one's folder is among the other's too, where it would have lain.

    Args:
      images: paths below the folder of all images.
      labels: paths below the folder of all labels.
    """
    there: dict[Path, list[Path]] = defaultdict(list)
    for label in labels:
        there[label.with_suffix("")].append(label)
    owned: dict[Path, Path] = {}
    for image in images:
        alike = there.get(image.with_suffix(""), [])
        if alike:
            owned[image] = image if image in alike else alike[0]
    used = set(owned.values())
    image_folders, label_folders = ({path.parent for path in paths} for paths in (images, labels))
    for image, label in _by_folders(
        [path for path in images if path not in owned], [path for path in labels if path not in used]
    ):
        if image.parent not in label_folders or label.parent not in image_folders:
            owned[image] = label
    return owned


def _by_folders(images: Sequence[Path], labels: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Return the images and labels of one stem that are most alike to each other and to no other."""
    names, others = tuple(map(str, images)), tuple(map(str, labels))
    back = namesakes(others, names)
    return [
        (image, labels[found[0]])
        for image, found in zip(images, namesakes(names, others), strict=True)
        if len(found) == 1 and len(back[found[0]]) == 1
    ]


class _Files:
    """Paths by how they end."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.parts = [_parts(path) for path in paths]
        self._by_end: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for number, parts in enumerate(self.parts):
            for end in _ends(parts):
                self._by_end[end].append(number)

    def most_alike(self, parts: Sequence[str]) -> list[int]:
        """Return the indices of the paths that are most alike to one given by its parts."""
        for end in _ends(parts):
            if end in self._by_end:
                alike = {number: _rank(parts, self.parts[number]) for number in self._by_end[end]}
                best = max(alike.values())
                return [number for number, rank in alike.items() if rank == best]
        return []


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.replace("\\", "/").split("/") if part not in ("", "."))


def _ends(parts: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the folders with the stem, the longest first, the stem alone last."""
    if not parts:
        return []
    whole = (*parts[:-1], PurePosixPath(parts[-1]).stem)
    return [whole[start:] for start in range(len(whole))]


def _rank(one: Sequence[str], two: Sequence[str]) -> tuple[bool, bool, int]:
    shared = takewhile(lambda pair: pair[0] == pair[1], zip(one[:-1], two[:-1], strict=False))
    return one == two, one[-1] == two[-1], len(list(shared))
