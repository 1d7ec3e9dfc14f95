import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomm.datasets.blocks import SPLITS, scan_scene
from geomm.datasets.maps.labels import make_table, open_labels
from geomm.datasets.maps.windows import BlockWindows, RandomWindows, Scene, place
from geomm.io.raster import RasterReader
from geomm.transforms.compose import Compose
from tests.datasets.common import IGNORE_INDEX, positions, write


def make_scene(folder, height, width, *, size, seed=0, splits=None, nodata_rows=0):
    """A scene of row and column numbers, whose label raster holds two classes and gaps."""
    rng = np.random.default_rng(seed)
    pixels = positions(height, width)
    pixels[:, :nodata_rows] = 0
    reader = RasterReader(write(folder / f"scene{seed}.tif", pixels, nodata=0))
    cover = rng.choice([0, 1, 2], (height, width), p=[0.5, 0.47, 0.03]).astype(np.uint8)
    path = write(folder / f"cover{seed}.tif", cover)
    labels = open_labels(str(path), reader.info, label_field=None, all_touched=False)
    make_table([labels], [0, 1, 2], classes=None, background=False)
    scan = scan_scene(reader, labels, bands=[1, 2], size=size, seed=seed)
    if splits is None:
        splits = rng.integers(0, 3, len(scan.valid))
    return Scene(reader, labels, scan, np.asarray(splits, np.int8)), cover


def split_of_pixels(scene, height, width):
    size = scene.scan.size
    rows, cols = np.mgrid[:height, :width] // size
    return scene.splits[rows * scene.scan.cols + cols]


def places(sample):
    """Rows and columns of a scene that the labelled pixels of a sample come from."""
    rows, cols = sample.image.astype(int) - 1
    seen = sample.mask != IGNORE_INDEX
    return rows[seen], cols[seen]


def drawn(scene, **options):
    options = {"window_px": 16, "count": 50, "balance": 0.5, "seed": 0, **options}
    scenes = scene if isinstance(scene, list) else [scene]
    return RandomWindows(scenes, bands=(1, 2), finish=Compose({}), **options)


def block_windows(scene, **options):
    return BlockWindows([scene], bands=(1, 2), finish=Compose({}), seed=0, **options)


@given(
    start=st.floats(-50, 200),
    window=st.integers(1, 60),
    length=st.integers(1, 150),
    step=st.integers(1, 5),
    offset=st.integers(-7, 7),
)
def test_a_window_begins_on_the_grid_of_steps_and_in_the_scene_where_it_can(
    start, window, length, step, offset
):
    begin = place(start, window, length, step, offset)
    assert (begin - offset) % step == 0
    if length >= window + step:
        assert 0 <= begin <= length - window
        assert abs(begin - np.clip(start, 0, length - window)) <= step


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    height=st.integers(5, 90),
    width=st.integers(5, 90),
    size=st.integers(4, 40),
    window=st.integers(3, 48),
    seed=st.integers(0, 9),
)
def test_every_labelled_pixel_of_a_split_is_in_exactly_one_window(
    tmp_path_factory, height, width, size, window, seed
):
    folder = tmp_path_factory.mktemp("scene")
    scene, cover = make_scene(folder, height, width, size=size, seed=seed, nodata_rows=3)
    owners = split_of_pixels(scene, height, width)
    for number in (1, 2):
        counted = np.zeros((height, width), int)
        windows = block_windows(scene, window_px=window, split=SPLITS[number])
        for index in range(len(windows)):
            sample = windows[index]
            assert sample.image.shape == (2, window, window)
            rows, cols = places(sample)
            np.add.at(counted, (rows, cols), 1)
            mask = sample.mask[sample.mask != IGNORE_INDEX]
            np.testing.assert_array_equal(mask, cover[rows, cols] - 1)
        labelled = (cover > 0) & (np.arange(height)[:, None] >= 3) & (owners == number)
        np.testing.assert_array_equal(counted, labelled.astype(int))


def test_no_labelled_pixel_of_another_split_is_trained_on(tmp_path):
    scene, cover = make_scene(tmp_path, 120, 100, size=20)
    owners = split_of_pixels(scene, 120, 100)
    trained = np.zeros((120, 100), bool)
    windows = drawn(scene, count=200)
    for index in range(len(windows)):
        sample = windows[index]
        rows, cols = places(sample)
        assert (owners[rows, cols] == 0).all()
        np.testing.assert_array_equal(sample.mask[sample.mask != IGNORE_INDEX], cover[rows, cols] - 1)
        trained[rows, cols] = True
    assert trained.sum() > 0.95 * ((owners == 0) & (cover > 0)).sum()


