import logging
import shutil

import numpy as np
import pytest
import rasterio
import torch
from shapely import box
from torch.utils.data import DataLoader

from geomm.datasets.collate import collate_raster
from geomm.datasets.maps.geotiff import GeoTiffScenes
from geomm.datasets.sampling import EpochSampler
from geomm.errors import DataError, MissingCRSError
from geomm.structures import PixelWindow
from tests.datasets.common import IGNORE_INDEX, grid, layer, noise, scenes, squares, write

HEIGHT, WIDTH = 130, 150


def make_scene(path, *, col=0, count=2, seed=0, **options):
    pixels = noise(HEIGHT, WIDTH, count=count, seed=seed, dtype="uint16") * 17
    pixels[:, :9] = 0
    return write(path, pixels, nodata=0, transform=grid(col, 0), **options)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A scene with nodata rows, and squares of two classes on it."""
    folder = tmp_path_factory.mktemp("data")
    boxes, kinds = squares(HEIGHT, WIDTH)
    return make_scene(folder / "scene.tif"), layer(folder / "labels.gpkg", boxes, kind=kinds)


@pytest.fixture(scope="module")
def source(data, tmp_path_factory):
    split = {"val": 0.25, "test": 0.15}
    return scenes(*data, tmp_path_factory.mktemp("cache"), split=split)


def pixels_of(path):
    with rasterio.open(path) as opened:
        return opened.read()


def owners(source, number=0):
    """The split of each pixel of a scene."""
    scene = source._scenes[number]
    rows, cols = np.mgrid[:HEIGHT, :WIDTH] // scene.scan.size
    return scene.splits[rows * scene.scan.cols + cols]


def truth(source, number=0):
    scene = source._scenes[number]
    return scene.labels.mask(PixelWindow(0, 0, WIDTH, HEIGHT))


def test_statistics_are_those_of_the_valid_training_pixels(source, data):
    pixels = pixels_of(data[0])
    inside = pixels[:, (owners(source) == 0) & (pixels != 0).any(0)].astype(float)
    found = source.spec.statistics
    assert found.count == inside.shape[1]
    np.testing.assert_allclose(found.mean, inside.mean(1), rtol=1e-9)
    np.testing.assert_allclose(found.std, inside.std(1), rtol=1e-9)
    np.testing.assert_array_equal(found.min, inside.min(1))
    np.testing.assert_array_equal(found.max, inside.max(1))


def test_the_spec_says_what_the_scenes_are(source, data):
    spec = source.spec
    assert spec.bands == (1, 2) and spec.band_names == ("band_1", "band_2")
    assert (spec.dtype, spec.nodata, spec.gsd, spec.window_px) == ("uint16", 0, 0.5, 32)
    assert [item.name for item in spec.classes] == ["a", "b"] and spec.map_space
    seen = (owners(source) == 0) & (pixels_of(data[0]) != 0).any(0)
    counts = [int((seen & (truth(source) == kind)).sum()) for kind in (0, 1)]
    assert list(spec.class_pixels) == counts


def test_validation_windows_hold_every_label_of_their_blocks_once(source, data):
    seen, labels = (pixels_of(data[0]) != 0).any(0), truth(source)
    for number, name in ((1, "val"), (2, "test")):
        windows, counts = source.split(name), np.zeros(2, int)
        for index in range(len(windows)):
            mask = windows[index].mask
            counts += [(mask == kind).sum() for kind in (0, 1)]
        inside = seen & (owners(source) == number)
        assert counts.tolist() == [int((inside & (labels == kind)).sum()) for kind in (0, 1)]
        assert counts.sum() > 0


def test_no_label_of_another_split_is_trained_on(source):
    labels = np.where(owners(source) == 0, truth(source), IGNORE_INDEX)
    windows = source.split("train")
    for index in range(60):
        sample = windows[index]
        _, col, row = sample.name.replace("[", "").replace("]", "").replace(",", "").rsplit(" ", 2)
        window = PixelWindow(int(col), int(row), 32, 32)
        expected = np.where(sample.valid, labels[window.slices], IGNORE_INDEX)
        np.testing.assert_array_equal(sample.mask, expected)


def test_each_split_gets_its_share_of_each_class(tmp_path, data):
    source = scenes(*data, tmp_path, split={"val": 0.25, "block_px": 16})
    for kind in (0, 1):
        counts = [(owners(source) == s)[truth(source) == kind].sum() for s in (0, 1)]
        assert abs(counts[1] / sum(counts) - 0.25) < 0.1


@pytest.mark.slow
def test_samples_are_the_same_with_any_number_of_workers(source):
    windows = source.split("train")

    def load(workers):
        sampler = EpochSampler(windows, shuffle=True, seed=3)
        sampler.set_epoch(2)
        context = "forkserver" if workers else None
        loader = DataLoader(
            windows, 6, sampler=sampler, num_workers=workers, collate_fn=collate_raster,
            multiprocessing_context=context,
        )  # fmt: skip
        return list(loader)

    for one, two in zip(load(0), load(2), strict=True):
        assert one["name"] == two["name"]
        for key in ("inputs", "valid", "mask"):
            assert torch.equal(one[key], two[key])


def test_a_sample_depends_on_seed_and_index_alone(data, tmp_path):
    augment = {"flip": {"type": "RandomFlip"}, "noise": {"type": "GaussianNoise"}}
    one, two, other = (
        scenes(*data, tmp_path / str(seed), seed=seed, augment=augment, split={"seed": 0})
        for seed in (5, 5, 6)
    )
    one.split("train")[3]
    for index in (0, 9, 24 + 9):
        first, second = one.split("train")[index], two.split("train")[index]
        np.testing.assert_array_equal(first.image, second.image)
        np.testing.assert_array_equal(first.mask, second.mask)
    samples = [made.split("train")[9].image.tobytes() for made in (one, other)]
    assert samples[0] != samples[1]


def test_the_seed_of_a_split_can_be_kept_while_the_run_s_changes(data, tmp_path):
    kept = [scenes(*data, tmp_path, seed=s, split={"seed": 7})._scenes[0].splits for s in (1, 2)]
    np.testing.assert_array_equal(*kept)


def test_what_was_scanned_is_kept_and_used_again(data, tmp_path, monkeypatch):
    first = scenes(*data, tmp_path)
    assert len(list(tmp_path.glob("scan_*.npz"))) == 1
    monkeypatch.setattr("geomm.datasets.maps.geotiff.scan_scene", None)
    again = scenes(*data, tmp_path)
    assert again.spec == first.spec
    np.testing.assert_array_equal(again._scenes[0].splits, first._scenes[0].splits)
    np.testing.assert_array_equal(again.split("train")[4].image, first.split("train")[4].image)


def test_a_damaged_scan_is_made_anew(data, tmp_path):
    first = scenes(*data, tmp_path)
    (kept,) = tmp_path.glob("scan_*.npz")
    kept.write_bytes(kept.read_bytes()[:100])
    assert scenes(*data, tmp_path).spec == first.spec


def test_labels_regrouped_are_scanned_anew(data, tmp_path):
    boxes, kinds = squares(HEIGHT, WIDTH, names="123")
    labels = layer(tmp_path / "three.gpkg", boxes, kind=kinds)
    one = scenes(data[0], labels, tmp_path, classes={1: "x", 2: "y", 3: "y"})
    two = scenes(data[0], labels, tmp_path, classes={1: "x", 2: "x", 3: "y"})
    assert one.spec.class_pixels[0] < two.spec.class_pixels[0]


def test_bands_are_chosen_by_number_and_name(data, tmp_path):
    path = make_scene(tmp_path / "scene.tif", count=3)
    with rasterio.open(path, "r+") as target:
        target.set_band_description(3, "nir")
    source = scenes(path, data[1], tmp_path, bands=["nir", 1])
    assert source.spec.bands == (3, 1) and source.spec.band_names == ("nir", "band_1")
    assert source.split("train")[0].image.shape == (2, 32, 32)
    with pytest.raises(DataError, match="no band named 'nri'; did you mean 'nir'"):
        scenes(path, data[1], tmp_path, bands=["nri"])


def test_one_class_of_features_covers_and_the_rest_is_background(data, tmp_path):
    source = scenes(*data, tmp_path, label_field=None)
    assert [item.name for item in source.spec.classes] == ["background", "feature"]
    assert source.spec.background == 0
    sample = source.split("train")[0]
    assert ((sample.mask == IGNORE_INDEX) == ~sample.valid).sum() >= sample.valid.sum() * 0.3
    with pytest.raises(DataError, match="one class only"):
        scenes(*data, tmp_path, label_field=None, background=False)


def test_rasters_on_a_grid_of_their_own_are_labels_too(data, tmp_path):
    coarse = np.random.default_rng(0).integers(0, 3, (80, 90)).astype(np.uint8)
    cover = write(tmp_path / "cover.tif", coarse, transform=grid(-6, -8, gsd=1.0))
    source = scenes(data[0], cover, tmp_path, label_field=None)
    expected = coarse.repeat(2, 0).repeat(2, 1)[8 : 8 + HEIGHT, 6 : 6 + WIDTH]
    found = truth(source)
    np.testing.assert_array_equal(found[found != IGNORE_INDEX] + 1, expected[expected > 0])
    assert ((found == IGNORE_INDEX) == (expected == 0)).all()


def test_several_scenes_share_one_layer(tmp_path):
    for number in range(2):
        make_scene(tmp_path / f"scene_{number}.tif", col=number * WIDTH, seed=number)
    boxes, kinds = squares(HEIGHT, 2 * WIDTH)
    labels = layer(tmp_path / "labels.gpkg", boxes, kind=kinds)
    source = scenes(tmp_path / "scene_*.tif", labels, tmp_path / "cache")
    assert len(source._scenes) == 2 and len(list((tmp_path / "cache").glob("*.npz"))) == 2
    names = {source.split("train")[i].name.rpartition(" [")[0][-5] for i in range(24)}
    assert names == {"0", "1"}
    pixels = np.concatenate([pixels_of(tmp_path / f"scene_{n}.tif") for n in range(2)], axis=2)
    chosen = np.concatenate([owners(source, n) == 0 for n in range(2)], axis=1)
    inside = pixels[:, chosen & (pixels != 0).any(0)].astype(float)
    np.testing.assert_allclose(source.spec.statistics.mean, inside.mean(1))
    np.testing.assert_allclose(source.spec.statistics.std, inside.std(1))


@pytest.mark.parametrize("suffix", ["", "_mask"])
def test_each_scene_finds_its_raster_by_name(tmp_path, suffix):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for number in range(2):
        make_scene(tmp_path / "images" / f"s{number}.tif", seed=number)
        cover = np.random.default_rng(number).integers(1, 3, (HEIGHT, WIDTH)).astype(np.uint8)
        write(tmp_path / "masks" / f"s{number}{suffix}.tif", cover)
    source = scenes(tmp_path / "images", tmp_path / "masks", tmp_path / "cache", label_field=None)
    assert [scene.labels.path[-len(suffix) - 5] for scene in source._scenes] == ["0", "1"]


def test_a_scene_without_a_label_of_its_name_is_an_error_or_left_out(tmp_path, caplog):
    for number in range(3):
        make_scene(tmp_path / f"s{number}.tif", seed=number)
    boxes, kinds = squares(HEIGHT, WIDTH)
    labels = [str(layer(tmp_path / f"s{n}.gpkg", boxes, kind=kinds)) for n in range(2)]
    options = {"window_px": 32, "label_field": "kind", "images": f"{tmp_path}/*.tif"}
    with pytest.raises(DataError, match=r"s2\.tif: none of the 2 label files is named like it"):
        GeoTiffScenes(labels=labels, **options).prepare(tmp_path)
    source = GeoTiffScenes(labels=labels, on_error="skip", **options)
    with caplog.at_level(logging.WARNING, "geomm"):
        source.prepare(tmp_path)
    assert len(source._scenes) == 2 and "1 of 3 scenes left out" in caplog.text


def test_scenes_that_cannot_be_read_are_an_error_or_left_out(data, tmp_path, caplog):
    shutil.copy(data[0], tmp_path / "a.tif")
    (tmp_path / "b.tif").write_bytes(b"no raster")
    options = {"window_px": 32, "label_field": "kind", "labels": str(data[1])}
    with pytest.raises(DataError, match=r"b\.tif cannot be opened"):
        scenes(tmp_path / "*.tif", data[1], tmp_path)
    source = scenes(tmp_path / "*.tif", data[1], tmp_path, on_error="skip")
    assert len(source._scenes) == 1 and "1 of 2 scenes left out" in caplog.text
    with pytest.raises(DataError, match="none of the 1 scenes can be used"):
        made = GeoTiffScenes(images=str(tmp_path / "b.tif"), on_error="skip", **options)
        made.prepare(tmp_path)


def test_a_truncated_scene_is_an_error_or_left_out(data, tmp_path):
    shutil.copy(data[0], tmp_path / "a.tif")
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "b.tif").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DataError, match=r"b\.tif"):
        scenes(tmp_path / "*.tif", data[1], tmp_path)
    source = scenes(tmp_path / "*.tif", data[1], tmp_path, on_error="skip")
    assert len(source._scenes) == 1


@pytest.mark.parametrize("role", ["image", "label", "val"])
def test_with_nothing_left_to_read_skipping_is_an_error(data, tmp_path, role):
    cover = np.random.default_rng(0).integers(1, 3, (HEIGHT, WIDTH)).astype(np.uint8)
    whole = write(tmp_path / "cover.tif", cover)
    files = {"image": data[0], "label": whole, "val": data[0]}
    broken = tmp_path / "broken.tif"
    content = files[role].read_bytes()
    broken.write_bytes(content[: len(content) * 2 // 3])
    files[role] = broken
    options = {"label_field": None, "on_error": "skip"}
    if role == "val":
        options |= {"val_images": str(broken), "val_labels": str(whole)}
    with pytest.raises(DataError, match=r"none of the scenes|cannot be read"):
        scenes(files["image"], files["label"], tmp_path / "cache", **options)


def test_scenes_beside_the_labels_are_left_out(data, tmp_path):
    shutil.copy(data[0], tmp_path / "a.tif")
    make_scene(tmp_path / "far.tif", col=9000)
    with pytest.raises(DataError, match="does not overlap"):
        scenes(tmp_path / "*.tif", data[1], tmp_path)
    assert len(scenes(tmp_path / "*.tif", data[1], tmp_path, on_error="skip")._scenes) == 1


def test_scenes_of_other_bands_are_an_error(data, tmp_path):
    shutil.copy(data[0], tmp_path / "a.tif")
    make_scene(tmp_path / "b.tif", count=3)
    with pytest.raises(DataError, match=r"b\.tif has 3 bands.*a\.tif has 2.*dataset\.bands"):
        scenes(tmp_path / "*.tif", data[1], tmp_path)
    assert scenes(tmp_path / "*.tif", data[1], tmp_path, bands=[2, 1]).spec.bands == (2, 1)


def test_scenes_for_validation_alone_are_not_trained_on(data, tmp_path):
    val = make_scene(tmp_path / "val.tif", seed=9)
    source = scenes(*data, tmp_path, val_images=str(val))
    assert set(source._scenes[0].splits.tolist()) <= {0, -1}
    assert set(source._scenes[1].splits.tolist()) <= {1, -1}
    windows = source.split("val")
    assert len(windows) and all("val.tif" in windows[i].name for i in range(len(windows)))
    pixels = pixels_of(data[0])
    inside = pixels[:, (owners(source) == 0) & (pixels != 0).any(0)].astype(float)
    np.testing.assert_allclose(source.spec.statistics.mean, inside.mean(1))


def test_scenes_for_the_test_alone_are_neither_trained_on_nor_validated(data, tmp_path):
    kept = make_scene(tmp_path / "kept.tif", seed=9)
    source = scenes(*data, tmp_path, test_images=str(kept), split={"val": 0.2, "test": 0.3})
    assert set(source._scenes[0].splits.tolist()) <= {0, 1, -1}
    assert set(source._scenes[1].splits.tolist()) <= {2, -1}
    windows = source.split("test")
    assert len(windows) and all("kept.tif" in windows[i].name for i in range(len(windows)))


def test_real_footprints_are_windows_to_train_on(shared_data, tmp_path):
    folder = shared_data / "buildings"
    source = GeoTiffScenes(
        images=str(folder / "sample_geotiff.tif"),
        labels=str(folder / "geotiff_labels.geojson"),
        classes=["building"],
        window_px=128,
    )
    spec = source.prepare(tmp_path)
    assert [item.name for item in spec.classes] == ["background", "building"]
    with rasterio.open(folder / "sample_geotiff.tif") as opened:
        pixels = opened.read(1)
    windows = source.split("val")
    masks = [windows[i].mask for i in range(len(windows))]
    counted = sum(int((mask != IGNORE_INDEX).sum()) for mask in masks)
    assert counted + sum(spec.class_pixels) == (pixels != 0).sum()
    for index in range(4):
        sample = source.split("train")[index]
        _, _, left, _, _, top = sample.georeference.transform
        _, _, west, _, _, north = source._scenes[0].reader.info.georeference.transform
        col, row = round((left - west) / 0.5), round((north - top) / 0.5)
        np.testing.assert_array_equal(sample.image[0], pixels[row : row + 128, col : col + 128])


def test_a_scene_smaller_than_a_window_is_used_whole(tmp_path):
    path = write(tmp_path / "small.tif", noise(20, 24, count=1))
    boxes = [box(c, r, c + 4, r + 4) for r in (1, 11) for c in (1, 9, 17)]
    labels = layer(tmp_path / "a.gpkg", boxes, kind=["a", "b"] * 3)
    source = scenes(path, labels, tmp_path, window_px=32, split={"block_px": 6})
    for name in ("train", "val"):
        sample = source.split(name)[0]
        assert sample.image.shape == (1, 32, 32) and sample.valid.sum() == 20 * 24
    counts = [(source.split("val")[i].mask != 255).sum() for i in range(len(source.split("val")))]
    assert sum(counts) + sum(source.spec.class_pixels) == 6 * 16


def test_labels_on_nodata_alone_are_an_error(data, tmp_path):
    boxes, kinds = squares(HEIGHT, WIDTH)
    labels = layer(tmp_path / "a.gpkg", [*boxes, box(3, 2, 9, 6)], kind=[*kinds, "lost"])
    with pytest.raises(DataError, match="no training pixel of class lost"):
        scenes(data[0], labels, tmp_path)


def test_windows_an_epoch_cover_the_training_labels(data, tmp_path):
    source = scenes(*data, tmp_path, windows_per_epoch="auto")
    assert len(source.split("train")) == 64
    assert len(scenes(*data, tmp_path).split("train")) == 24


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"dataset\.images: no scenes given"),
        ({"images": "scene.tif"}, r"dataset\.labels: no labels given"),
        ({"images": "none.tif", "labels": "a.gpkg"}, r"none\.tif: there is no such file"),
    ],
)
def test_what_is_not_given_is_an_error(tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        GeoTiffScenes(**options).prepare(tmp_path)


def test_labels_without_a_crs_are_an_error(data, tmp_path):
    boxes, kinds = squares(HEIGHT, WIDTH)
    labels = layer(tmp_path / "a.shp", boxes, kind=kinds, crs=None)
    with pytest.raises(MissingCRSError, match=r"a\.shp has no CRS"):
        scenes(data[0], labels, tmp_path)


def test_a_log_says_the_classes_and_their_pixels(data, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "geomm"):
        scenes(*data, tmp_path)
    assert "1 scenes, 2 bands of uint16, 2 classes" in caplog.text and "px train" in caplog.text
