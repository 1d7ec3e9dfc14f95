"""Running a network of one input size on inputs of any."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor


def run_blockwise(body: Callable[[Tensor], Sequence[Tensor]], inputs: Tensor, block_px: int) -> list[Tensor]:
    """Run a network on square blocks and join its maps.

    Args:
      body: takes (N, C, block_px, block_px), returns maps (N, C_i, h_i, w_i).
      inputs: (B, C, H, W), H and W multiples of ``block_px``.
      block_px: the one input size that the network takes, pixels.

    Returns:
      Maps (B, C_i, H / block_px * h_i, W / block_px * w_i); no block sees its neighbours.
    """
    batch, channels, height, width = inputs.shape
    rows, cols = height // block_px, width // block_px
    grid = inputs.reshape(batch, channels, rows, block_px, cols, block_px)
    blocks = grid.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, block_px, block_px)
    joined = []
    for part in body(blocks):
        count, h, w = part.shape[1:]
        tiles = part.reshape(batch, rows, cols, count, h, w).permute(0, 3, 1, 4, 2, 5)
        joined.append(tiles.reshape(batch, count, rows * h, cols * w))
    return joined