def test_a_window_depends_on_seed_and_index_alone(tmp_path):
    scene, _ = make_scene(tmp_path, 80, 80, size=20)
    one, two = drawn(scene), pickle.loads(pickle.dumps(drawn(scene)))
    for index in (3, 0, 7, 3, 1000):
        first, second = one[index], two[index]
        np.testing.assert_array_equal(first.image, second.image)
        np.testing.assert_array_equal(first.mask, second.mask)
        assert first.name == second.name and first.georeference == second.georeference
    assert {one[i].name for i in range(20)} != {drawn(scene, seed=1)[i].name for i in range(20)}
    assert len({one[i].name for i in range(20)}) > 10


@pytest.mark.parametrize(("balance", "low", "high"), [(0.0, 0.0, 0.75), (1.0, 0.75, 1.0)])
def test_balance_is_how_often_windows_are_drawn_by_class(tmp_path, balance, low, high):
    """With windows of 5 pixels, the rare class is in few of those that are drawn anywhere."""
    scene, _ = make_scene(tmp_path, 120, 120, size=20, splits=[0] * 36)
    windows = drawn(scene, window_px=5, count=300, balance=balance)
    share = np.mean([(windows[i].mask == 1).any() for i in range(300)])
    assert low <= share <= high


def test_classes_are_drawn_evenly_however_rare(tmp_path, monkeypatch):
    scene, cover = make_scene(tmp_path, 120, 120, size=20, splits=[0] * 36)
    windows = drawn(scene, balance=1.0)
    kinds = []
    for index in range(600):
        _, row, col = windows._around_class(np.random.default_rng(index))
        kinds.append(int(cover[row, col]))
    counts = np.bincount(kinds, minlength=3)
    assert counts[0] == 0 and abs(counts[1] - 300) < 60


def test_scenes_are_drawn_by_their_share_of_labels(tmp_path):
    large, _ = make_scene(tmp_path, 120, 120, size=20, seed=0, splits=[0] * 36)
    small, _ = make_scene(tmp_path, 40, 40, size=20, seed=1, splits=[0] * 4)
    windows = drawn([large, small], balance=0.0)
    names = [windows[i].name for i in range(300)]
    assert 0.03 < np.mean(["scene1" in name for name in names]) < 0.2


def test_a_scene_smaller_than_a_window_lies_in_its_middle(tmp_path):
    scene, cover = make_scene(tmp_path, 10, 12, size=12, splits=[0])
    sample = drawn(scene, window_px=32)[0]
    assert sample.image.shape == (2, 32, 32) and sample.valid.sum() == 120
    np.testing.assert_array_equal(sample.valid[11:21, 10:22], np.ones((10, 12), bool))
    assert (sample.mask != IGNORE_INDEX).sum() == (cover > 0).sum()


def test_invalid_pixels_are_unlabelled(tmp_path):
    scene, _ = make_scene(tmp_path, 60, 60, size=20, splits=[0] * 9, nodata_rows=25)
    windows = drawn(scene)
    for index in range(30):
        sample = windows[index]
        assert (sample.mask[~sample.valid] == IGNORE_INDEX).all()


def test_the_georeference_of_a_window_is_that_of_its_corner(tmp_path):
    scene, _ = make_scene(tmp_path, 60, 60, size=20, splits=[0] * 9)
    sample = drawn(scene)[5]
    row, col = (int(n) - 1 for n in sample.image[:, 0, 0])
    assert sample.georeference == scene.reader.info.georeference.shifted(col, row)
    assert f"[{col}, {row}]" in sample.name


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.floats(-500, 500), st.integers(1, 64), st.integers(1, 200))
def test_windows_stay_inside_a_scene_or_around_it(start, window, length):
    first = place(start, window, length)
    if length >= window:
        assert 0 <= first <= length - window
    else:
        assert first <= 0 and first + window >= length


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_split_without_blocks_has_no_windows(tmp_path, split):
    scene, _ = make_scene(tmp_path, 60, 60, size=20, splits=[0] * 9)
    assert len(block_windows(scene, window_px=16, split=split)) == 0


def test_validation_windows_are_the_same_each_epoch(tmp_path):
    scene, _ = make_scene(tmp_path, 60, 60, size=20, splits=[1] * 9)
    windows = block_windows(scene, window_px=16, split="val")
    for index in range(len(windows)):
        again = windows[index + len(windows)]
        np.testing.assert_array_equal(windows[index].mask, again.mask)
