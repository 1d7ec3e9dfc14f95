"""Maps of a pointwise model are exact, whatever the tiles; files are complete or not there."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geomm.errors import ConfigError, DataError
from geomm.inference import ClassMap, ClassMapOptions, predict_rasters
from geomm.inference.inputs import output_names
from tests.inference.conftest import CLASSES, noise, pointwise, write_scene

FAST = {"preview": False, "device": "cpu"}


def run(scene, out, spec, score=pointwise, **options):
    chosen = ClassMapOptions(**{**FAST, "on_error": "raise", **options})
    products = ClassMap(spec, chosen)
    return predict_rasters(
        scene, out, score=score, spec=spec, products=products, options=chosen, model_id="m"
    )


def read(path):
    with rasterio.open(path) as source:
        return source.read(1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    tile=st.integers(2, 40),
    share=st.floats(0, 0.95),
    batch=st.integers(1, 5),
    holes=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_the_tiled_map_equals_the_whole_one(
    tmp_path_factory, spec, height, width, tile, share, batch, holes, seed
):
    folder = tmp_path_factory.mktemp("scene")
    pixels = noise(height, width, seed)
    pixels[np.random.default_rng(seed + 1).random(pixels.shape) < holes**3] = 0
    scene = write_scene(folder / "scene.tif", pixels, nodata=0)
    overlap = int(tile * share)
    expected = np.where(pixels == 0, 0, pixels % CLASSES + 1)
    result = folder / "out"
    run(scene, result, spec, tile_px=tile, overlap_px=min(overlap, tile - 1), batch_size=batch)
    with rasterio.open(result / "scene.tif") as made, rasterio.open(scene) as source:
        np.testing.assert_array_equal(made.read(1), expected)
        assert made.transform == source.transform
        assert made.crs == source.crs
        assert made.nodata == 0
        assert made.dtypes == ("uint8",)


def test_probabilities_of_a_smooth_model_equal_the_untiled_ones(tmp_path, spec):
    def smooth(inputs, valid):
        x = inputs[:, :1].float() / 255
        return torch.cat([x, x**2, 1 - x, torch.sin(x * 3)], 1).softmax(1)

    pixels = noise(90, 61)
    scene = write_scene(tmp_path / "s.tif", pixels)
    run(scene, tmp_path / "o", spec, smooth, tile_px=32, overlap_px=9, probabilities=True)
    with rasterio.open(tmp_path / "o" / "s_probabilities.tif") as made:
        whole = smooth(torch.from_numpy(pixels)[None, None], None)[0].numpy()
        np.testing.assert_allclose(made.read(), whole, atol=1e-6)
        assert made.descriptions == ("water", "forest", "road", "roof")


def test_overlaps_are_blended_without_a_seam(tmp_path, spec):
    def slanted(inputs, valid):
        size = inputs.shape[-1]
        left = torch.linspace(0, 1, size).expand(len(inputs), 1, size, size)
        return torch.cat([left, 1 - left, left * 0, left * 0], 1)

    scene = write_scene(tmp_path / "s.tif", noise(64, 200))
    run(scene, tmp_path / "o", spec, slanted, tile_px=64, overlap_px=32, probabilities=True)
    with rasterio.open(tmp_path / "o" / "s_probabilities.tif") as made:
        steps = np.abs(np.diff(made.read(1)[10]))
    assert steps.max() < 0.1


def test_alpha_is_nodata(tmp_path, spec):
    alpha = np.full((30, 30), 255, np.uint8)
    alpha[:, :7] = 0
    scene = write_scene(tmp_path / "s.tif", noise(30, 30), alpha=alpha)
    run(scene, tmp_path / "o", spec, tile_px=16, overlap_px=4)
    made = read(tmp_path / "o" / "s.tif")
    assert (made[:, :7] == 0).all()
    assert (made[:, 7:] > 0).all()


def test_empty_tiles_never_reach_the_model(tmp_path, spec):
    pixels = noise(64, 64)
    pixels[:, 32:] = 0
    seen = []

    def count(inputs, valid):
        seen.append(len(inputs))
        return pointwise(inputs, valid)

    scene = write_scene(tmp_path / "s.tif", pixels, nodata=0)
    run(scene, tmp_path / "o", spec, count, tile_px=16, overlap_px=0, batch_size=4)
    assert sum(seen) == 8


def test_the_map_is_a_cog_with_names_and_colours(tmp_path, spec):
    scene = write_scene(tmp_path / "s.tif", noise(1200, 1100))
    run(scene, tmp_path / "o", spec, tile_px=256, overlap_px=32)
    with rasterio.open(tmp_path / "o" / "s.tif") as made:
        assert made.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert made.overviews(1) != []
        assert made.colormap(1)[2][:3] == spec.classes[1].color
        assert made.tags()["CLASSES"] == "1=water; 2=forest; 3=road; 4=roof"
    sidecar = (tmp_path / "o" / "s.tif.aux.xml").read_text()
    assert "<Category>forest</Category>" in sidecar
    assert not list((tmp_path / "o").glob(".*"))


def test_tta_of_a_pointwise_model_changes_nothing(tmp_path, spec):
    scene = write_scene(tmp_path / "s.tif", noise(50, 40))
    run(scene, tmp_path / "a", spec, tile_px=32, overlap_px=8)
    run(scene, tmp_path / "b", spec, tile_px=32, overlap_px=8, tta=True)
    np.testing.assert_array_equal(read(tmp_path / "a" / "s.tif"), read(tmp_path / "b" / "s.tif"))


def test_a_corrupt_input_fails_alone(tmp_path, spec, caplog):
    good = write_scene(tmp_path / "good.tif", noise(40, 40))
    bad = tmp_path / "bad.tif"
    whole = write_scene(tmp_path / "whole.tif", noise(400, 400)).read_bytes()
    bad.write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.tif").write_text("no raster")
    with caplog.at_level(logging.ERROR, "geomm"):
        report = run([good, bad, tmp_path / "text.tif"], tmp_path / "o", spec, on_error="skip", tile_px=32)
    assert {Path(path).name for path, _ in report.failed} == {"bad.tif", "text.tif"}
    assert all("\n" not in reason for _, reason in report.failed)
    assert (tmp_path / "o" / "good.tif").is_file()
    assert not (tmp_path / "o" / "bad.tif").exists()


def test_too_few_bands_is_a_clear_error(tmp_path, spec):
    from dataclasses import replace

    scene = write_scene(tmp_path / "s.tif", noise(20, 20))
    with pytest.raises(DataError, match="has 1 bands; the model reads bands 1, 4"):
        run(scene, tmp_path / "o", replace(spec, bands=(1, 4), band_names=("pan", "nir")))


def test_an_overlap_that_does_not_fit_is_a_clear_error(tmp_path, spec):
    scene = write_scene(tmp_path / "s.tif", noise(20, 20))
    with pytest.raises(ConfigError, match="overlap_px: found 64, expected 0 to 31"):
        run(scene, tmp_path / "o", spec, tile_px=32, overlap_px=64)


def test_scenes_of_one_name_do_not_overwrite_each_other(tmp_path):
    paths = [str(tmp_path / folder / "scene.tif") for folder in ("north", "south")]
    assert output_names([*paths, "other.tif"]) == ["north_scene", "south_scene", "other"]
    assert output_names(["a/x.tif", "a/x.vrt"]) == ["x_tif", "x_vrt"]


def test_existing_maps_are_skipped_on_request(tmp_path, spec):
    scene = write_scene(tmp_path / "s.tif", noise(20, 20))
    run(scene, tmp_path / "o", spec)
    report = run(scene, tmp_path / "o", spec, skip_existing=True)
    assert report.skipped == [str(scene)]
    with pytest.raises(DataError, match="its own place"):
        run(scene, tmp_path, spec, skip_existing=True)


def test_a_picture_of_another_origin_is_not_replaced(tmp_path, spec):
    scene, picture = write_scene(tmp_path / "s.tif", noise(20, 20)), tmp_path / "o" / "s_preview.png"
    picture.parent.mkdir()
    picture.write_bytes(b"mine")
    with pytest.raises(DataError, match=r"s_preview.png is there and is no preview that geomm wrote"):
        run(scene, tmp_path / "o", spec, preview=True)
    assert picture.read_bytes() == b"mine" and not (tmp_path / "o" / "s.tif").exists()
    picture.unlink()
    for _ in range(2):
        run(scene, tmp_path / "o", spec, preview=True)
    assert picture.is_file()


def test_class_values_beyond_a_byte(tmp_path, spec):
    from dataclasses import replace

    from geomm.structures import make_classes

    wide = replace(spec, classes=make_classes(["a", "b", "c", "d"], [7, 300, 1000, 65535]))
    scene = write_scene(tmp_path / "s.tif", noise(20, 20))
    run(scene, tmp_path / "o", wide)
    assert set(np.unique(read(tmp_path / "o" / "s.tif"))) <= {7, 300, 1000, 65535}


_KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from geomm.inference import ClassMap, ClassMapOptions, predict_rasters
from geomm.structures import RasterSpec
from tests.inference.conftest import pointwise
import json
spec = RasterSpec.from_dict(json.loads(Path({spec!r}).read_text()))
def slow(inputs, valid):
    time.sleep({pause})
    return pointwise(inputs, valid)
options = ClassMapOptions(
    preview=False, device="cpu", tile_px=32, overlap_px=20, batch_size=3, polygons=True
)
products = ClassMap(spec, options)
predict_rasters({scene!r}, {out!r}, score=slow, spec=spec, products=products, options=options, model_id="m")
"""


