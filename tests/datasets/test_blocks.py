import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import box

from geomm.datasets import blocks
from geomm.datasets.blocks import (
    BlockScan,
    assign_blocks,
    block_size,
    scan_key,
    scan_scene,
)
from geomm.datasets.maps.labels import make_table, open_labels
from geomm.errors import DataError
from geomm.io.raster import RasterReader
from tests.datasets.common import layer, write

steady = settings(max_examples=60, deadline=None, derandomize=True)


def shares(val, test):
    return {"val": val, "test": test, "seed": None}


@pytest.fixture
def scene(tmp_path):
    """A scene of 70 x 90 pixels with nodata, and a label raster with two classes."""
    rng = np.random.default_rng(4)
    pixels = rng.integers(1, 4000, (2, 70, 90)).astype(np.uint16)
    pixels[:, :10] = 0
    cover = rng.choice([0, 3, 8], (70, 90), p=[0.5, 0.3, 0.2]).astype(np.uint8)
    reader = RasterReader(write(tmp_path / "scene.tif", pixels, nodata=0))
    path = write(tmp_path / "cover.tif", cover)
    labels = open_labels(str(path), reader.info, label_field=None, all_touched=False)
    make_table([labels], [0, 3, 8], classes=None, background="auto")
    return reader, labels, pixels, cover


