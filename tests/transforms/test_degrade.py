"""What a coarser sensor would have seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomm.errors import ConfigError
from geomm.structures import Georeference, RasterSample
from geomm.transforms import Downsample, GaussianBlur, JpegCompression
from geomm.transforms.degrade import METHODS

PLACE = Georeference("EPSG:32616", (0.5, 0.0, 100.0, 0.0, -0.5, 900.0))


def sample(image, valid=None):
    valid = np.ones(image.shape[1:], bool) if valid is None else valid
    return RasterSample(image, valid, georeference=PLACE)


def noise(bands=2, height=24, width=36, seed=0):
    return np.random.default_rng(seed).integers(0, 4000, (bands, height, width)).astype(np.uint16)


@given(scale=st.sampled_from([2, 3, 4]), method=st.sampled_from(METHODS), value=st.integers(0, 60000))
def test_ground_of_one_value_keeps_it(scale, method, value):
    flat = np.full((3, 24, 36), value, np.uint16)
    small = Downsample(scale=scale, method=method)(sample(flat), np.random.default_rng(0))
    assert small.image.shape == (3, 24 // scale, 36 // scale) and small.image.dtype == np.float32
    np.testing.assert_allclose(small.image, value, rtol=1e-5, atol=1e-2)
    assert small.georeference.transform == (0.5 * scale, 0, 100.0, 0, -0.5 * scale, 900.0)


def test_area_is_the_mean_of_each_square():
    image = noise()
    small = Downsample(scale=3)(sample(image), np.random.default_rng(0)).image
    expected = image[:, :3, 3:6].astype(float).mean((1, 2))
    np.testing.assert_allclose(small[:, 0, 1], expected, rtol=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("method", METHODS)
def test_what_is_coarse_lies_where_the_fine_lay(method, scale):
    """A gradient's coarse pixels have the value of their middle: no half pixel is lost."""
    rows, cols = np.mgrid[:48, :60].astype(np.float32)
    small = Downsample(scale=scale, method=method)(
        sample(np.stack([rows, cols])), np.random.default_rng(0)
    ).image
    middle = (scale - 1) / 2
    inner = slice(3, -3)
    np.testing.assert_allclose(small[0, inner, 5], np.arange(48 // scale)[inner] * scale + middle, atol=0.02)
    np.testing.assert_allclose(small[1, 5, inner], np.arange(60 // scale)[inner] * scale + middle, atol=0.02)


@pytest.mark.parametrize("mtf", [0.1, 0.25, 0.4])
@pytest.mark.parametrize("scale", [2, 4])
def test_the_sensor_leaves_the_modulation_that_it_is_given(mtf, scale):
    """A wave at the coarser grid's Nyquist frequency, met in its phase, keeps that share."""
    cols = np.arange(240)
    wave = np.cos(np.pi * (cols - (scale - 1) / 2) / scale) * 100
    image = np.tile(wave, (2 * scale, 1))[None].astype(np.float32)
    small = Downsample(scale=scale, method="sensor", mtf=mtf)(sample(image), np.random.default_rng(0)).image
    left = np.abs(small[0, 0, 5:-5]).mean() / 100
    assert left == pytest.approx(mtf, rel=0.25)


def test_a_coarse_pixel_is_valid_where_all_its_fine_ones_are():
    valid = np.ones((24, 36), bool)
    valid[5, 7] = False
    small = Downsample(scale=4)(sample(noise(), valid), np.random.default_rng(0))
    expected = np.ones((6, 9), bool)
    expected[1, 1] = False
    np.testing.assert_array_equal(small.valid, expected)


def test_blur_takes_detail_and_keeps_the_mean():
    image = noise(height=60, width=60)
    blurred = GaussianBlur(sigma_px=(1.5, 1.5))(sample(image), np.random.default_rng(0)).image
    assert blurred.std() < 0.4 * image.std()
    assert blurred.mean() == pytest.approx(image.mean(), rel=0.02)
    same = GaussianBlur(probability=0.0)(sample(image), np.random.default_rng(0)).image
    np.testing.assert_array_equal(same, image)


@pytest.mark.parametrize("bands", [1, 3])
def test_jpeg_keeps_bands_in_their_order_and_loses_a_little(bands):
    levels = np.array([40, 120, 210])[:bands, None, None]
    image = np.broadcast_to(levels, (bands, 32, 32)).astype(np.uint8)
    found = JpegCompression(quality=(90, 90), probability=1.0)(sample(image), np.random.default_rng(0)).image
    assert found.shape == image.shape and found.dtype == np.float32
    np.testing.assert_allclose(found, image, atol=3)
    busy = np.random.default_rng(1).integers(0, 255, (bands, 32, 32)).astype(np.uint8)
    found = JpegCompression(quality=(50, 50), probability=1.0)(sample(busy), np.random.default_rng(0)).image
    assert 1 < np.abs(found - busy).mean() < 60


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Downsample(scale=2, method="nearest"), "unknown method 'nearest'; allowed: area, bicubic"),
        (lambda: Downsample(scale=2, mtf=0.9), "found mtf=0.9"),
        (lambda: GaussianBlur(sigma_px=(2, 1)), "sigma_px"),
        (lambda: JpegCompression(quality=(0, 50)), "quality"),
    ],
)
def test_what_cannot_be_is_named(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_jpeg_of_what_is_no_photograph_is_an_error():
    with pytest.raises(ConfigError, match="one or three bands of 0 to 255, found 2 bands"):
        JpegCompression(probability=1.0)(sample(noise()), np.random.default_rng(0))
