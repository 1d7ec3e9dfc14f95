"""Tiles cover every pixel, and their weights sum to one."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomm.inference.grid import TileGrid, axis_weights, starts


@st.composite
def grids(draw):
    tile = draw(st.integers(1, 40))
    return TileGrid(
        draw(st.integers(1, 100)), draw(st.integers(1, 100)), tile, draw(st.integers(0, tile - 1))
    )


@given(grids())
def test_every_pixel_is_covered_and_no_tile_leaves_a_larger_raster(grid):
    counts = np.zeros((grid.height, grid.width), int)
    for window in grid:
        assert window.col + window.width <= max(grid.width, grid.tile_px)
        assert window.row + window.height <= max(grid.height, grid.tile_px)
        counts[window.slices] += 1
    assert counts.min() >= 1


@given(grids())
def test_neighbours_share_at_least_the_overlap(grid):
    for places in (grid.tops, grid.lefts):
        for one, two in pairwise(places):
            assert one < two
            assert one + grid.tile_px - two >= grid.overlap_px


@given(grids())
def test_bands_of_finished_rows_cover_the_raster_once(grid):
    rows = [r for row in range(len(grid.tops)) for r in range(*_span(grid.band(row)))]
    assert rows == list(range(grid.height))


def _span(band):
    first, height = band
    return first, first + height


@given(grids())
def test_weights_sum_to_one_at_every_pixel(grid):
    total = np.zeros((grid.height, grid.width))
    for r, top in enumerate(grid.tops):
        for c, left in enumerate(grid.lefts):
            weight = grid.row_weights[r][:, None] * grid.col_weights[c]
            part = total[top : top + grid.tile_px, left : left + grid.tile_px]
            part += weight[: part.shape[0], : part.shape[1]]
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_a_pixel_of_one_tile_has_a_weight_of_exactly_one():
    weights = axis_weights(100, starts(100, 40, 10), 40)
    assert weights[0][0] == 1.0
    assert weights[-1][-1] == 1.0
    assert (weights > 0).all()


@given(grids(), st.data())
def test_replaying_begins_at_the_first_row_that_reaches(grid, data):
    row = data.draw(st.integers(0, len(grid.tops) - 1))
    first = grid.first_row_reaching(row)
    reaching = [r for r in range(row) if grid.tops[r] + grid.tile_px > grid.tops[row]]
    assert first == (reaching[0] if reaching else row)


def test_an_overlap_as_large_as_the_tile_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        TileGrid(10, 10, 8, 8)
