import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geomm.datasets.moments import merge_moments, moments_of
from geomm.errors import DataError

steady = settings(max_examples=60, deadline=None, derandomize=True)


@steady
@given(st.lists(arrays(np.float64, (2, 5), elements=st.floats(-1e4, 1e4, width=32)), min_size=1, max_size=6))
def test_merged_moments_are_those_of_all_pixels(parts):
    merged, whole = merge_moments([moments_of(part) for part in parts]), np.concatenate(parts, axis=1)
    assert merged.count == whole.shape[1]
    np.testing.assert_array_equal(merged.min, whole.min(1))
    np.testing.assert_array_equal(merged.max, whole.max(1))
    np.testing.assert_allclose(merged.mean, whole.mean(1), atol=1e-6)
    np.testing.assert_allclose(merged.std, whole.std(1), atol=1e-4)


def test_without_a_valid_pixel_there_are_no_statistics():
    with pytest.raises(DataError, match="every pixel is nodata"):
        merge_moments([])


def test_large_values_keep_their_small_spread():
    values = 60_000 + np.random.default_rng(0).normal(0, 0.01, (1, 40_000))
    merged = merge_moments([moments_of(part) for part in np.array_split(values, 90, axis=1)])
    np.testing.assert_allclose(merged.std, values.std(1), rtol=1e-6)
