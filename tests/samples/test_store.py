import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geomm.datasets import GeoTiffScenes
from geomm.errors import ConfigError
from geomm.io.raster import read_info
from geomm.io.vector import VectorLabels
from geomm.samples import SAMPLES, make, store
from geomm.structures import PixelWindow

#: Samples of scenes; those of tables have other roles.
NAMES = ["building_footprints", "land_cover_sparse", "tree_crowns"]
#: Field with the class, by sample; the other samples have features of one class.
FIELDS = {"land_cover_sparse": "class"}


@pytest.fixture
def small(monkeypatch):
    """A sample that is made in no time, and how often that was."""
    calls = []

    def maker(folder):
        calls.append(folder)
        (folder / "a.txt").write_text("made")
        return {"images": str(folder / "a.txt")}

    monkeypatch.setitem(SAMPLES, "small", maker)
    return calls


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_has_images_labels_and_a_scene_for_a_map(made, name):
    paths = made(name)
    assert {"images", "labels", "unseen"} <= set(paths)
    assert all(Path(path).is_file() for path in paths.values())
    assert SAMPLES[name].__doc__ and SAMPLES[name].__name__ == name


@pytest.mark.parametrize("name", NAMES)
def test_labels_lie_on_the_scene(made, name):
    paths = made(name)
    scene = read_info(paths["images"])
    labels = VectorLabels.open(paths["labels"], scene, label_field=FIELDS.get(name))
    whole = PixelWindow(0, 0, scene.width, scene.height)
    covered = (labels.burn(whole, 1, fill=0) == 1).mean()
    assert len(labels.geometries) > 50 and 0.01 < covered < 0.6


@pytest.mark.parametrize("name", NAMES)
def test_the_unseen_scene_is_another_place_with_the_same_bands(made, name):
    paths = made(name)
    one, two = read_info(paths["images"]), read_info(paths["unseen"])
    assert len(one.image_bands) == len(two.image_bands) and one.dtype == two.dtype
    assert one.georeference != two.georeference and one.georeference.crs
    with rasterio.open(paths["unseen"]) as scene:
        assert scene.read(1).std() > 0


@pytest.mark.parametrize("name", ["building_footprints", "land_cover_sparse"])
def test_a_sample_is_made_of_the_same_pixels_each_time(made, tmp_path, name):
    first, again = made(name), make(name, tmp_path)
    assert first.keys() == again.keys()
    for role, path in first.items():
        if path.endswith(".tif"):
            assert Path(path).read_bytes() == Path(again[role]).read_bytes()
        else:
            import geopandas

            assert geopandas.read_file(path).equals(geopandas.read_file(again[role]))


@pytest.mark.parametrize("name", ["building_footprints", "land_cover_sparse"])
def test_a_sample_is_data_to_train_on(made, name, monkeypatch, tmp_path):
    monkeypatch.setenv("GEOMM_CACHE", str(Path(made(name)["images"]).parents[2]))
    source = GeoTiffScenes(sample=name, label_field=FIELDS.get(name), window_px=128)
    spec = source.prepare(tmp_path)
    assert spec.num_classes == (6 if name in FIELDS else 2)
    assert min(spec.class_pixels) > 100
    sample = source.split("train")[0]
    assert sample.image.shape == (spec.in_channels, 128, 128) and sample.valid.any()


def test_sparse_labels_tell_the_truth(made):
    paths = made("land_cover_sparse")
    scene = read_info(paths["images"])
    names = ["water", "forest", "cropland", "grassland", "built_up", "bare_soil"]
    labels = VectorLabels.open(paths["labels"], scene, label_field="class")
    whole = PixelWindow(0, 0, scene.width, scene.height)
    burnt = labels.burn(whole, {name: i + 1 for i, name in enumerate(names)}, fill=0)
    with rasterio.open(paths["truth"]) as opened:
        truth = opened.read(1)
    labelled = burnt > 0
    assert set(np.unique(burnt)) == set(range(7)) and 0.01 < labelled.mean() < 0.1
    assert (burnt == truth)[labelled].mean() > 0.995


def test_roofs_have_edges_in_the_picture(made):
    paths = made("building_footprints")
    scene = read_info(paths["images"])
    labels = VectorLabels.open(paths["labels"], scene)
    whole = PixelWindow(0, 0, scene.width, scene.height)
    roofs = labels.burn(whole, 1, fill=0)
    with rasterio.open(paths["images"]) as opened:
        pixels = opened.read(1).astype(float)
    steps = np.abs(np.diff(pixels, axis=1))
    edge = np.diff(roofs.astype(int), axis=1) != 0
    assert steps[edge].mean() > 3 * steps[~edge].mean()


def test_a_sample_is_made_once(small, tmp_path):
    first = make("small", tmp_path)
    assert make("small", tmp_path) == first and len(small) == 1
    assert Path(first["images"]).read_text() == "made"
    assert Path(first["images"]).is_relative_to(tmp_path)


def test_a_sample_that_was_cut_off_is_made_again(small, tmp_path, monkeypatch):
    def broken(folder):
        (folder / "half.txt").write_text("half")
        raise OSError("no space left")

    maker = SAMPLES["small"]
    monkeypatch.setitem(SAMPLES, "small", broken)
    with pytest.raises(OSError, match="no space"):
        make("small", tmp_path)
    monkeypatch.setitem(SAMPLES, "small", maker)
    paths = make("small", tmp_path)
    assert sorted(p.name for p in Path(paths["images"]).parent.iterdir()) == ["a.txt", "index.json"]
    assert len(list(tmp_path.iterdir())) == 1


def test_of_two_that_make_a_sample_at_once_the_first_stays(small, tmp_path, monkeypatch):
    quick = SAMPLES["small"]

    def overtaken(folder):
        monkeypatch.setitem(SAMPLES, "small", quick)
        monkeypatch.setattr("os.getpid", lambda: 1)
        make("small", tmp_path)
        return quick(folder)

    monkeypatch.setitem(SAMPLES, "small", overtaken)
    paths = make("small", tmp_path)
    assert len(small) == 2 and Path(paths["images"]).is_file()
    assert len(list(tmp_path.iterdir())) == 1


def test_an_index_names_files_below_the_sample(small, tmp_path):
    make("small", tmp_path)
    (index,) = tmp_path.glob("*/index.json")
    assert json.loads(index.read_text()) == {"images": "a.txt"}


def test_samples_lie_below_the_cache_that_the_environment_names(small, tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMM_CACHE", str(tmp_path / "cache"))
    assert store.samples_folder() == tmp_path / "cache" / "samples"
    assert Path(make("small")["images"]).is_relative_to(tmp_path / "cache" / "samples")
    monkeypatch.delenv("GEOMM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert store.samples_folder() == tmp_path / "xdg" / "geomm" / "samples"


def test_an_unknown_sample_is_an_error_that_names_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown 'tree_crown'; did you mean 'tree_crowns'"):
        make("tree_crown")


def test_what_a_process_that_died_left_half_made_is_removed(tmp_path, small):
    import os

    from geomm.samples import store

    dead = tmp_path / f".small-{store.version()}.4194303"
    mine = tmp_path / f".small-{store.version()}.{os.getppid()}"
    for folder in (dead, mine):
        folder.mkdir(parents=True)
    make("small", tmp_path)
    assert not dead.exists() and mine.exists()
