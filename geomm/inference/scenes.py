"""Which scenes are mapped, what their maps are called, and whether the model suits them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from geomm.errors import DataError
from geomm.inference.inputs import find_inputs
from geomm.inference.objects.options import LAYER_ENDINGS
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
    return find_inputs(inputs, output, find=expand, is_result=_is_result, what="scenes")


def _is_result(path: Path) -> bool:
    if not path.exists():
        return False
    stem = path.stem.removesuffix("_preview").removesuffix("_probabilities")
    if is_map(path.with_name(f"{stem}.tif")):
        return True
    layers = (path.with_name(f"{stem}{ending}") for ending in LAYER_ENDINGS.values())
    return stem != path.stem and any(is_object_layer(layer) for layer in layers)


def check_scene(info: RasterInfo, spec: RasterSpec, *, mapped: bool = True) -> None:
    """Check that a scene is of the kind that a model was trained on.

    Args:
      info: of the scene.
      spec: of the model.
      mapped: whether the scene becomes a map, which lacks a CRS where the scene does.

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
    if info.georeference.crs is None and mapped:
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
