"""Crops show what they should, wherever and at whatever size; oversampling evens classes out."""

from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st

from geomm.datasets.pictures.crops import Crop, CropDataset, around, oversampled, read_crop, whole_image
from geomm.io.raster_info import read_info
from geomm.structures import Georeference, PixelWindow
from geomm.transforms.compose import Compose
from tests.datasets.drawn import ORIGIN, write


@pytest.fixture(scope="module")
def ramp(tmp_path_factory):
    """A raster whose two bands are the column and row of each pixel."""
    rows, cols = np.mgrid[:60, :80]
    pixels = np.stack([cols, rows]).astype(np.float32)
    return write(tmp_path_factory.mktemp("ramp") / "ramp.tif", pixels, origin=ORIGIN, gsd=2.0)


@settings(max_examples=40, deadline=None)
@given(col=st.integers(-30, 90), row=st.integers(-30, 70), edge=st.integers(4, 60), size=st.integers(4, 64))
def test_pixels_and_georeference_agree_at_any_place_and_size(ramp, col, row, edge, size):
    """Where the georeference says a pixel lies, the raster holds about its value."""
    sample = read_crop(Crop(str(ramp), PixelWindow(col, row, edge, edge), "x"), (1, 2), size, blackout=False)
    assert sample.image.shape == (2, size, size)
    a, _, c, _, e, f = sample.georeference.transform
    rows, cols = np.nonzero(sample.valid)
    x = (c + a * (cols + 0.5) - ORIGIN[0]) / 2.0 - 0.5
    y = (ORIGIN[1] - (f + e * (rows + 0.5))) / 2.0 - 0.5
    # One pixel of either grid, and what is lost where a window is cut at the raster's edge.
    near = 1.01 + edge / size
    assert np.all(np.abs(sample.image[0, rows, cols] - x) <= near)
    assert np.all(np.abs(sample.image[1, rows, cols] - y) <= near)
    inside = (x > near) & (x < 79 - near) & (y > near) & (y < 59 - near)
    share = max(0, min(col + edge, 80) - max(col, 0)) * max(0, min(row + edge, 60) - max(row, 0)) / edge**2
    assert abs(sample.valid.mean() - share) < 0.05 + 2.5 / size
    assert inside.sum() <= sample.valid.sum()


@settings(max_examples=50, deadline=None)
@given(
    left=st.floats(-50, 50), top=st.floats(-50, 50), width=st.floats(0.5, 60), height=st.floats(0.5, 60),
    margin=st.floats(0, 2),
)  # fmt: skip
def test_the_square_holds_the_feature_and_its_margin(ramp, left, top, width, height, margin):
    outline = shapely.box(left, top, left + width, top + height)
    window = around(outline, read_info(ramp), margin=margin, margin_m=None)
    beside = margin * max(width, height)
    longer = max(width, height) + 2 * beside
    assert window.width == window.height
    assert longer <= window.width <= max(longer + 1, 4)
    for start, low, high in ((window.col, left, left + width), (window.row, top, top + height)):
        assert start <= low + 0.5 and start + window.width >= high - 0.5


def test_a_margin_in_map_units(ramp):
    outline = shapely.Point(20, 20)
    info = read_info(ramp)
    assert around(outline, info, margin=0.5, margin_m=10.0).width == 10  # 2 m a pixel
    # At 60° north a degree along the parallel is 55.8 km, one along the meridian 111.4 km.
    place = Georeference("EPSG:4326", (2e-5, 0, 10, 0, -1e-5, 60))
    degrees = replace(info, georeference=place)
    assert around(outline, degrees, margin=0.5, margin_m=11.14).width == 20
    assert (
        around(outline, replace(info, georeference=replace(place, crs=None)), margin=0.5, margin_m=10.0).width
        == 20
    )


def test_blackout_hides_what_is_outside(ramp):
    outline = shapely.box(10, 10, 20, 20)
    crop = Crop(str(ramp), PixelWindow(5, 5, 20, 20), "x", outline)
    sample = read_crop(crop, (1,), 20, blackout=True)
    assert sample.valid[6:14, 6:14].all() and sample.valid.sum() <= 12 * 12
    assert read_crop(crop, (1,), 20, blackout=False).valid.all()


def test_what_is_covered_is_of_the_feature(ramp):
    half_off = Crop(str(ramp), PixelWindow(-20, 10, 40, 40), "x", shapely.box(-10, 20, 10, 40))
    assert read_crop(half_off, (1,), 40, blackout=False).extras["covered"] == pytest.approx(0.5, abs=0.1)


def test_a_whole_image_keeps_its_proportions(tmp_path):
    path = write(tmp_path / "wide.png", np.full((3, 10, 30), 200, np.uint8))
    sample = read_crop(whole_image(str(path)), (1, 2, 3), 60, blackout=False)
    assert sample.valid.any(1).sum() == 20 and sample.valid.any(0).sum() == 60
    assert sample.extras["covered"] == 1.0


@settings(max_examples=40, deadline=None)
@given(counts=st.lists(st.integers(1, 60), min_size=2, max_size=5), share=st.floats(0, 1))
@example(counts=[3, 5], share=1.0)
def test_oversampling_reaches_the_share_and_drops_nothing(counts, share):
    labels = np.repeat(np.eye(len(counts), dtype=np.float32), counts, axis=0)
    positions = oversampled(labels, share)
    found = labels[positions].sum(0)
    assert set(positions) == set(range(len(labels)))
    assert np.all(found >= np.floor(share * max(counts)) - 1e-6)
    assert np.all(found <= np.maximum(np.ceil(share * max(counts)), counts) + 1e-6)


def test_samples_depend_on_their_index_alone(ramp):
    crop = Crop(str(ramp), PixelWindow(0, 0, 20, 20), "x")
    augment = Compose({"flip": {"type": "RandomFlip"}, "light": {"type": "RandomRadiometry"}})
    labels = np.eye(2, dtype=np.float32)
    data = CropDataset(
        [crop, crop], labels, bands=(1, 2), window_px=20, blackout=False, augment=augment, seed=5
    )
    np.testing.assert_array_equal(data[7].image, data[7].image)
    assert any(not np.array_equal(data[0].image, data[i].image) for i in (2, 4, 6, 8))
    np.testing.assert_array_equal(data[3].extras["labels"], [0, 1])
