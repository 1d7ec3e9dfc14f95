import numpy as np
import pytest
import torch

from geomm.datasets.collate import collate_raster
from geomm.structures import RasterSample


def sample(number, *, dtype="uint16", mask=True):
    image = np.full((3, 4, 5), 1000 + number).astype(dtype)
    valid = np.ones((4, 5), bool)
    valid[number] = False
    return RasterSample(image, valid, np.full((4, 5), number, np.uint8) if mask else None, name=f"s{number}")


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "uint32", "float32", "float64"])
def test_a_batch_holds_the_samples_in_order_as_floats(dtype):
    samples = [sample(number, dtype=dtype) for number in range(3)]
    batch = collate_raster(samples)
    assert batch["inputs"].shape == (3, 3, 4, 5) and batch["inputs"].dtype == torch.float32
    for index, item in enumerate(samples):
        np.testing.assert_array_equal(batch["inputs"][index].numpy(), item.image)
        np.testing.assert_array_equal(batch["valid"][index].numpy(), item.valid)
        np.testing.assert_array_equal(batch["mask"][index].numpy(), item.mask)
    assert batch["name"] == ["s0", "s1", "s2"]
    assert batch["valid"].dtype == torch.bool and batch["mask"].dtype == torch.uint8


def test_samples_of_several_dtypes_make_one_batch():
    batch = collate_raster([sample(0), sample(1, dtype="float32")])
    assert batch["inputs"].dtype == torch.float32


@pytest.mark.parametrize("masks", [(False, False), (True, False)])
def test_a_batch_has_a_mask_only_where_every_sample_has_one(masks):
    batch = collate_raster([sample(number, mask=mask) for number, mask in enumerate(masks)])
    assert "mask" not in batch
