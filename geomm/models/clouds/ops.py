"""Operations of point networks in the form that a CPU's memory likes; a GPU gets torch's own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.amp.autocast_mode import custom_bwd, custom_fwd
from torch.nn import functional as F

#: Numbers of an array that a core's second cache holds beside two others.
_CACHE_NUMBERS = 1 << 17


def elu(x: Tensor) -> Tensor:
    """Return ELU(x); on a CPU several times faster than torch's, which calls ``expm1`` a number."""
    return _Elu.apply(x) if x.device.type == "cpu" else F.elu(x)  # type: ignore[no-any-return]


def mix_neighbours(
    transform: Tensor, lifted: Tensor, features: Tensor, neighbours: Tensor, kernel: Tensor
) -> Tensor:
    """Return the inner part of an X-Conv: neighbours gathered, transformed and convolved.

    Args:
      transform: (M, K, K), X.
      lifted: (M, K, A), what the local coordinates were lifted to.
      features: (N, B) of the points that neighbours come from.
      neighbours: (M, K) int64 into them.
      kernel: (K, A + B, m) of a depthwise convolution over the neighbours.

    Returns:
      (M, (A + B) * m).
    """
    if features.device.type == "cpu":
        return _MixNeighbours.apply(transform, lifted, features, neighbours, kernel).flatten(1)  # type: ignore[no-any-return]
    return _mix_at_once(transform, lifted, features, neighbours, kernel).flatten(1)


def _mix_at_once(
    transform: Tensor, lifted: Tensor, features: Tensor, neighbours: Tensor, kernel: Tensor
) -> Tensor:
    """Return ``_MixNeighbours`` by operations on the whole arrays, (M, A + B, m)."""
    moved = torch.bmm(transform, _joined(lifted, features, neighbours))
    return torch.einsum("nkc,kcm->ncm", moved, kernel)


class _Elu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        out = x.clamp(max=0).exp_().sub_(1).add_(x.clamp(min=0))
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (out,) = ctx.saved_tensors
        slope: Tensor = out.clamp(max=0).add_(1)
        return slope.mul_(gradients[0])


class _MixNeighbours(torch.autograd.Function):
    """Some points after the other, so that what lies between gathering and summing stays in the cache.

    The (M, K, C) arrays, by far the largest, are never written to memory; the way back makes them
    anew, which costs less than reading them would.
    """

    @staticmethod
    @custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(
        ctx: Any, transform: Tensor, lifted: Tensor, features: Tensor, neighbours: Tensor, kernel: Tensor
    ) -> Tensor:
        ctx.save_for_backward(transform, lifted, features, neighbours, kernel)
        out = features.new_empty(len(neighbours), kernel.shape[1], kernel.shape[2])
        for part in _tiles(kernel, len(neighbours)):
            joined = _joined(lifted[part], features, neighbours[part])
            moved = torch.bmm(transform[part], joined)
            for m in range(kernel.shape[2]):
                torch.sum(moved * kernel[:, :, m], 1, out=out[part, :, m])
        return out

    @staticmethod
    @custom_bwd(device_type="cpu")
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, Tensor]:
        transform, lifted, features, neighbours, kernel = ctx.saved_tensors
        to_transform, to_lifted = torch.empty_like(transform), torch.empty_like(lifted)
        to_features, to_kernel = torch.zeros_like(features), torch.zeros_like(kernel)
        depth = lifted.shape[2]
        for part in _tiles(kernel, len(neighbours)):
            joined = _joined(lifted[part], features, neighbours[part])
            moved = torch.bmm(transform[part], joined)
            gradient = gradients[0][part]
            back = torch.zeros_like(moved)
            for m in range(kernel.shape[2]):
                arriving = gradient[:, None, :, m]
                back.addcmul_(arriving, kernel[:, :, m])
                to_kernel[:, :, m] += (moved * arriving).sum(0)
            torch.bmm(back, joined.transpose(1, 2), out=to_transform[part])
            to_joined = torch.bmm(transform[part].transpose(1, 2), back)
            to_lifted[part] = to_joined[:, :, :depth]
            rest = to_joined[:, :, depth:].reshape(-1, features.shape[1])
            to_features.index_add_(0, neighbours[part].reshape(-1), rest)
        return to_transform, to_lifted, to_features, None, to_kernel


def _tiles(kernel: Tensor, count: int) -> list[slice]:
    """Return runs of points whose (points, K, C) array fits a core's own cache."""
    step = max(_CACHE_NUMBERS // max(kernel.shape[0] * kernel.shape[1], 1), 32)
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def _joined(lifted: Tensor, features: Tensor, neighbours: Tensor) -> Tensor:
    gathered = features.index_select(0, neighbours.reshape(-1))
    return torch.cat([lifted, gathered.view(*neighbours.shape, -1)], dim=2)
