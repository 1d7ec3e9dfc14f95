"""What several tiles saw of an object is one object."""

from dataclasses import replace

import numpy as np
import pytest
import shapely

from geomm.inference.objects.candidates import Candidates
from geomm.inference.objects.merge import ObjectMerger, cut_sides

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
