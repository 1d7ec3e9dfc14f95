import geopandas
import numpy as np
import pytest
import rasterio
from rasterio.features import geometry_mask

from geomm.samples import make


@pytest.mark.parametrize(
    ("name", "least", "dtype"),
    [("swimming_pools", 120, "uint8"), ("shipwrecks", 60, "float32"), ("building_instances", 200, "uint16")],
)
def test_truth_lies_on_its_scene(name, least, dtype, tmp_path):
    made = make(name, tmp_path)
    for image, labels in (("images", "labels"), ("unseen", "unseen_labels")):
        outlines = geopandas.read_file(made[labels])
        with rasterio.open(made[image]) as scene:
            assert scene.dtypes[0] == dtype and scene.width * scene.height <= 4_000_000
            assert outlines.crs == scene.crs and len(outlines) >= least
            pixels, valid = scene.read().astype(float), scene.dataset_mask() > 0
            outside = geometry_mask(outlines.geometry, valid.shape, scene.transform)
        inside = ~outside & valid
        assert (outlines.area > 0).all() and 0.005 < inside.mean() < 0.3
        # One threshold on one band does not find them: confounders are as bright as they.
        hit, false = pixels[0][inside], pixels[0][outside & valid]
        found = np.mean([np.percentile(hit, 20) <= false, false <= np.percentile(hit, 80)], axis=0) == 1
        assert found.sum() > inside.sum() / 4


def test_a_sample_is_the_same_each_time(tmp_path):
    one, two = (make("shipwrecks", tmp_path / part) for part in "ab")
    with rasterio.open(one["images"]) as first, rasterio.open(two["images"]) as second:
        np.testing.assert_array_equal(first.read(), second.read())
        assert first.nodata == -9999 and (first.dataset_mask() == 0).any()
