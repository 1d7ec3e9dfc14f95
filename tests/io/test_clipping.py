"""Outlines cut at the edges of a window are polygons and nothing else."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from rasterio.features import shapes
from shapely import box

from geomm.io.clipping import clip_outlines

#: Two arms that reach over the line x = 2, along which the shaft between them ends.
CLAMP = shapely.union_all([box(0, 0, 3, 2), box(0, 2, 2, 4), box(0, 4, 3, 6)])


def test_what_only_touches_the_edge_is_left_out():
    parts = clip_outlines([CLAMP, CLAMP, CLAMP], [box(2, 1, 9, 9), box(3, 0, 9, 9), box(50, 50, 60, 60)])
    assert shapely.area(parts).tolist() == [3.0, 0.0, 0.0]
    assert [part.geom_type for part in parts] == ["MultiPolygon", "Polygon", "Polygon"]
    # What GEOS cannot do with the lines beside the polygons.
    assert shapely.area(shapely.intersection(parts[0], parts[2])) == 0
    with pytest.raises(shapely.GEOSException):
        shapely.intersection(shapely.intersection(CLAMP, box(2, 1, 9, 9)), shapely.Polygon())


@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(0, 8)] * 4))
def test_areas_are_kept_and_any_two_parts_can_be_compared(seed, edges):
    rng = np.random.default_rng(seed)
    pixels = (rng.random((8, 8)) < 0.6).astype(np.uint8)
    outlines = [shapely.geometry.shape(shape) for shape, value in shapes(pixels, pixels == 1) if value]
    left, right, top, bottom = sorted(edges[:2]) + sorted(edges[2:])
    area = box(left, top, right + 1, bottom + 1)
    parts = clip_outlines(np.array(outlines, object), area)
    assert len(parts) == len(outlines)
    assert set(shapely.get_type_id(parts)) <= {3, 6}
    assert shapely.area(parts).sum() == pytest.approx(pixels[top : bottom + 1, left : right + 1].sum())
    one, other = (side.ravel() for side in np.meshgrid(np.arange(len(parts)), np.arange(len(parts))))
    shared = shapely.area(shapely.intersection(parts[one], parts[other]))
    np.testing.assert_allclose(shared[one != other], 0, atol=1e-9)