@steady
@given(st.integers(1, 40_000), st.integers(1, 40_000), st.integers(1, 2048))
def test_blocks_are_from_half_a_window_to_eight_windows(width, height, window):
    size = block_size(width, height, window)
    assert max(window // 2, 1) <= size <= 8 * window


@pytest.mark.parametrize("size", [16, 33, 200])
def test_a_scan_counts_every_valid_pixel_and_every_label(scene, size):
    reader, labels, pixels, cover = scene
    scan = scan_scene(reader, labels, bands=[1, 2], size=size, seed=0)
    seen = (pixels != 0).any(0)
    for block in range(scan.rows * scan.cols):
        where = scan.window(block, 90, 70).slices
        assert scan.valid[block] == seen[where].sum()
        for kind, value in enumerate((3, 8)):
            assert scan.classes[block, kind] == (seen[where] & (cover[where] == value)).sum()
        if seen[where].any():
            inside = pixels[:, where[0], where[1]][:, seen[where]].astype(float)
            expected = [inside.mean(1), inside.var(1) * inside.shape[1]]
            np.testing.assert_allclose(scan.moments[block, 1:3], expected)


def test_anchors_are_labelled_pixels_of_their_class_and_block(scene):
    reader, labels, pixels, cover = scene
    scan = scan_scene(reader, labels, bands=[1], size=30, seed=0)
    for block in range(scan.rows * scan.cols):
        window = scan.window(block, 90, 70)
        for kind, value in enumerate((3, 8)):
            anchors = scan.anchors[block, kind]
            anchors = anchors[anchors[:, 0] >= 0]
            assert len(anchors) == min(scan.classes[block, kind], scan.anchors.shape[2])
            assert len(np.unique(anchors, axis=0)) == len(anchors)
            for row, col in anchors:
                assert cover[row, col] == value and pixels[0, row, col] != 0
                assert 0 <= row - window.row < window.height
                assert 0 <= col - window.col < window.width


@pytest.mark.parametrize("values", [1, 700, 1500])
def test_a_block_scanned_in_strips_is_scanned_the_same(scene, monkeypatch, values):
    reader, labels, *_ = scene
    whole = scan_scene(reader, labels, bands=[1, 2], size=45, seed=0)
    monkeypatch.setattr(blocks, "_STRIP_VALUES", values)
    parts = scan_scene(reader, labels, bands=[1, 2], size=45, seed=0)
    np.testing.assert_array_equal(parts.valid, whole.valid)
    np.testing.assert_array_equal(parts.classes, whole.classes)
    np.testing.assert_allclose(parts.moments, whole.moments)
    for block, kind in np.ndindex(parts.classes.shape):
        anchors = parts.anchors[block, kind]
        anchors = anchors[anchors[:, 0] >= 0]
        assert len(anchors) == min(parts.classes[block, kind], parts.anchors.shape[2])
        assert len(np.unique(anchors, axis=0)) == len(anchors)


def test_anchors_come_from_all_over_a_block(scene, monkeypatch):
    reader, labels, *_ = scene
    monkeypatch.setattr(blocks, "_STRIP_VALUES", 300)
    rows = np.concatenate(
        [scan_scene(reader, labels, bands=[1], size=90, seed=seed).anchors[0, 0, :, 0] for seed in range(12)]
    )
    assert rows.min() >= 10 and abs(rows.mean() - 39.5) < 4


def test_a_huge_scene_is_looked_at_in_part(scene, monkeypatch):
    reader, labels, _, _ = scene
    whole = scan_scene(reader, labels, bands=[1], size=35, seed=0)
    monkeypatch.setattr("geomm.datasets.blocks._MOST_PIXELS", 70 * 90 // 4)
    part = scan_scene(reader, labels, bands=[1], size=35, seed=0)
    assert part.valid.sum() < whole.valid.sum() / 3
    assert ((part.classes > 0) <= (whole.classes > 0)).all()


def test_a_scan_is_read_back_as_it_was_saved(scene, tmp_path):
    reader, labels, _, _ = scene
    scan = scan_scene(reader, labels, bands=[1, 2], size=30, seed=0)
    scan.save(tmp_path / "new" / "scan.npz")
    again = BlockScan.load(tmp_path / "new" / "scan.npz")
    assert (again.size, again.rows, again.cols) == (scan.size, scan.rows, scan.cols)
    for name in ("valid", "classes", "anchors", "moments"):
        np.testing.assert_array_equal(getattr(again, name), getattr(scan, name))
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["scan.npz"]


def test_the_key_of_a_scan_changes_with_all_that_the_scan_depends_on(scene, tmp_path):
    reader, labels, _, cover = scene
    keys = [scan_key(reader, labels, [[1], 30])]
    assert scan_key(reader, labels, [[1], 30]) == keys[0]
    keys.append(scan_key(reader, labels, [[2], 30]))
    for classes in ({3: "a", 8: "b"}, {8: "b", 3: "a"}, {3: "b", 8: "a"}):
        make_table([labels], [0, 3, 8], classes=classes, background="auto")
        keys.append(scan_key(reader, labels, [[1], 30]))
    grouped = ({3: "a", 8: "b", 9: "b"}, {3: "a", 8: "b", 9: "a"})
    for classes in grouped:
        make_table([labels], [0, 3, 8, 9], classes=classes, background="auto")
        keys.append(scan_key(reader, labels, [[1], 30]))
    make_table([labels], [0, 3, 8], classes=None, background=True)
    keys.append(scan_key(reader, labels, [[1], 30]))
    write(tmp_path / "cover.tif", cover, compress="lzw")
    keys.append(scan_key(reader, labels, [[1], 30]))
    assert len(set(keys)) == len(keys)


def test_the_key_of_a_scan_changes_with_any_part_of_a_shapefile(scene, tmp_path):
    reader = scene[0]
    path = layer(tmp_path / "a.shp", [box(2, 2, 9, 9), box(20, 20, 30, 30)], kind=["a", "b"])
    keys = []
    for names in (["a", "b"], ["longer", "b"]):
        layer(path, [box(2, 2, 9, 9), box(20, 20, 30, 30)], kind=names)
        labels = open_labels(str(path), reader.info, label_field="kind", all_touched=False)
        make_table([labels], [], classes={"a": "a", "longer": "a", "b": "b"}, background="auto")
        keys.append(scan_key(reader, labels, []))
    assert keys[0] != keys[1]


@steady
@given(
    seed=st.integers(0, 99),
    kinds=st.integers(1, 5),
    val=st.sampled_from([0.1, 0.2, 0.3]),
    test=st.sampled_from([0.0, 0.1, 0.2]),
)
def test_every_split_gets_its_share_of_every_class(seed, kinds, val, test):
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 200, (80, kinds)) * (rng.random((80, kinds)) < 0.6)
    splits = assign_blocks(classes, shares(val, test), seed=seed)
    got = np.array([classes[splits == index].sum(0) for index in range(3)]) / classes.sum(0)
    assert np.abs(got - np.array([[1 - val - test], [val], [test]])).max() < 0.12
    assert ((splits == -1) == (classes.sum(1) == 0)).all()


@steady
@given(seed=st.integers(0, 99), count=st.integers(3, 8))
def test_every_split_gets_a_block_where_there_are_few(seed, count):
    classes = np.random.default_rng(seed).integers(1, 1000, (count, 2))
    splits = assign_blocks(classes, shares(0.05, 0.05), seed=seed)
    assert set(splits.tolist()) == {0, 1, 2}


def test_a_rare_class_is_in_training_and_validation():
    classes = np.zeros((40, 2), np.int64)
    classes[:, 0], classes[[3, 30], 1] = 100, 5
    splits = assign_blocks(classes, shares(0.2, 0.0), seed=0)
    assert sorted(splits[[3, 30]].tolist()) == [0, 1]


def test_splits_depend_on_the_seed_alone():
    classes = np.full((50, 1), 10)
    same = [assign_blocks(classes, shares(0.2, 0.1), seed=s).tolist() for s in (1, 1, 2)]
    assert same[0] == same[1] != same[2]


def test_a_split_of_nothing_gets_nothing():
    splits = assign_blocks(np.full((50, 1), 10), shares(0.0, 0.0), seed=0)
    assert (splits == 0).all()


def test_shares_that_leave_nothing_to_train_on_are_an_error():
    with pytest.raises(DataError, match="leave nothing to train on"):
        assign_blocks(np.full((50, 1), 10), shares(0.6, 0.4), seed=0)


def test_too_few_labelled_blocks_are_an_error_that_says_what_to_do():
    classes = np.array([[10], [0], [0]])
    with pytest.raises(DataError, match=r"1 blocks.*2 are needed.*block_px"):
        assign_blocks(classes, shares(0.2, 0.0), seed=0)
