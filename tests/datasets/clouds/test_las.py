"""Folders of clouds: classes, splits that do not leak, samples that follow from their number."""

import numpy as np
import pytest
import torch

from geomm.datasets.clouds.asprs import asprs_classes
from geomm.datasets.clouds.las import LasClouds
from geomm.datasets.clouds.store import open_store
from geomm.errors import ConfigError, DataError
from geomm.points import PointSpec
from geomm.structures import IGNORE_INDEX
from tests.io.clouds import town, write_cloud


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("towns")
    for number in range(2):
        xyz, codes = town(number)
        codes[::50] = 1
        write_cloud(place / f"town_{number}.laz", xyz + [100 * number, 0, 0], codes=codes)
    return place


def source_of(folder, cache, **options):
    given = {"root": str(folder), "block_m": 12.0, "block_points": 400, "split": {"by": "block", "val": 0.3}}
    source = LasClouds(**{**given, **options})
    return source, source.prepare(cache)


def test_a_spec_says_what_the_data_is_and_survives_json(folder, tmp_path):
    source, spec = source_of(folder, tmp_path)
    assert [item.name for item in spec.classes] == ["ground", "high_vegetation", "building"]
    assert [item.value for item in spec.classes] == [2, 5, 6]
    assert spec.features == ("intensity", "return_number", "number_of_returns", "height_above_ground")
    assert spec.points_per_m2 == pytest.approx(6, rel=0.15)
    assert PointSpec.from_dict(spec.to_dict()) == spec
    heights = spec.statistics.max[3]
    assert 6 < heights < 11
    assert len(source.split("test")) == 0


def test_splits_share_no_labelled_point(folder, tmp_path):
    source, spec = source_of(folder, tmp_path)
    seen = {"train": set(), "val": set()}
    for name, found in seen.items():
        data = source.split(name)
        for index in range(max(len(data), 60) if name == "train" else len(data)):
            sample = data[index]
            labelled = sample.labels != IGNORE_INDEX
            found |= {(sample.name.split(" ")[0], int(n)) for n in sample.numbers[labelled]}
    assert seen["train"] and seen["val"]
    assert not seen["train"] & seen["val"]
    total = sum(spec.class_points) + len(seen["val"])
    assert total == sum((town(i)[1][np.arange(9600) % 50 != 0] > 0).sum() for i in range(2))


def test_every_labelled_validation_point_comes_once(folder, tmp_path):
    source, _ = source_of(folder, tmp_path)
    data = source.split("val")
    numbers = []
    for index in range(len(data)):
        sample = data[index]
        assert 0 < len(sample) <= 400
        numbers += [(sample.name.split(" ")[0], int(n)) for n in sample.numbers]
    assert len(numbers) == len(set(numbers))


def test_a_sample_follows_from_its_number(folder, tmp_path):
    options = {"augment": {"turn": {"type": "RandomTurn"}, "drop": {"type": "PointDropout"}}}
    first, again = (source_of(folder, tmp_path, **options)[0].split("train") for _ in range(2))
    other = source_of(folder, tmp_path, seed=1, **options)[0].split("train")
    for index in (0, 7, 1000):
        np.testing.assert_array_equal(first[index].xyz, again[index].xyz)
        assert not np.array_equal(first[index].xyz, other[index].xyz)
    assert len(first[0]) != len(first[1]) or not np.array_equal(first[0].xyz, first[1].xyz)


def test_files_are_split_whole_and_kept_for_a_split(folder, tmp_path):
    one, two = sorted(folder.glob("*.laz"))
    source, _ = source_of(str(one), tmp_path, val=str(two), features=["intensity"])
    names = {source.split("val")[i].name.split(" ")[0] for i in range(len(source.split("val")))}
    assert names == {two.name}
    by_file, _ = source_of(folder, tmp_path, split={"by": "file", "val": 0.5})
    names = {by_file.split("val")[i].name.split(" ")[0] for i in range(len(by_file.split("val")))}
    assert len(names) == 1


def test_codes_are_grouped_and_ignored(folder, tmp_path):
    _, spec = source_of(folder, tmp_path, classes={2: "ground", 5: "object", 6: "object"})
    assert spec.codes == {2: 0, 5: 1, 6: 1} and spec.num_classes == 2
    _, spec = source_of(folder, tmp_path, ignore=[5])
    assert [item.value for item in spec.classes] == [2, 6]


def test_rgb_and_returns_are_spelled_out(folder, tmp_path):
    source, spec = source_of(folder, tmp_path, features=["rgb", "returns", "red"])
    assert spec.features == ("red", "green", "blue", "return_number", "number_of_returns")
    assert source.split("train")[0].features.shape[1] == 5


def test_a_cache_is_used_again_and_a_change_seen(folder, tmp_path):
    source_of(folder, tmp_path)
    stores = sorted(tmp_path.glob("cloud_*"))
    source_of(folder, tmp_path)
    assert sorted(tmp_path.glob("cloud_*")) == stores
    source_of(folder, tmp_path, features=["intensity"])
    assert len(list(tmp_path.glob("cloud_*"))) == 2 * len(stores)


