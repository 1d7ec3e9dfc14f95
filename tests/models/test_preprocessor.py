"""Normalisation: numpy's result for any bands and any type, and nothing where pixels are invalid."""

import numpy as np
import pytest
import torch

from geomm.models.preprocessor import RasterPreprocessor
from geomm.structures import BandStatistics
from tests.models.common import make_spec


def make_preprocessor(mean, std):
    count = len(mean)
    statistics = BandStatistics((0.0,) * count, (1.0,) * count, tuple(mean), tuple(std), count=9)
    return RasterPreprocessor(make_spec(count, statistics=statistics))


def make_pixels(dtype, bands, seed=0):
    generator = np.random.default_rng(seed)
    if np.issubdtype(dtype, np.floating):
        return generator.normal(100, 50, (2, bands, 5, 7)).astype(dtype)
    limits = np.iinfo(dtype)
    low, high = max(limits.min, -30000), min(limits.max, 65535)
    pixels = generator.integers(low, high, (2, bands, 5, 7), endpoint=True).astype(dtype)
    pixels[0, :, 0, :2] = low, high
    return pixels


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("bands", [1, 3, 8])
def test_normalising_is_what_numpy_makes_of_it(dtype, bands):
    mean, std = 100 + 10 * np.arange(bands), 3 + np.arange(bands)
    pixels = make_pixels(np.dtype(dtype), bands)
    found = make_preprocessor(mean, std).normalise(torch.from_numpy(pixels))
    expected = (pixels.astype(np.float64) - mean[:, None, None]) / std[:, None, None]
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_pixels_with_these_statistics_become_standard():
    pixels = make_pixels(np.dtype("uint16"), 4)
    axes = (0, 2, 3)
    preprocessor = make_preprocessor(pixels.mean(axes), pixels.std(axes))
    normal = preprocessor.normalise(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(normal.mean(axes), 0, atol=1e-5)
    np.testing.assert_allclose(normal.std(axes), 1, rtol=1e-5)


def test_a_constant_band_becomes_zero():
    pixels = torch.full((1, 2, 3, 3), 7, dtype=torch.uint8)
    assert not make_preprocessor([7, 7], [0, 0]).normalise(pixels).any()


def test_a_band_that_is_constant_but_for_rounding_becomes_zero():
    pixels = torch.full((1, 1, 3, 3), 0.1, dtype=torch.float64)
    assert make_preprocessor([0.1], [1.4e-17]).normalise(pixels).abs().max() < 1e-6


def test_a_band_of_large_values_and_little_spread_is_normalised():
    pixels = torch.tensor([1e6 - 1, 1e6, 1e6 + 1]).reshape(1, 1, 1, 3)
    assert make_preprocessor([1e6], [0.5]).normalise(pixels).flatten().tolist() == [-2, 0, 2]


def test_a_band_that_was_constant_in_training_stays_finite():
    pixels = torch.full((1, 1, 2, 2), 65535, dtype=torch.uint16)
    assert make_preprocessor([7], [0]).normalise(pixels).unique().tolist() == [65528]


@pytest.mark.parametrize("junk", [-9999.0, np.nan, np.inf, 3.4e38])
def test_invalid_pixels_become_zero_whatever_they_hold(junk):
    pixels = make_pixels(np.dtype("float32"), 3)
    valid = np.random.default_rng(1).random((2, 5, 7)) > 0.4
    preprocessor = make_preprocessor([100, 90, 80], [50, 40, 30])
    expected = preprocessor.normalise(torch.from_numpy(pixels)).numpy() * valid[:, None]
    pixels = np.where(valid[:, None], pixels, np.float32(junk))
    found = preprocessor.normalise(torch.from_numpy(pixels), torch.from_numpy(valid))
    np.testing.assert_array_equal(found, expected)


def test_the_pixels_that_come_in_are_left_as_they_are():
    pixels = torch.from_numpy(make_pixels(np.dtype("float32"), 2))
    before = pixels.clone()
    preprocessor = make_preprocessor([5, 6], [2, 3])
    preprocessor.normalise(pixels, torch.zeros(2, 5, 7, dtype=torch.bool))
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("training", [True, False])
def test_of_a_batch_only_the_inputs_change(training):
    preprocessor = make_preprocessor([5, 6], [2, 3])
    batch = {
        "inputs": torch.from_numpy(make_pixels(np.dtype("uint16"), 2)),
        "valid": torch.rand(2, 5, 7) > 0.5,
        "mask": torch.randint(0, 3, (2, 5, 7), dtype=torch.uint8),
        "name": ["first", "second"],
    }
    found = preprocessor(batch, training)
    assert torch.equal(found["inputs"], preprocessor.normalise(batch["inputs"], batch["valid"]))
    assert torch.equal(found["mask"], batch["mask"]) and torch.equal(found["valid"], batch["valid"])
    assert found["name"] == ["first", "second"]
    assert batch["inputs"].dtype == torch.uint16


def test_a_batch_without_a_validity_mask_is_all_valid():
    preprocessor = make_preprocessor([5], [2])
    pixels = torch.from_numpy(make_pixels(np.dtype("int16"), 1))
    assert torch.equal(preprocessor({"inputs": pixels})["inputs"], preprocessor.normalise(pixels))


def test_statistics_come_from_the_spec_and_stay_out_of_the_checkpoint():
    assert not make_preprocessor([5], [2]).state_dict()


def test_another_band_count_than_the_statistics_is_an_error():
    with pytest.raises(RuntimeError, match="size"):
        make_preprocessor([5, 6], [2, 3]).normalise(torch.zeros(1, 3, 4, 4))
