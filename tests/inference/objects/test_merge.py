"""What several tiles saw of an object is one object."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import shapely
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomm.inference.grid import TileGrid
from geomm.inference.objects.candidates import Candidates, join
from geomm.inference.objects.merge import ObjectMerger, cut_sides
from geomm.inference.objects.suppression import overlap
from geomm.inference.objects.tiles import tile_candidates
from geomm.structures import Objects

LEFT_TILE, RIGHT_TILE = (0, 0, 100, 100), (70, 0, 170, 100)


def candidates(*found):
    """Objects of one class, each a box with the tile that saw it; a tile goes on left and right."""
    boxes = np.array([box for box, _ in found], np.float64)
    windows = np.array([window for _, window in found], np.float64)
    inner = {LEFT_TILE: (False, False, True, False), RIGHT_TILE: (True, False, False, False)}
    cut = np.concatenate([cut_sides(boxes[i : i + 1], w, inner[w], 2.0) for i, (_, w) in enumerate(found)])
    count = len(found)
    scores = np.linspace(0.9, 0.8, count).astype(np.float32)
    return Candidates(boxes, np.zeros(count, np.int32), scores, windows, cut, np.zeros(count, np.int32))


def merged(*found):
    return ObjectMerger("nms", 0.5, 0.0).add(candidates(*found), np.inf).boxes.tolist()


@pytest.mark.parametrize("gap", [0, 1, 3, 6])
def test_a_part_that_ends_near_its_tiles_border_is_no_object(gap):
    """A network draws the end of what its tile cuts a few pixels beside the border."""
    part, whole = (85, 10, 100 - gap, 40), (84, 11, 120, 41)
    assert merged((part, LEFT_TILE), (whole, RIGHT_TILE)) == [list(whole)]
    assert merged((whole, RIGHT_TILE), (part, LEFT_TILE)) == [list(whole)]


def test_an_object_of_its_own_in_a_larger_one_stays():
    """The tile that saw the larger one saw it too, and whole."""
    small, large = (80, 10, 92, 22), (75, 5, 130, 60)
    kept = merged((small, LEFT_TILE), (small, RIGHT_TILE), (large, RIGHT_TILE))
    assert sorted(kept) == sorted([list(small), list(large)])


def test_an_object_clear_of_the_border_is_none_of_a_larger_ones_parts():
    small, large = (72, 10, 80, 18), (71, 5, 130, 60)
    assert sorted(merged((small, LEFT_TILE), (large, RIGHT_TILE))) == sorted([list(small), list(large)])


def test_parts_of_what_no_tile_saw_whole_are_joined():
    assert merged(((10, 10, 100, 40), LEFT_TILE), ((70, 10, 160, 40), RIGHT_TILE)) == [[10, 10, 160, 40]]


def test_an_outline_along_a_tiles_border_is_compared_with_one_that_ends_before_it():
    """It has a line in common with what both tiles saw, beside polygons."""
    arms = [shapely.box(60, 10, 75, 20), shapely.box(60, 30, 75, 40)]
    clamp = shapely.union_all([*arms, shapely.box(60, 20, 70, 30)])
    found = candidates(((60, 10, 75, 40), LEFT_TILE), ((72, 12, 130, 38), RIGHT_TILE))
    shapes = np.array([clamp, shapely.box(105, 12, 130, 38)], object)
    kept = ObjectMerger("nms", 0.5, 0.0).add(replace(found, shapes=shapes), np.inf)
    assert len(kept) == 2 and kept.shapes is not None
    assert sorted(shapely.area(kept.shapes).tolist()) == [400, 25 * 26]


def through_tiles(boxes, width, height, tile_px, overlap_px):
    """What a network that sees just what is in a tile comes to, and how many objects waited at most."""
    grid, merger = TileGrid(width, height, tile_px, overlap_px), ObjectMerger("nms", 0.5, 0.5)
    made, most = [], 0
    valid = torch.ones(tile_px, tile_px, dtype=torch.bool)
    for row, frontier in enumerate([*grid.tops[1:], np.inf]):
        found = []
        for col, left in enumerate(grid.lefts):
            seen = np.clip(boxes - np.tile([left, grid.tops[row]], 2), 0, tile_px)
            seen = seen[(seen[:, 2:] > seen[:, :2]).all(1)]
            tile = SimpleNamespace(row=row, col=col, valid=valid)
            count = len(seen)
            objects = Objects(
                seen.astype(np.float32), np.zeros(count, np.int64), np.full(count, 0.9, np.float32)
            )
            found.append(tile_candidates(tile, objects, grid, least_score=0.5, edge_px=2.0))
        made.append(merger.add(join(found), frontier))
        most = max(most, len(merger._waiting))
    return join(made).boxes, most


@settings(deadline=None, max_examples=60)
@given(
    st.integers(60, 110),
    st.integers(30, 50),
    st.lists(st.tuples(*[st.integers(0, 250)] * 2, *[st.integers(6, 40)] * 2), max_size=60),
)
def test_objects_that_overlap_stay_apart_however_the_scene_is_tiled(tile_px, overlap_px, given_boxes):
    boxes = np.empty((0, 4))
    for left, top, width, height in given_boxes:
        edge = overlap_px - 6
        right, bottom = left + min(width, edge), top + min(height, edge)
        box = np.array([[left, top, min(260, right), min(260, bottom)]], float)
        if (overlap(np.repeat(box, len(boxes), 0), boxes) <= 0.25).all():
            boxes = np.concatenate([boxes, box])
    found, _ = through_tiles(boxes, 260, 260, tile_px, overlap_px)
    assert sorted(found.tolist()) == sorted(boxes.tolist())


@pytest.mark.parametrize("edge", [18, 22, 24])
def test_what_waits_in_a_dense_canopy_does_not_grow_with_the_scene(edge):
    """Crowns every 20 pixels touch each other all down the scene."""
    waited = []
    for height in (1000, 3000):
        rows, cols = np.mgrid[0:height:20, 0:600:20]
        moved = np.random.default_rng(0).uniform(-2, 2, (rows.size, 2))
        corners = np.stack([cols.ravel(), rows.ravel()], 1) + moved
        boxes = np.clip(np.concatenate([corners, corners + edge], 1), 0, [600, height] * 2)
        found, most = through_tiles(boxes, 600, height, 256, 64)
        assert len(found) == len(boxes)
        waited.append(most)
    assert waited[1] < 1.5 * waited[0] < 600


def test_what_lies_beside_a_tile_is_no_object():
    grid = TileGrid(64, 64, 64, 0)
    tile = SimpleNamespace(row=0, col=0, valid=torch.ones(64, 64, dtype=torch.bool))
    boxes = np.array([[-20, -20, -5, -5], [10, 10, 20, 20]], np.float32)
    objects = Objects(boxes, np.zeros(2, np.int64), np.full(2, 0.9, np.float32))
    found = tile_candidates(tile, objects, grid, least_score=0.5, edge_px=2.0)
    assert found.boxes.tolist() == [[10, 10, 20, 20]]
