"""Inputs, names of outputs, and what is said of scenes that differ from the training imagery."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from geomm.errors import DataError
from geomm.inference.inputs import output_names
from geomm.inference.scenes import check_scene, find_scenes
from geomm.io.raster import read_info
from tests.inference.conftest import noise, write_scene

parts = st.text("ab_", min_size=1, max_size=2)


@given(st.lists(st.tuples(parts, parts, parts, st.sampled_from([".tif", ".vrt"])), min_size=1, unique=True))
def test_no_two_scenes_get_one_name(paths):
    scenes = [f"/{a}/{b}/{c}{ending}" for a, b, c, ending in paths]
    names = output_names(scenes)
    assert len(set(names)) == len(scenes)
    assert not any("/" in name for name in names)


def test_names_are_as_short_as_they_can_be():
    assert output_names(["/n/one.tif", "/s/two.tif"]) == ["one", "two"]
    assert output_names(["/n/x/one.tif", "/s/x/one.tif"]) == ["n_x_one", "s_x_one"]
    assert output_names(["/n/one.tif", "/n/one.vrt"]) == ["one_tif", "one_vrt"]


def map_like(path, scene):
    with rasterio.open(path, "w", driver="GTiff", width=1, height=1, count=1, dtype="uint8") as target:
        target.update_tags(GEOMM_MAP="classes")
    return path


def test_earlier_results_in_the_output_folder_are_no_inputs(tmp_path):
    scene = write_scene(tmp_path / "scene.tif", noise(5, 5))
    out = tmp_path / "out"
    out.mkdir()
    map_like(out / "scene.tif", scene)
    write_scene(out / "scene_probabilities.tif", noise(5, 5))
    (out / "scene_preview.png").write_bytes(b"")
    other = write_scene(out / "mine.tif", noise(5, 5))
    assert find_scenes(tmp_path, out) == [str(other), str(scene)]
    assert find_scenes(out / "scene.tif", out) == [str(out / "scene.tif")]
    other.unlink()
    with pytest.raises(DataError, match="earlier results"):
        find_scenes(out, out)


def said(caplog, info, spec):
    caplog.clear()
    with caplog.at_level(logging.WARNING, "geomm"):
        check_scene(info, spec)
    return caplog.text


def test_what_differs_from_the_training_imagery_is_said(tmp_path, spec, caplog):
    info = read_info(write_scene(tmp_path / "s.tif", noise(5, 5)))
    assert said(caplog, info, spec) == ""
    assert "has pixels of 0.5, the model was trained on 0.3" in said(caplog, info, replace(spec, gsd=0.3))
    assert said(caplog, info, replace(spec, gsd=0.4)) == ""
    assert "is uint8, the model was trained on uint16" in said(caplog, info, replace(spec, dtype="uint16"))
    assert said(caplog, info, replace(spec, gsd=1e-5, crs="EPSG:4326")) == ""


def test_a_scene_without_a_place_is_said_once(tmp_path, spec, caplog):
    info = read_info(write_scene(tmp_path / "s.tif", noise(5, 5), crs=None))
    assert "has no CRS" in said(caplog, info, spec)


def test_complex_pixels_are_refused(tmp_path, spec):
    info = read_info(write_scene(tmp_path / "s.tif", np.ones((3, 3), np.complex64)))
    with pytest.raises(DataError, match="complex64; expected whole or real numbers"):
        check_scene(info, spec)
