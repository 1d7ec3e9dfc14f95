"""What a model's values become: the best class, values in a dtype, nodata that no value takes."""

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geomm.errors import DataError
from geomm.inference import MapOptions, ValueMap, predict_rasters
from geomm.inference.maps.products import best_class, class_nodata, to_dtype, value_nodata
from tests.inference.conftest import noise, write_scene


@given(classes=st.integers(1, 6), seed=st.integers(0, 50))
def test_the_best_class_is_the_first_of_the_highest(classes, seed):
    random = np.random.default_rng(seed)
    scores = torch.from_numpy(random.integers(0, 3, (classes, 5, 7)).astype(np.float32))
    best, index = best_class(scores)
    assert index.dtype == torch.uint8
    np.testing.assert_array_equal(index, scores.numpy().argmax(0))
    np.testing.assert_array_equal(best, scores.numpy().max(0))


def test_two_hundred_and_fifty_five_classes_fit():
    scores = torch.eye(255)[:, None]
    np.testing.assert_array_equal(best_class(scores)[1][0], range(255))


def test_nodata_is_a_value_of_no_class():
    assert class_nodata([1, 2]) == (0, "uint8")
    assert class_nodata([0, 1]) == (255, "uint8")
    assert class_nodata([0, 255]) == (254, "uint8")
    assert class_nodata([0, 300]) == (65535, "uint16")
    assert class_nodata(list(range(256)))[1] == "uint16"
    with pytest.raises(DataError, match="16 bits"):
        class_nodata([-1, 2])


@given(st.sampled_from(["uint8", "int16", "uint16", "int32", "uint32"]), st.floats(-5e9, 5e9))
def test_values_are_rounded_into_the_range_of_their_dtype_and_never_nodata(dtype, value):
    limits, nodata = np.iinfo(dtype), value_nodata(dtype)
    found = to_dtype(np.array([value], np.float32), dtype, avoid=nodata)
    assert found.dtype == dtype
    near = int(np.clip(np.rint(float(np.float32(value))), limits.min + 1, limits.max))
    assert int(found[0]) == near


def test_real_values_keep_theirs():
    assert np.isnan(value_nodata("float32"))
    values = np.array([0.25, -1e30], np.float32)
    np.testing.assert_array_equal(to_dtype(values, "float32", avoid=np.nan), values)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    tile=st.integers(4, 30),
    share=st.floats(0, 0.9),
    scale=st.integers(1, 4),
    margin=st.floats(0, 1),
    seed=st.integers(0, 9),
)
def test_a_finer_map_of_a_pointwise_model_is_each_pixel_repeated(
    tmp_path_factory, spec, height, width, tile, share, scale, margin, seed
):
    folder = tmp_path_factory.mktemp("finer")
    pixels = noise(height, width, seed)
    pixels[np.random.default_rng(seed).random(pixels.shape) < 0.2] = 0
    scene = write_scene(folder / "s.tif", pixels, nodata=0)
    overlap = min(int(tile * share), tile - 1)
    options = MapOptions(
        tile_px=tile, overlap_px=overlap, margin_px=int(overlap // 2 * margin), device="cpu", on_error="raise"
    )

    def score(inputs, valid):
        return inputs.float().repeat_interleave(scale, 2).repeat_interleave(scale, 3)

    products = ValueMap(["value"], dtype="int16", scale=scale)
    out = folder / "o"
    predict_rasters(scene, out, score=score, spec=spec, products=products, options=options, model_id="m")
    expected = np.where(pixels == 0, -32768, pixels.astype(np.int16))
    with rasterio.open(out / "s.tif") as made, rasterio.open(scene) as source:
        np.testing.assert_array_equal(made.read(1), np.kron(expected, np.ones((scale, scale), np.int16)))
        assert made.bounds == pytest.approx(source.bounds)
        assert made.crs == source.crs and made.dtypes == ("int16",) and made.nodata == -32768
        assert made.res == pytest.approx((source.res[0] / scale, source.res[1] / scale))
        assert made.descriptions == ("value",)
