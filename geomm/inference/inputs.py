"""What files an inference is asked for, and what their results are called."""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from geomm.errors import DataError
from geomm.io.paths import RASTER_ENDINGS, VECTOR_ENDINGS, check_folder

_LOG = logging.getLogger("geomm")

#: What a user names: files, globs, folders, or a list of these.
Inputs = str | Path | Sequence[str | Path]
#: What ends so is meant as a file, not as a folder.
_FILE_ENDINGS = (*RASTER_ENDINGS, *VECTOR_ENDINGS, ".csv", ".mp4", ".las", ".laz")
#: What the names of a GeoPackage's own tables begin with.
_INTERNAL = ("gpkg_", "rtree_", "sqlite_")
_TABLES = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"


def find_inputs(
    inputs: Inputs,
    output: Path,
    *,
    find: Callable[[Inputs], list[str]],
    is_result: Callable[[Path], bool],
    what: str,
) -> list[str]:
    """Return the files that are meant, without earlier results in the output folder.

    Args:
      inputs: what the user named.
      output: the folder of results, which may lie in a folder that is given.
      find: from what was named to files.
      is_result: says of a file in the output folder whether it is a result; those that were named
        themselves are not asked for.
      what: what the files hold, in the plural.

    Raises:
      DataError: nothing is left, or the output is no folder.
    """
    _check_folder(output)
    given = {str(item) for item in ([inputs] if isinstance(inputs, str | Path) else inputs)}
    found = find(inputs)
    folder = output.resolve()
    own = [
        path
        for path in found
        if path not in given and folder in Path(path).resolve().parents and is_result(Path(path))
    ]
    if own:
        _LOG.info("%d %s in %s are earlier results and not taken as inputs", len(own), what, output)
    kept = [path for path in found if path not in own]
    if not kept:
        raise DataError(f"no {what} to work on: all of {', '.join(sorted(given))} are earlier results")
    return kept


def _check_folder(output: Path) -> None:
    check_folder(output, "output")
    if output.suffix.lower() in _FILE_ENDINGS and not output.is_dir():
        folder = output.with_suffix("")
        raise DataError(f"output={output}: the results are files in a folder; give that, such as {folder}/")


def check_target(
    target: Path, inputs: str | Sequence[str], *, is_result: Callable[[Path], bool], what: str
) -> None:
    """Check that writing a result destroys nothing but an earlier result.

    Args:
      target: the file to write.
      inputs: what it is made of.
      is_result: says of a file whether it is such a result.
      what: such a result is, in the singular.

    Raises:
      DataError: it would take the place of an input, of a file of another origin, or of layers that were
        added to an earlier result.
    """
    if not target.exists():
        return
    for path in [inputs] if isinstance(inputs, str) else inputs:
        if Path(path).exists() and target.samefile(path):
            raise DataError(f"{path}: its result would take its own place; give another output folder")
    if not is_result(target):
        raise DataError(f"{target} is there and is no {what} that geomm wrote; give another output folder")
    if target.suffix.lower() == ".gpkg" and (added := _added_layers(target)):
        raise DataError(
            f"{target} holds more than the {what} that geomm wrote ({', '.join(added)}); give another output "
            "folder"
        )


def preview_of(target: Path) -> Path:
    """Return where the picture of a result lies."""
    return target.with_name(f"{target.stem}_preview.png")


def check_preview(picture: Path, inputs: str | Sequence[str]) -> None:
    """Check as ``check_target`` does that drawing a preview destroys nothing but an earlier picture."""
    from geomm.visualization.canvas import is_figure

    check_target(picture, inputs, is_result=is_figure, what="preview")


def _added_layers(path: Path) -> list[str]:
    """Return what a GeoPackage holds beside its first layer and styles: layers, tables, a project of QGIS."""
    import pyogrio

    own = {str(pyogrio.list_layers(path)[0, 0]), "layer_styles"}
    try:
        with closing(sqlite3.connect(path)) as database:
            rows = database.execute(_TABLES).fetchall()
    except sqlite3.Error as error:
        raise DataError(f"{path} cannot be read ({error}); give another output folder") from error
    return [name for (name,) in rows if name not in own and not name.startswith(_INTERNAL)]


def output_names(files: Sequence[str]) -> list[str]:
    """Return a name for each file's results, no two alike.

    It is the stem; with as many of its folders as it takes where stems are alike, and with the
    ending where files of one folder differ by nothing else.
    """
    paths = [Path(file).absolute() for file in files]
    alike = Counter(path.with_suffix("") for path in paths)
    bases = [
        path.stem if alike[path.with_suffix("")] == 1 else f"{path.stem}_{path.suffix[1:]}" for path in paths
    ]
    names = list(bases)
    for depth in range(1, max((len(path.parts) for path in paths), default=1) - 1):
        counts = Counter(names)
        for index, path in enumerate(paths):
            if counts[names[index]] > 1:
                names[index] = "_".join((*path.parts[1:-1][-depth:], bases[index]))
    seen: Counter[str] = Counter()
    for index, name in enumerate(names):
        seen[name] += 1
        names[index] = name if seen[name] == 1 else f"{name}_{seen[name]}"
    return names
