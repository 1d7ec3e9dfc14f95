from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.transform import Affine

from geomm.datasets.overlaps import covered_by_later, group_chips, placed
from geomm.io.raster_info import read_info
from geomm.structures import Georeference, PixelWindow
from tests.datasets.common import GSD, noise, write
from tests.io.common import LEFT, TOP

SIZE = 16


@pytest.fixture(scope="module")
def chip(tmp_path_factory):
    return read_info(write(tmp_path_factory.mktemp("chip") / "a.tif", noise(SIZE, SIZE)))


def at(chip, col, row, *, crs="EPSG:32616", turn=0):
    a = np.deg2rad(turn)
    cos, sin = GSD * np.cos(a), GSD * np.sin(a)
    place = (cos, -sin, LEFT + col * GSD, -sin, -cos, TOP - row * GSD)
    return replace(chip, georeference=Georeference(crs, place))


def test_chips_side_by_side_are_groups_of_their_own(chip):
    groups = group_chips([at(chip, col * SIZE, row * SIZE) for row in range(3) for col in range(4)])
    assert len(set(groups)) == 12


def test_chips_that_share_ground_are_a_group(chip):
    spots = [(0, 0), (40, 0), (8, 8), (80, 0), (120, 0), (48, 0), (160, 0), (200, 0), (240, 0)]
    many = spots + [(x, 400) for x in range(0, 600, 40)]
    groups = group_chips([at(chip, *spot) for spot in many])
    assert groups[0] == groups[2] and groups[1] == groups[5]
    assert len(set(groups)) == len(many) - 2


def test_a_long_chain_is_cut_and_single_chips_stay_whole(chip):
    chain = [at(chip, 8 * number, 0) for number in range(60)]
    alone = [at(chip, 40 * number, 900) for number in range(6)]
    groups = group_chips(chain + alone)
    sizes = np.bincount(groups[:60])
    assert len(set(groups[:60])) > 4 and sizes.max() <= 8
    assert len(set(groups[60:])) == 6 and not set(groups[60:]) & set(groups[:60])


def test_chips_without_a_place_are_told_apart_by_number(chip):
    same = [at(chip, 0, 0, crs=None) for _ in range(5)]
    assert not placed(same) and group_chips(same).tolist() == list(range(5))
    assert covered_by_later(same, np.array([0, 1, 0, 1, 0], np.int8)) == {}


def test_world_files_alone_are_places(chip):
    chips = [at(chip, 8 * number, 0, crs=None) for number in range(2)] + [at(chip, 90, 0, crs=None)]
    assert placed(chips)
    assert covered_by_later(chips, np.array([0, 1, 1], np.int8)) == {0: [PixelWindow(8, 0, 8, 16)]}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=2, max_size=8),
    st.integers(0, 99),
)
def test_no_pixel_is_left_in_an_earlier_split(chip, spots, seed):
    splits = np.random.default_rng(seed).integers(-1, 3, len(spots)).astype(np.int8)
    if len(set(spots)) <= len(spots) // 2:
        return
    hidden = covered_by_later([at(chip, *spot) for spot in spots], splits)
    shown = [set(), set(), set()]
    for number, (col, row) in enumerate(spots):
        if splits[number] < 0:
            assert number not in hidden
            continue
        seen = np.ones((SIZE, SIZE), bool)
        for window in hidden.get(number, []):
            seen[window.slices] = False
        rows, cols = np.nonzero(seen)
        shown[splits[number]] |= set(zip((cols + col).tolist(), (rows + row).tolist(), strict=True))
    assert not shown[0] & shown[1] and not shown[0] & shown[2] and not shown[1] & shown[2]
    everywhere = {
        (c, r)
        for (col, row), split in zip(spots, splits, strict=True)
        if split >= 0
        for c in range(col, col + SIZE)
        for r in range(row, row + SIZE)
    }
    assert shown[0] | shown[1] | shown[2] == everywhere


def outline(info, crs=None):
    """Return a chip's quadrilateral, in another CRS than its own where one is given."""
    place = Affine(*info.georeference.transform)
    corners = [(0, 0), (info.width, 0), (info.width, info.height), (0, info.height)]
    there = np.array([place @ corner for corner in corners])
    if crs is not None:
        move = Transformer.from_crs(info.georeference.crs, crs, always_xy=True)
        there = np.stack(move.transform(*there.T), 1)
    return shapely.Polygon(there)