def test_a_killed_run_goes_on_and_ends_with_the_same_file(tmp_path, spec, root):
    import json

    pixels = noise(200, 150)
    pixels[60:90, 20:130] = 0
    scene = write_scene(tmp_path / "s.tif", pixels, nodata=0)
    (tmp_path / "spec.json").write_text(json.dumps(spec.to_dict()))

    def code(out, pause):
        names = {"root": str(root), "spec": str(tmp_path / "spec.json"), "scene": str(scene)}
        return _KILLED.format(**names, out=str(tmp_path / out), pause=pause)

    environment = {**os.environ, "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", code("whole", 0)], env=environment, check=True)
    work = tmp_path / "killed" / ".s.work"
    process = subprocess.Popen([sys.executable, "-c", code("killed", 0.05)], env=environment)
    deadline = time.monotonic() + 60
    while len(list(work.glob("classes_*.tif"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = len(list(work.glob("classes_*.tif")))
    assert finished >= 3
    assert not (tmp_path / "killed" / "s.tif").exists()
    subprocess.run([sys.executable, "-c", code("killed", 0)], env=environment, check=True)
    for name in ("s.tif", "s.tif.aux.xml"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not work.exists()


def test_another_models_leftovers_are_not_resumed(tmp_path, spec):
    scene = write_scene(tmp_path / "s.tif", noise(64, 64))
    work = tmp_path / "o" / ".s.work"
    work.mkdir(parents=True)
    (work / "fingerprint").write_text("something else")
    (work / "classes_000000.tif").write_text("rubbish")
    run(scene, tmp_path / "o", spec, tile_px=32, overlap_px=8)
    assert (read(tmp_path / "o" / "s.tif") == noise(64, 64) % CLASSES + 1).all()


def test_an_error_in_the_model_surfaces_and_leaves_no_map(tmp_path, spec):
    def broken(inputs, valid):
        raise RuntimeError("the model failed")

    scene = write_scene(tmp_path / "s.tif", noise(40, 40))
    with pytest.raises(RuntimeError, match="the model failed"):
        run(scene, tmp_path / "o", spec, broken)
    assert not (tmp_path / "o" / "s.tif").exists()


def test_a_map_never_takes_the_place_of_its_input_or_of_another_file(tmp_path, spec):
    scene = write_scene(tmp_path / "s.tif", noise(20, 20))
    with pytest.raises(DataError, match=r"s\.tif: its result would take its own place"):
        run(scene, tmp_path, spec)
    other = write_scene(tmp_path / "o.tif", noise(20, 20))
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / "o.tif"
    target.write_bytes(other.read_bytes())
    with pytest.raises(DataError, match="is no map that geomm wrote"):
        run(other, tmp_path / "out", spec)
    assert target.read_bytes() == other.read_bytes()


def test_a_map_is_made_anew(tmp_path, spec):
    scene = write_scene(tmp_path / "s.tif", noise(20, 20))
    run(scene, tmp_path / "o", spec)
    write_scene(scene, noise(20, 20, seed=1))
    run(scene, tmp_path / "o", spec)
    np.testing.assert_array_equal(read(tmp_path / "o" / "s.tif"), noise(20, 20, seed=1) % CLASSES + 1)


def test_the_background_is_left_out_on_request(tmp_path, spec):
    from dataclasses import replace

    scene = write_scene(tmp_path / "s.tif", noise(20, 20))
    run(scene, tmp_path / "o", replace(spec, background=1), predict_background=False)
    expected = noise(20, 20) % CLASSES + 1
    np.testing.assert_array_equal(read(tmp_path / "o" / "s.tif"), np.where(expected == 2, 0, expected))


def test_a_run_that_stopped_before_its_last_file_is_not_done(tmp_path, spec):
    scene = write_scene(tmp_path / "s.tif", noise(20, 20))
    run(scene, tmp_path / "o", spec)
    (tmp_path / "o" / ".s.work").mkdir()
    report = run(scene, tmp_path / "o", spec, skip_existing=True)
    assert report.skipped == []
    assert not (tmp_path / "o" / ".s.work").exists()


def test_what_was_done_before_a_scene_failed_is_kept_for_the_next_run(tmp_path, spec):
    scene = write_scene(tmp_path / "s.tif", noise(64, 64))
    calls = []

    def failing(inputs, valid):
        calls.append(1)
        if len(calls) > 12:
            raise DataError("the network went away")
        return pointwise(inputs, valid)

    options = {"tile_px": 16, "overlap_px": 0, "batch_size": 1, "on_error": "skip"}
    assert run(scene, tmp_path / "o", spec, failing, **options).failed
    work = tmp_path / "o" / ".s.work"
    assert work.is_dir() == bool(list(work.glob("classes_*.tif")))
    run(scene, tmp_path / "o", spec, **options)
    np.testing.assert_array_equal(read(tmp_path / "o" / "s.tif"), noise(64, 64) % CLASSES + 1)
    assert not work.exists()


def test_ctrl_c_leaves_no_map_and_the_next_run_goes_on(tmp_path, spec):
    scene = write_scene(tmp_path / "s.tif", noise(64, 64))
    seen = []

    def interrupted(inputs, valid):
        seen.append(1)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return pointwise(inputs, valid)

    with pytest.raises(KeyboardInterrupt):
        run(scene, tmp_path / "o", spec, interrupted, tile_px=16, overlap_px=0)
    assert not [path for path in (tmp_path / "o").iterdir() if not path.name.startswith(".")]
    run(scene, tmp_path / "o", spec, tile_px=16, overlap_px=0)
    np.testing.assert_array_equal(read(tmp_path / "o" / "s.tif"), noise(64, 64) % CLASSES + 1)


def test_every_product_of_a_scene_appears(tmp_path, spec):
    scene = write_scene(tmp_path / "s.tif", noise(40, 30))
    wanted = {"probabilities": True, "polygons": True, "preview": True}
    report = run(scene, tmp_path / "o", spec, **wanted)
    names = {"s.tif", "s_probabilities.tif", "s.gpkg", "s_preview.png"}
    assert {path.name for path in report.outputs} == names
    assert {path.name for path in (tmp_path / "o").iterdir()} == {*names, "s.tif.aux.xml"}
    assert (report.amount, report.unit) == (1200, "px")


def test_a_folder_is_mapped_with_its_results_inside_it(tmp_path, spec):
    write_scene(tmp_path / "a.tif", noise(20, 20))
    write_scene(tmp_path / "b.tif", noise(20, 20))
    for _ in range(2):
        report = run(tmp_path, tmp_path / "maps", spec, probabilities=True)
        assert {path.name for path in report.outputs} >= {"a.tif", "b.tif"}
        assert len(report.outputs) == 4


def test_a_picture_without_a_place_is_mapped(tmp_path, spec):
    from PIL import Image

    Image.fromarray(noise(30, 40)).save(tmp_path / "photo.png")
    run(tmp_path / "photo.png", tmp_path / "o", spec, tile_px=16, overlap_px=4, polygons=True)
    with rasterio.open(tmp_path / "o" / "photo.tif") as made:
        assert made.crs is None
        np.testing.assert_array_equal(made.read(1), noise(30, 40) % CLASSES + 1)
