"""Which scenes are mapped, what their maps are called, and whether the model suits them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from geomm.errors import DataError
from geomm.inference.object_options import LAYER_ENDINGS
from geomm.io.cog import is_map
from geomm.io.object_layer import is_object_layer
from geomm.io.paths import expand
from geomm.io.raster import RasterInfo
from geomm.structures import RasterSpec

_LOG = logging.getLogger("geomm")
#: Pixels this much larger or smaller than those of the training imagery are worth a word.
_GSD_RATIO = 1.5


def find_scenes(inputs: str | Path | Sequence[str | Path], output: Path) -> list[str]:
    """Return the files that are meant, without earlier results in the output folder.

    Args:
      inputs: files, globs, folders or a list of these.
      output: the folder of results, which may lie in a folder that is given.

    Raises:
      DataError: nothing is left.
    """
    given = {str(item) for item in ([inputs] if isinstance(inputs, str | Path) else inputs)}
    found = expand(inputs)
    own = [path for path in found if path not in given and _is_result(Path(path), output)]
    if own:
        _LOG.info("%d maps in %s are not taken as inputs", len(own), output)
    scenes = [path for path in found if path not in own]
    if not scenes:
        raise DataError(f"nothing to map: all of {', '.join(sorted(given))} are earlier results")
    return scenes


def _is_result(path: Path, output: Path) -> bool:
    if not path.exists() or output.resolve() not in path.resolve().parents:
        return False
    stem = path.stem.removesuffix("_preview").removesuffix("_probabilities")
    if is_map(path.with_name(f"{stem}.tif")):
        return True
    layers = (path.with_name(f"{stem}{ending}") for ending in LAYER_ENDINGS.values())
    return stem != path.stem and any(is_object_layer(layer) for layer in layers)


def output_names(scenes: Sequence[str]) -> list[str]:
    """Return a name for each scene's outputs, no two alike.

    It is the stem; with as many of its folders as it takes where stems are alike, and with the
    ending where files of one folder differ by nothing else.
    """
    paths = [Path(scene).absolute() for scene in scenes]
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


def check_target(target: Path, scene: str) -> None:
    """Check that writing a map destroys nothing but an earlier map.

    Raises:
      DataError: the map would take the place of its own input, or of a file that is no map.
    """
    if not target.exists():
        return
    if target.resolve() == Path(scene).resolve():
        raise DataError(f"{scene}: its map would take its own place; give another output folder")
    if not is_map(target):
        raise DataError(f"{target} is there and is no map of geomm; give another output folder")


def check_scene(info: RasterInfo, spec: RasterSpec) -> None:
    """Check that a scene is of the kind that a model was trained on.

    Raises:
      DataError: a band that the model reads is not there, or pixels are complex numbers.
    """
    if max(spec.bands) > info.count:
        wanted = ", ".join(map(str, spec.bands))
        raise DataError(
            f"{info.path} has {info.count} bands; the model reads bands {wanted} "
            f"({', '.join(spec.band_names)}): give imagery like that it was trained on"
        )
    if np.dtype(info.dtype).kind not in "uif":
        raise DataError(f"{info.path} is {info.dtype}; expected whole or real numbers")
    if info.georeference.crs is None:
        _LOG.warning("%s has no CRS, so its map will have none", info.path)
    elif _other_scale(info, spec):
        _LOG.warning(
            "%s has pixels of %g, the model was trained on %g: expect worse results",
            info.path,
            info.gsd,
            spec.gsd,
        )
    if info.dtype != spec.dtype:
        _LOG.warning(
            "%s is %s, the model was trained on %s: check that values mean the same",
            info.path,
            info.dtype,
            spec.dtype,
        )


def _other_scale(info: RasterInfo, spec: RasterSpec) -> bool:
    from pyproj import CRS

    crs = info.georeference.crs
    if crs is None or spec.crs is None or not spec.gsd or not info.gsd:
        return False
    if 1 / _GSD_RATIO <= info.gsd / spec.gsd <= _GSD_RATIO:
        return False
    return CRS.from_user_input(crs).is_geographic == CRS.from_user_input(spec.crs).is_geographic
