import json
import logging
import shutil

import numpy as np
import pytest
from shapely import box

from geomm.datasets.chips import Chips
from geomm.errors import DataError
from tests.datasets.common import GSD, IGNORE_INDEX, grid, write
from tests.io.common import LEFT, TOP

SIZE = 16
CLASSES = [
    {"Value": 1, "Name": "water", "Color": [0, 0, 255]},
    {"Value": 2, "Name": "forest", "Color": [-1, -1, -1]},
]


def chip_of(number, *, size=SIZE, bands=3):
    """A chip of which each pixel value says the chip, and its label of 0, 1 and 2."""
    rng = np.random.default_rng(number)
    image = rng.integers(0, 50, (bands, size, size)).astype(np.uint8) + np.uint8(number)
    return image, rng.choice([0, 1, 2], (size, size), p=[0.4, 0.4, 0.2]).astype(np.uint8)


def export(root, count=20, *, step=SIZE, sidecars=True, crs="EPSG:32616"):
    """Write an export whose chips lie side by side, ``step`` pixels apart."""
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True)
    lines = []
    for number in range(count):
        name, place = f"{number:09d}.tif", grid((number % 5) * step, (number // 5) * step)
        image, label = chip_of(number)
        write(root / "images" / name, image, transform=place, crs=crs)
        write(root / "labels" / name, label, transform=place, crs=crs)
        lines.append(f"images\\{name}  labels\\{name} \r\n")
    (root / "map.txt").write_text("".join(lines), newline="")
    if sidecars:
        definition = {"Classes": CLASSES, "ImageSpaceUsed": "MAP_SPACE", "ImageHeight": "e.g. 256"}
        (root / "esri_model_definition.emd").write_text(json.dumps(definition))
        statistics = {"MetaDataMode": "Classified_Tiles", "MinCellSize": {"x": 0.5, "y": 0.5}}
        (root / "esri_accumulated_stats.json").write_text(json.dumps(statistics))
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return export(tmp_path_factory.mktemp("export"))


@pytest.fixture
def copy(made, tmp_path):
    """An export of the same chips, to be damaged."""
    return shutil.copytree(made, tmp_path / "copy")


def prepared(root, **options):
    source = Chips(root=str(root), **options)
    source.prepare(None)
    return source


def numbers_of(source, split):
    return [int(chip.image[-13:-4]) for chip in source.split(split).chips]


def everything(source):
    return [n for split in ("train", "val", "test") for n in numbers_of(source, split)]


def test_the_spec_says_what_the_export_is(made):
    spec = prepared(made).spec
    assert [(c.value, c.name) for c in spec.classes] == [(1, "water"), (2, "forest")]
    assert spec.classes[0].color == (0, 0, 255) and min(spec.classes[1].color) >= 0
    assert (spec.bands, spec.window_px, spec.gsd) == ((1, 2, 3), SIZE, 0.5)
    assert spec.dtype == "uint8" and spec.background is None and spec.map_space


def test_every_chip_is_in_one_split(made):
    source = prepared(made, split={"val": 0.3, "test": 0.2})
    assert sorted(everything(source)) == list(range(20))
    assert all(numbers_of(source, split) for split in ("train", "val", "test"))
    val = sum((chip_of(n)[1] > 0).sum() for n in numbers_of(source, "val"))
    assert abs(val / sum((chip_of(n)[1] > 0).sum() for n in range(20)) - 0.3) < 0.08


def test_statistics_and_counts_are_those_of_the_training_chips(made):
    source = prepared(made)
    chips = [chip_of(n) for n in numbers_of(source, "train")]
    pixels = np.concatenate([image.reshape(3, -1) for image, _ in chips], axis=1).astype(float)
    found = source.spec.statistics
    assert found.count == pixels.shape[1]
    np.testing.assert_allclose(found.mean, pixels.mean(1))
    np.testing.assert_allclose(found.std, pixels.std(1))
    np.testing.assert_array_equal(found.max, pixels.max(1))
    counts = [sum(int((label == value).sum()) for _, label in chips) for value in (1, 2)]
    assert list(source.spec.class_pixels) == counts


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_sample_is_a_chip_whose_zeros_are_unlabelled(made, split):
    source = prepared(made)
    for index, number in enumerate(numbers_of(source, split)):
        sample, (image, label) = source.split(split)[index], chip_of(number)
        np.testing.assert_array_equal(sample.image, image)
        expected = np.where(label == 0, IGNORE_INDEX, label - 1)
        np.testing.assert_array_equal(sample.mask, expected)
        assert sample.valid.all() and sample.name.endswith(f"{number:09d}.tif")


def test_zero_is_background_where_asked(made):
    source = prepared(made, background=True)
    assert [item.name for item in source.spec.classes] == ["background", "water", "forest"]
    number = numbers_of(source, "train")[0]
    np.testing.assert_array_equal(source.split("train")[0].mask, chip_of(number)[1])


def test_without_side_files_the_values_are_the_classes(tmp_path):
    source = prepared(export(tmp_path, sidecars=False))
    assert [item.name for item in source.spec.classes] == ["class_1", "class_2"]
    assert prepared(tmp_path, classes=["a", "b"]).spec.classes[1].name == "b"
    assert prepared(tmp_path, classes={1: "x", 2: "y"}).spec.classes[0].name == "x"


def test_a_value_that_the_export_does_not_name_is_an_error(copy):
    (copy / "esri_model_definition.emd").write_text(json.dumps({"Classes": CLASSES[:1]}))
    with pytest.raises(DataError, match=r"values \[2\].*does not name"):
        prepared(copy)


def test_a_class_of_the_export_without_a_pixel_is_left_out(copy, caplog):
    more = [*CLASSES, {"Value": 9, "Name": "ice"}]
    (copy / "esri_model_definition.emd").write_text(json.dumps({"Classes": more}))
    with caplog.at_level(logging.WARNING, "geomm"):
        source = prepared(copy)
    assert len(source.spec.classes) == 2 and "no pixel of class ice" in caplog.text


@pytest.mark.parametrize("window", [9, 16, 23])
def test_chips_are_cropped_or_padded_around_their_middle(made, window):
    source = prepared(made, window_px=window)
    sample, (image, label) = source.split("train")[0], chip_of(numbers_of(source, "train")[0])
    first = -((window - SIZE) // 2)
    assert sample.image.shape == (3, window, window)
    rows, cols = np.argwhere(sample.valid).T
    assert len(rows) == min(window, SIZE) ** 2
    at = rows + first, cols + first
    np.testing.assert_array_equal(sample.image[:, rows, cols], image[:, at[0], at[1]])
    expected = np.where(label[at] == 0, IGNORE_INDEX, label[at] - 1)
    np.testing.assert_array_equal(sample.mask[rows, cols], expected)
    assert (sample.mask[~sample.valid] == IGNORE_INDEX).all()


def test_the_window_is_as_large_as_the_largest_chip(copy):
    image, label = chip_of(99, size=24)
    write(copy / "images" / "000000003.tif", image, transform=grid(900, 0))
    write(copy / "labels" / "000000003.tif", label, transform=grid(900, 0))
    source = prepared(copy)
    assert source.spec.window_px == 24
    assert {source.split("train")[i].image.shape for i in range(5)} == {(3, 24, 24)}


def damage(root, kind):
    """Damage chip 7 in some way."""
    image, label = (root / part / "000000007.tif" for part in ("images", "labels"))
    if kind == "missing label":
        label.unlink()
    elif kind == "missing image":
        image.unlink()
    elif kind == "no raster":
        image.write_bytes(b"nothing")
    elif kind == "truncated":
        image.write_bytes(image.read_bytes()[:-300])
    elif kind == "truncated label":
        label.write_bytes(label.read_bytes()[:-100])
    elif kind == "other size":
        write(label, chip_of(7, size=24)[1])
    elif kind in ("fewer bands", "more bands"):
        bands = {"fewer bands": 1, "more bands": 5}[kind]
        write(image, chip_of(7, bands=bands)[0], transform=grid(32, 16))


KINDS = (
    ("missing label", "chip without a label"),
    ("missing image", "label without an image"),
    ("no raster", "cannot be opened"),
    ("truncated", "cannot be read"),
    ("truncated label", "cannot be read"),
    ("other size", "is 24 x 24.*16 x 16"),
    ("fewer bands", r"has 1, .* has 3; choose common ones"),
    ("more bands", r"has 5, .* has 3; choose common ones"),
)


@pytest.mark.parametrize(("kind", "message"), KINDS)
def test_a_chip_that_cannot_be_used_is_an_error_of_one_line(copy, kind, message):
    damage(copy, kind)
    with pytest.raises(DataError, match=f"000000007.tif.*{message}|{message}.*000000007.tif") as e:
        prepared(copy)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS])
def test_a_chip_that_cannot_be_used_is_left_out_where_asked(copy, kind, caplog):
    damage(copy, kind)
    with caplog.at_level(logging.WARNING, "geomm"):
        source = prepared(copy, on_error="skip")
    assert sorted(everything(source)) == [n for n in range(20) if n != 7]
    assert "left out" in caplog.text and "1 of 20 chips left out" in caplog.text
    for split in ("train", "val"):
        for index in range(len(source.split(split))):
            assert source.split(split)[index].image.shape == (3, SIZE, SIZE)


def test_an_export_of_which_no_chip_can_be_used_is_an_error(copy):
    for label in (copy / "labels").iterdir():
        label.unlink()
    with pytest.raises(DataError, match="none of the 20 chips can be used"):
        prepared(copy, on_error="skip")


@pytest.mark.parametrize("seed", range(4))
def test_chips_that_overlap_stay_in_one_split(tmp_path, seed):
    """Pairs of chips that overlap, pairs being far apart."""
    export(tmp_path, 30)
    spots = {}
    for number in range(30):
        col = (number // 2) * 100 + (number % 2) * 6
        spots[number] = box(col, 0, col + SIZE, SIZE)
        image, label = chip_of(number)
        for part, values in (("images", image), ("labels", label)):
            write(tmp_path / part / f"{number:09d}.tif", values, transform=grid(col, 0))
    source = prepared(tmp_path, split={"val": 0.3}, seed=seed)
    train, val = numbers_of(source, "train"), numbers_of(source, "val")
    assert train and val
    assert not any(spots[one].overlaps(spots[two]) for one in train for two in val)


def ground(source, split):
    """The pixels of the map that the masks of a split label, as (column, row)."""
    found = set()
    windows = source.split(split)
    for sample in (windows[i] for i in range(len(windows))):
        _, _, left, _, _, top = sample.georeference.transform
        rows, cols = np.nonzero(sample.mask != IGNORE_INDEX)
        col, row = round((left - LEFT) / GSD), round((TOP - top) / GSD)
        found |= set(zip((cols + col).tolist(), (rows + row).tolist(), strict=True))
    return found


@pytest.mark.parametrize(("step", "seed"), [(SIZE // 2, 0), (SIZE // 2, 1), (SIZE - 3, 2)])
def test_of_chips_in_one_chain_of_overlaps_no_ground_is_in_two_splits(tmp_path, step, seed):
    root = export(tmp_path, 60, step=step)
    source = prepared(root, split={"val": 0.2, "test": 0.2}, seed=seed, background=True)
    places = {name: ground(source, name) for name in ("train", "val", "test")}
    assert all(places.values())
    for one, two in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not places[one] & places[two]
    train = source.split("train")
    counted = sum((train[i].mask != IGNORE_INDEX).sum() for i in range(len(train)))
    assert sum(source.spec.class_pixels) == counted
    everywhere = (4 * step + SIZE) * (11 * step + SIZE)
    assert sum(len(place) for place in places.values()) == everywhere


def test_chips_without_a_place_are_split_one_by_one(tmp_path):
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    for number in range(20):
        image, label = chip_of(number)
        for part, values in (("images", image), ("labels", label)):
            path = tmp_path / part / f"{number:09d}.tif"
            write(path, values, crs=None, transform=grid())
    source = prepared(tmp_path)
    assert sorted(everything(source)) == list(range(20)) and source.spec.crs is None


def test_augmentation_changes_training_chips_only_and_by_index_alone(made):
    augment = {"noise": {"type": "GaussianNoise", "probability": 1.0}}
    one, two = prepared(made, augment=augment), prepared(made, augment=augment)
    length = len(one.split("train"))
    np.testing.assert_array_equal(one.split("train")[3].image, two.split("train")[3].image)
    later = one.split("train")[3 + length]
    assert later.name == one.split("train")[3].name
    assert (later.image != one.split("train")[3].image).any()
    assert one.split("val")[0].image.dtype == np.uint8


@pytest.mark.parametrize(("space", "turns"), [("MAP_SPACE", 1), ("PIXEL_SPACE", 0)])
def test_oblique_chips_are_not_turned(copy, space, turns):
    definition = {"Classes": CLASSES, "ImageSpaceUsed": space}
    (copy / "esri_model_definition.emd").write_text(json.dumps(definition))
    source = prepared(copy, augment={"turn": {"type": "RandomQuarterTurn"}})
    assert source.spec.map_space == bool(turns)
    assert len(source.split("train").augment.transforms) == turns


def test_bands_are_chosen(made):
    source = prepared(made, bands=[3, 1])
    image, _ = chip_of(numbers_of(source, "train")[0])
    np.testing.assert_array_equal(source.split("train")[0].image, image[[2, 0]])


def test_a_split_s_seed_is_the_run_s_unless_given(made):
    chosen = [numbers_of(prepared(made, seed=s, split={"seed": 3}), "val") for s in (0, 1)]
    assert chosen[0] == chosen[1]


def test_an_export_of_boxes_is_refused(copy):
    (copy / "esri_accumulated_stats.json").write_text('{"MetaDataMode": "PASCAL_VOC_rectangles"}')
    with pytest.raises(DataError, match="kind PASCAL_VOC_rectangles"):
        prepared(copy)