def test_loader_workers_read_the_same_samples(folder, tmp_path):
    data = source_of(folder, tmp_path)[0].split("train")
    loader = torch.utils.data.DataLoader(data, batch_size=None, sampler=[0, 3], num_workers=1)
    for index, sample in zip((0, 3), loader, strict=True):
        np.testing.assert_array_equal(sample.xyz, data[index].xyz)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"classes": {40: "sea"}}, r"hold classification codes \[1, 2, 5, 6\], none of"),
        ({"classes": ["a", "b"]}, "2 names for 3 codes"),
        ({"classes": {2: "ground"}}, "'ground' alone cannot be told from anything"),
        ({"classes": {2: "ground", 9: "water"}}, "no training point of class 'water'"),
        ({"features": ["nir"]}, "has no dimension 'nir'"),
        ({"features": ["height_above_grond"]}, "did you mean 'height_above_ground'"),
        ({"features": ["planarity"]}, "did you mean 'planarity_1m'"),
    ],
)
def test_mistakes_are_named(folder, tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        source_of(folder, tmp_path, **options)


@pytest.mark.parametrize("name", ["classification", "Z"])
def test_labels_and_coordinates_are_no_features(name):
    with pytest.raises(ConfigError, match=f"dataset.features: '{name}' is .*; leave it out"):
        LasClouds(root="a.laz", features=name)


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"classes": {"ground": 2}},
            "dataset.classes: found 'ground', expected a classification code",
        ),
        ({"classes": {300: "ground"}}, "dataset.classes: found 300"),
        ({"ignore": ["building"]}, "dataset.ignore: found 'building'"),
        ({"ignore": -1}, "dataset.ignore: found -1"),
    ],
)
def test_what_is_no_code_is_named(options, message):
    with pytest.raises(ConfigError, match=message):
        LasClouds(root="a.laz", **options)


def test_classes_have_the_colours_of_their_codes(folder, tmp_path):
    _, spec = source_of(folder, tmp_path, classes={2: "soil", 6: "roof", 1: "rest"})
    soil, roof, rest = (item.color for item in spec.classes)
    assert soil == asprs_classes(["ground"], [2])[0].color and roof[0] > 2 * max(roof[1:])
    assert len({soil, roof, rest}) == 3


def test_heights_in_feet_become_metres(tmp_path):
    xyz, codes = town(edge=20)
    feet = xyz * [1, 1, 1 / 0.3048006096]
    for name, points, crs in (("m", xyz, "EPSG:26910+5703"), ("ft", feet, "EPSG:26910+6360")):
        write_cloud(tmp_path / f"{name}.laz", points, codes=codes, crs=crs, point_format=6)
    metres, other = (
        open_store(str(tmp_path / f"{name}.laz"), ["height_above_ground"], tmp_path, cell_m=2.0)
        for name in ("m", "ft")
    )
    np.testing.assert_allclose(other.features, metres.features, atol=0.01)


def test_mixed_crs_and_damaged_files_are_named_or_left_out(tmp_path):
    xyz, codes = town()
    write_cloud(tmp_path / "in_a.laz", xyz, codes=codes)
    write_cloud(tmp_path / "in_b.laz", xyz, codes=codes, crs="EPSG:25832")
    with pytest.raises(DataError, match="reproject"):
        source_of(tmp_path, tmp_path / "cache")
    whole = (tmp_path / "in_a.laz").read_bytes()
    (tmp_path / "in_b.laz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"in_b.laz"):
        source_of(tmp_path, tmp_path / "cache")
    _, spec = source_of(tmp_path, tmp_path / "cache", on_error="skip")
    assert spec.num_classes == 3


def test_values_that_are_no_numbers_are_named(tmp_path):
    import laspy

    xyz, codes = town()
    path = write_cloud(tmp_path / "a.laz", xyz, codes=codes, extra={"quality": "f4"})
    cloud = laspy.read(path)
    values = np.ones(len(xyz), np.float32)
    values[5] = np.nan
    cloud["quality"] = values
    cloud.write(str(path))
    with pytest.raises(DataError, match="quality holds values that are no numbers"):
        source_of(path, tmp_path / "cache", features=["quality"])


def test_wrong_bounds_in_a_header_do_not_move_the_points(tmp_path):
    xyz, codes = town()
    path = write_cloud(tmp_path / "town.las", xyz, codes=codes, point_format=6)
    right = open_store(str(path), ["intensity"], tmp_path / "a", cell_m=2.0)
    data = bytearray(path.read_bytes())
    data[179:227] = bytes(48)  # all bounds zero, as some programs leave them
    path.write_bytes(data)
    left = open_store(str(path), ["intensity"], tmp_path / "b", cell_m=2.0)
    assert (left.rows, left.cols, left.origin) == (right.rows, right.cols, right.origin)
    np.testing.assert_array_equal(left.xyz, right.xyz)
