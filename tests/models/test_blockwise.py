"""Blocks: each is run alone, and its maps land where it was."""

import pytest
import torch
import torch.nn.functional as F

from geomm.models.blockwise import run_blockwise


def make_inputs(rows, cols, block=8):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, rows * block, cols * block, generator=generator)


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (1, 3), (2, 1), (3, 2)])
def test_every_block_is_run_as_if_alone(rows, cols):
    inputs = make_inputs(rows, cols)

    def body(x):
        assert x.shape[1:] == (3, 8, 8)
        # What each block's map holds depends on all of that block and on nothing else.
        whole = x.mean((2, 3), keepdim=True)
        return [F.avg_pool2d(x, 2) + whole, (F.avg_pool2d(x, 4) * whole)[:, :2]]

    fine, coarse = run_blockwise(body, inputs, 8)
    assert fine.shape == (2, 3, rows * 4, cols * 4)
    assert coarse.shape == (2, 2, rows * 2, cols * 2)
    for row in range(rows):
        for col in range(cols):
            alone = body(inputs[:, :, row * 8 : row * 8 + 8, col * 8 : col * 8 + 8])
            for joined, part, size in ((fine, alone[0], 4), (coarse, alone[1], 2)):
                top, left = row * size, col * size
                found = joined[:, :, top : top + size, left : left + size]
                torch.testing.assert_close(found, part)


def test_gradients_reach_every_pixel():
    inputs = make_inputs(2, 2).requires_grad_()
    (out,) = run_blockwise(lambda x: [F.avg_pool2d(x, 2)], inputs, 8)
    out.sum().backward()
    torch.testing.assert_close(inputs.grad, torch.full_like(inputs, 0.25))
