from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


def test_turned_chips_hide_all_that_they_share(chip):
    chips = [at(chip, 0, 0), at(chip, 12, 4, turn=30)]
    hidden = covered_by_later(chips, np.array([0, 1], np.int8))
    assert hidden[0][0].col <= 8 and hidden[0][0].width >= 8