def hidden_pixels(info, windows):
    mask = np.zeros((info.height, info.width), bool)
    for window in windows:
        assert window.width > 0 and window.height > 0
        mask[window.slices] = True
        assert mask[window.slices].shape == (window.height, window.width)
    return mask


def check_hides_what_is_shown(info, windows, later):
    """A pixel is hidden where a later chip's outline, in this chip's CRS, shows its middle, or near it."""
    mask = hidden_pixels(info, windows)
    cols, rows = np.meshgrid(np.arange(info.width) + 0.5, np.arange(info.height) + 0.5)
    a, b, c, d, e, f = info.georeference.transform
    middles = shapely.points(a * cols + b * rows + c, d * cols + e * rows + f)
    apart_px = shapely.distance(middles, later) / np.hypot(a, d)
    assert not (mask & (apart_px > 1)).any()
    small = 1e-6 * np.hypot(a, d)
    if shapely.area(later.intersection(outline(info))) > np.hypot(a, d) ** 2 * (info.width + info.height):
        assert mask[shapely.contains(later.buffer(-small), middles)].all()


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    st.floats(-30, 30), st.floats(-30, 30), st.floats(0, 360), st.floats(0, 360), st.sampled_from([0.4, 1, 3])
)
def test_turned_chips_hide_what_they_share(chip, col, row, turn, other, scale):
    first = at(chip, 0, 0, turn=turn)
    a, b, c, d, e, f = at(chip, col, row, turn=other).georeference.transform
    place = (a * scale, b * scale, c, d * scale, e * scale, f)
    second = replace(chip, georeference=Georeference("EPSG:32616", place))
    hidden = covered_by_later([first, second], np.array([0, 1], np.int8))
    check_hides_what_is_shown(first, hidden.get(0, []), outline(second))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.floats(0, 360), st.integers(2, 5), st.integers(0, 99))
def test_chips_side_by_side_in_a_turned_grid_share_nothing(chip, turn, across, seed):
    whole = at(chip, 0, 0, turn=turn).georeference
    spots = [(SIZE * col, SIZE * row) for row in range(across) for col in range(across)]
    chips = [replace(chip, georeference=whole.shifted(*spot)) for spot in spots]
    splits = np.random.default_rng(seed).integers(-1, 3, len(chips)).astype(np.int8)
    assert covered_by_later(chips, splits) == {}
    assert len(set(group_chips(chips))) == len(chips)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.floats(0, 360),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=2, max_size=6, unique=True),
)
def test_chips_of_one_turned_grid_hide_whole_pixels(chip, turn, spots):
    whole = at(chip, 0, 0, turn=turn).georeference
    chips = [replace(chip, georeference=whole.shifted(*spot)) for spot in spots]
    splits = np.array([0] + [1] * (len(spots) - 1), np.int8)
    hidden = covered_by_later(chips, splits).get(0, [])
    expected = np.zeros((SIZE, SIZE), bool)
    rows, cols = np.mgrid[:SIZE, :SIZE] + np.array(spots[0])[::-1, None, None]
    for col, row in spots[1:]:
        expected |= (cols >= col) & (cols < col + SIZE) & (rows >= row) & (rows < row + SIZE)
    np.testing.assert_array_equal(hidden_pixels(chips[0], hidden), expected)
    assert len(hidden) <= len(spots) - 1


CRSS = st.sampled_from(["EPSG:32616", "EPSG:32617", "EPSG:3857", "EPSG:4326"])


def in_crs(info, crs, *, gsd=None):
    """Return a chip of another CRS whose upper left corner is that of a chip."""
    move = Transformer.from_crs(info.georeference.crs, crs, always_xy=True)
    a, _, c, _, _, f = info.georeference.transform
    (left, right), (top, _) = move.transform([c, c + a], [f, f])
    edge = gsd or right - left
    return replace(info, georeference=Georeference(crs, (edge, 0.0, left, 0.0, -edge, top)))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(-20, 20), st.integers(-20, 20), CRSS, CRSS, st.booleans())
