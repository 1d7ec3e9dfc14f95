"""Blending in a rolling band equals blending in one large array."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomm.inference.grid import TileGrid
from geomm.inference.maps.blend import ScoreBlend
from geomm.inference.tiles import Tile, TileBatch

CPU = torch.device("cpu")


def tile_scores(grid, row, col, classes):
    random = np.random.default_rng([row, col])
    return torch.from_numpy(random.random((classes, grid.tile_px, grid.tile_px), np.float32))


def blended(grid, classes, empty=frozenset(), first=0):
    blend = ScoreBlend(grid, planes=classes, device=CPU)
    whole = torch.full((classes, grid.height, grid.width), float("nan"))
    for row in range(first, len(grid.tops)):
        for col in range(len(grid.lefts)):
            window = grid.window(row, col)
            valid = torch.zeros(grid.tile_px, grid.tile_px, dtype=torch.bool)
            valid[: grid.height - window.row, : grid.width - window.col] = (row, col) not in empty
            tile = Tile(row, col, valid, (row, col) in empty)
            scores = None if tile.empty else tile_scores(grid, row, col, classes)[None]
            for part in blend.add(TileBatch((tile,), None, None), scores):
                if part.values is None:
                    continue
                top, (height, width) = grid.tops[part.row], part.valid.shape
                assert part.values.shape == (classes, height, width)
                whole[:, top : top + height, part.col : part.col + width] = part.values
    return whole


def direct(grid, classes):
    total = torch.zeros(classes, max(grid.height, grid.tile_px), max(grid.width, grid.tile_px))
    for row, top in enumerate(grid.tops):
        for col, left in enumerate(grid.lefts):
            weight = torch.from_numpy(grid.row_weights[row][:, None] * grid.col_weights[col])
            place = total[:, top : top + grid.tile_px, left : left + grid.tile_px]
            place += tile_scores(grid, row, col, classes) * weight
    return total[:, : grid.height, : grid.width]


@st.composite
def grids(draw):
    tile = draw(st.integers(1, 16))
    overlap = draw(st.integers(0, tile - 1))
    return TileGrid(draw(st.integers(1, 40)), draw(st.integers(1, 40)), tile, overlap)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(grid=grids(), classes=st.integers(1, 3))
def test_rolling_sums_equal_those_of_a_whole_array(grid, classes):
    torch.testing.assert_close(blended(grid, classes), direct(grid, classes))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(grid=grids(), data=st.data())
def test_a_replay_gives_the_same_bits(grid, data):
    row = data.draw(st.integers(0, len(grid.tops) - 1))
    again = blended(grid, 2, first=grid.first_row_reaching(row))
    top = grid.tops[row]
    assert torch.equal(again[:, top:], blended(grid, 2)[:, top:])


@pytest.mark.parametrize("height", [64, 4096])
def test_what_is_kept_does_not_grow_with_the_height(height):
    grid = TileGrid(width=48, height=height, tile_px=16, overlap_px=4)
    blend = ScoreBlend(grid, planes=3, device=CPU)
    kept = max(a + 16 - b for a, b in zip(grid.tops, grid.tops[1:], strict=False))
    assert blend._below.shape == (3, kept, 48)


def test_only_tiles_that_were_seen_count_beside_an_empty_one():
    grid = TileGrid(width=20, height=8, tile_px=8, overlap_px=2)
    whole = blended(grid, 1, empty={(0, 0)})
    assert whole[:, :, :6].isnan().all()
    assert not whole[:, :, 8:].isnan().any()
