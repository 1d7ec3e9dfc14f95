import numpy as np
import pytest
import rasterio
from shapely import box

from geomm.io.vector import read_layer
from geomm.samples.texture import fractal_noise, smooth_noise, write_features, write_raster


@pytest.mark.parametrize("scale", [1, 5, 12, 160])
def test_noise_has_the_shape_asked_for_and_unit_spread(scale):
    noise = smooth_noise(np.random.default_rng(0), (70, 90), scale)
    assert noise.shape == (70, 90)
    assert abs(noise.mean()) < 1e-9 and abs(noise.std() - 1) < 1e-6


def test_noise_is_the_smoother_the_larger_its_scale():
    rough = [
        np.abs(np.diff(smooth_noise(np.random.default_rng(0), (200, 200), scale))).mean()
        for scale in (4, 16, 64)
    ]
    assert rough[0] > rough[1] > rough[2]


def test_noise_of_several_scales_has_unit_spread():
    noise = fractal_noise(np.random.default_rng(0), (60, 60), (4, 16))
    assert noise.shape == (60, 60) and abs(noise.std() - 1) < 1e-6


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_raster_is_written_with_its_place_and_names(tmp_path, dtype):
    pixels = np.arange(24).reshape(2, 3, 4).astype(dtype)
    path = write_raster(
        tmp_path / "a.tif", pixels, crs="EPSG:32616", origin=(100, 200), gsd=0.5, nodata=0,
        names=["red", "nir"],
    )  # fmt: skip
    with rasterio.open(path) as opened:
        np.testing.assert_array_equal(opened.read(), pixels)
        assert opened.descriptions == ("red", "nir") and opened.nodata == 0
        assert opened.bounds == (100, 198.5, 102, 200) and opened.crs.to_epsg() == 32616


def test_features_are_written_with_their_fields(tmp_path):
    path = write_features(
        tmp_path / "a.gpkg", [box(0, 0, 1, 1)], crs="EPSG:32616", fields={"class": ["water"]}
    )
    frame = read_layer(path)
    assert frame["class"].tolist() == ["water"] and frame.crs.to_epsg() == 32616