def test_chips_of_several_crs_hide_what_they_share(chip, col, row, first, second, far):
    chips = [in_crs(at(chip, 0, 0), first), in_crs(at(chip, col, row), second)]
    before = [at(chip, 4000, 4000)] if far else []
    hidden = covered_by_later([*before, *chips], np.array([-1] * far + [0, 1], np.int8))
    assert set(hidden) <= {int(far)}
    check_hides_what_is_shown(chips[0], hidden.get(int(far), []), outline(chips[1], first))


def test_the_same_numbers_in_two_crs_are_two_places(chip):
    chips = [at(chip, 8 * n, 0, crs=crs) for crs in ("EPSG:32616", "EPSG:32617") for n in range(2)]
    groups = group_chips([*chips, *(at(chip, 100 * n, 900) for n in range(9))])
    assert groups[0] == groups[1] != groups[2] == groups[3]
    assert covered_by_later(chips, np.array([0, 0, 1, 1], np.int8)) == {}


def test_the_same_ground_in_two_crs_is_one_group(chip):
    chips = [at(chip, 100 * n, 0) for n in range(12)]
    groups = group_chips([*chips, *(in_crs(item, "EPSG:3857") for item in chips)])
    assert groups[:12].tolist() == groups[12:].tolist() and len(set(groups)) == 12


def test_chips_that_the_first_ones_crs_does_not_reach_are_compared(chip):
    place = (0.001, 0.0, 93.0, 0.0, -0.001, 1e-2)  # a quarter of the earth east of UTM 16, on the equator
    there = Georeference("EPSG:4326", place)
    far = [replace(chip, georeference=there.shifted(*spot)) for spot in [(0, 0), (8, 0), (99, 0)]]
    hidden = covered_by_later([at(chip, 0, 0), *far], np.array([0, 0, 1, 1], np.int8))
    assert hidden == {1: [PixelWindow(8, 0, 8, SIZE)]}


def test_chips_of_a_crs_without_a_way_to_others_are_compared_among_themselves(chip):
    site = 'LOCAL_CS["site",UNIT["metre",1]]'
    chips = [at(chip, 0, 0), *(at(chip, 8 * n, 0, crs=site) for n in range(2)), at(chip, 99, 0, crs=site)]
    assert covered_by_later(chips, np.array([0, 0, 1, 1], np.int8)) == {1: [PixelWindow(8, 0, 8, SIZE)]}
    groups = group_chips([*chips, *(at(chip, 100 * n, 900) for n in range(20))])
    assert groups[1] == groups[2] and len(set(groups)) == 23


def test_chips_without_a_crs_are_not_compared_with_placed_ones(chip):
    placed_ones = [at(chip, 40 * n, 0) for n in range(6)]
    by_world_file = [at(chip, 40 * n + 8, 0, crs=None) for n in range(4)]
    chips = [*placed_ones, *by_world_file, at(chip, 16, 0, crs=None)]
    splits = np.array([0] * 6 + [0] + [1] * 4, np.int8)
    assert covered_by_later(chips, splits) == {6: [PixelWindow(8, 0, 8, SIZE)]}
    groups = group_chips(chips)
    assert groups[6] == groups[10] and len(set(groups)) == 10


def in_pixels(chip, col, row):
    return replace(chip, georeference=Georeference(None, (1.0, 0.0, col, 0.0, 1.0, row)))


def test_chips_in_pixels_of_one_picture_are_placed(chip):
    chips = [in_pixels(chip, 8 * n, 0) for n in range(4)]
    assert covered_by_later(chips, np.array([0, 1, 1, 0], np.int8)) == {
        0: [PixelWindow(8, 0, 8, SIZE)],
        3: [PixelWindow(0, 0, 8, SIZE)],
    }


def test_chips_in_pixels_of_several_pictures_are_not(chip):
    chips = [in_pixels(chip, 8 * n, 0) for n in range(6)] + [in_pixels(chip, 0, 0)]
    plain_too = [*(at(chip, 8 * n, 0) for n in range(9)), in_pixels(chip, 0, 0), in_pixels(chip, 0, 0)]
    assert group_chips(chips).tolist() == list(range(7))
    assert covered_by_later(chips, np.array([0, 1, 1, 0, 0, 1, 0], np.int8)) == {}
    assert set(covered_by_later(plain_too, np.array([0, 1] * 5 + [0], np.int8))) == {0, 2, 4, 6, 8}
