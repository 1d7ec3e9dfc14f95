import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomm.structures import BandStatistics, Georeference, Objects, RasterSpec, class_color, make_classes

finite = st.floats(-1e6, 1e6, allow_nan=False)


@given(
    a=finite,
    b=finite,
    d=finite,
    e=finite,
    c=finite,
    f=finite,
    col=st.integers(-999, 999),
    row=st.integers(-999, 999),
)
def test_a_shifted_grid_has_its_origin_where_the_pixel_was(a, b, c, d, e, f, col, row):
    shifted = Georeference("EPSG:3857", (a, b, c, d, e, f)).shifted(col, row).transform
    assert shifted[2] == pytest.approx(a * col + b * row + c)
    assert shifted[5] == pytest.approx(d * col + e * row + f)
    assert (shifted[0], shifted[1], shifted[3], shifted[4]) == (a, b, d, e)


def test_a_spec_survives_json():
    spec = RasterSpec(
        bands=(1, 3),
        band_names=("red", "nir"),
        dtype="uint16",
        statistics=BandStatistics((0.0, 1.0), (9.0, 8.0), (4.5, 4.0), (1.0, 2.0), 77),
        classes=make_classes(["water", "roof"]),
        window_px=128,
        nodata=0.0,
        background=0,
        gsd=0.5,
        crs="EPSG:32616",
        class_pixels=(10, 20),
    )
    assert RasterSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert (spec.in_channels, spec.num_classes) == (2, 2)


def test_class_colours_differ():
    assert len({class_color(index) for index in range(64)}) == 64


def test_objects_are_chosen_with_all_they_carry_and_shifted_as_boxes():
    found = Objects(
        np.array([[0, 0, 1, 1], [2, 3, 5, 7]], np.float32),
        np.array([1, 0]),
        np.array([0.5, 0.9], np.float32),
        np.zeros((2, 8, 8), bool),
    )
    one = found[found.scores > 0.6]
    assert (len(one), one.labels.tolist(), one.masks.shape, one.ignored) == (1, [0], (1, 8, 8), None)
    moved = found.shifted(10, 100)
    assert moved.boxes.tolist() == [[10, 100, 11, 101], [12, 103, 15, 107]]
    assert moved.masks is None
