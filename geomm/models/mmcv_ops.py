"""mmcv's operators without a compiler: torchvision's kernels in the place of ``mmcv._ext``.

``mmcv.ops`` asks the extension module ``mmcv._ext`` for its operators by name. Where mmcv was built
without it, ``install`` puts a module of the same name there whose functions call torchvision's
kernels, which run on the CPU and on CUDA, or plain torch. Operators that have no counterpart say so
when they are called. A compiled mmcv is used as it is.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import Any, NoReturn

import torch
import torchvision  # noqa: F401  (its kernels are known to torch.ops from here on)
from torch import Tensor, nn

from geomm.errors import DependencyError
from geomm.models.deformable_ops import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    gradients,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
    ms_deform_attn_backward,
    ms_deform_attn_forward,
    widened,
)


def install() -> bool:
    """Put the stand-in where mmcv looks, before ``mmcv.ops`` is first imported.

    Returns:
      Whether the stand-in is in use; False where mmcv has its own compiled operators.
    """
    present = sys.modules.get("mmcv._ext")
    if present is not None:
        return isinstance(present, _StandIn)
    if importlib.util.find_spec("mmcv._ext") is not None:
        return False
    stand_in = _StandIn("mmcv._ext")
    # mmengine asks importlib whether there are operators, and that refuses a module without a spec.
    stand_in.__spec__ = ModuleSpec("mmcv._ext", None)
    sys.modules["mmcv._ext"] = stand_in
    return True


class _StandIn(types.ModuleType):
    """A module that has an operator of every name; those we do not serve raise when called."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return _SERVED.get(name) or _refusal(name)


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise _lacking("this model", name)

    return refuse


def _lacking(model: str, name: str) -> DependencyError:
    return DependencyError(
        f"{model} needs mmcv's compiled operator {name!r}, which this installation lacks; build "
        "mmcv with a compiler (pip install --no-build-isolation --no-binary :all: onedl-mmcv with "
        "MMCV_WITH_OPS=1) or choose another model"
    )


def check_operators(model: nn.Module, name: str) -> None:
    """Check that a model's layers need no operator that the stand-in lacks.

    Args:
      model: built.
      name: what messages call it.

    Raises:
      DependencyError: one does.
    """
    if not isinstance(sys.modules.get("mmcv._ext"), _StandIn):
        return
    for layer in model.modules():
        operator = _LACKING.get(type(layer).__name__)
        if operator and type(layer).__module__.startswith("mmcv.ops."):
            raise _lacking(name, operator)


def nms(bboxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices that non-maximum suppression keeps, best first.

    Args:
      bboxes: (N, 4) x1 y1 x2 y2.
      scores: (N,).
      iou_threshold: boxes that overlap a better one by more are dropped.
      offset: 1 where the corners are pixels, so that a width is x2 - x1 + 1; else 0.
    """
    if offset:
        bboxes = bboxes + bboxes.new_tensor([0, 0, offset, offset])
    kept: Tensor = torch.ops.torchvision.nms(widened(bboxes), widened(scores), iou_threshold)
    return kept


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft non-maximum suppression (Bodla et al., 2017): overlapping boxes lose score.

    Args:
      boxes: (N, 4).
      scores: (N,).
      dets: (N, 5), filled with the kept boxes and their new scores, best first.
      iou_threshold: of the plain and the linear method.
      sigma: of the Gaussian method.
      min_score: boxes that fall below are dropped.
      method: 0 plain, 1 linear, 2 Gaussian.
      offset: as in ``nms``.

    Returns:
      Indices of the kept boxes.
    """
    left = torch.arange(len(boxes))
    current = scores.clone()
    sizes = (boxes[:, 2:] - boxes[:, :2] + offset).prod(1)
    kept: list[int] = []
    while len(left):
        best = int(current[left].argmax())
        index = left[best]
        dets[len(kept), :4] = boxes[index]
        dets[len(kept), 4] = current[index]
        kept.append(int(index))
        left = torch.cat([left[:best], left[best + 1 :]])
        low = torch.maximum(boxes[left, :2], boxes[index, :2])
        high = torch.minimum(boxes[left, 2:], boxes[index, 2:])
        overlap = (high - low + offset).clamp(min=0).prod(1)
        iou = overlap / (sizes[left] + sizes[index] - overlap)
        if method == 1:
            factor = torch.where(iou >= iou_threshold, 1 - iou, 1.0)
        elif method == 2:
            factor = torch.exp(-(iou**2) / sigma)
        else:
            factor = (iou < iou_threshold).to(current.dtype)
        current[left] *= factor
        left = left[current[left] >= min_score]
    return torch.tensor(kept, dtype=torch.long)


def _check_average(pool_mode: int) -> None:
    if pool_mode != 1:
        _refusal("roi_align with max pooling")()


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign (He et al., 2017): fill ``output`` (R, C, h, w) from ``input`` (B, C, H, W)."""
    _check_average(pool_mode)
    output.copy_(
        torch.ops.torchvision.roi_align(
            *(widened(input), widened(rois), spatial_scale, aligned_height, aligned_width),
            *(sampling_ratio, aligned),
        )
    )


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """The gradient of ``roi_align_forward``, into ``grad_input``."""
    _check_average(pool_mode)
    batch, channels, height, width = grad_input.shape
    grad_input.copy_(
        torch.ops.torchvision._roi_align_backward(
            *(widened(grad_output.contiguous()), widened(rois)),
            *(spatial_scale, aligned_height, aligned_width),
            *(batch, channels, height, width, sampling_ratio, aligned),
        )
    )


def _focal(input: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float) -> Tensor:
    """Sigmoid focal loss (Lin et al., 2017) a number; class K of the target is background."""
    classes = torch.arange(input.shape[1], device=input.device)
    positive = target[:, None] == classes
    p = input.sigmoid()
    log_p = torch.nn.functional.logsigmoid(input)
    log_not = log_p - input  # log(1 - p)
    loss = torch.where(positive, -alpha * (1 - p) ** gamma * log_p, -(1 - alpha) * p**gamma * log_not)
    return loss * weight[target.clamp(max=input.shape[1] - 1)][:, None] if weight.numel() else loss


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, *, gamma: float, alpha: float
) -> None:
    """Fill ``output`` (N, K) with the focal loss of logits (N, K) and classes (N,)."""
    output.copy_(_focal(input, target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, *, gamma: float, alpha: float
) -> None:
    """The gradient of the sum of ``sigmoid_focal_loss_forward``, into ``grad_input``."""
    grad_input.copy_(gradients(lambda x: _focal(x, target, weight, gamma, alpha), [input], None)[0])


_SERVED: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        nms,
        softnms,
        roi_align_forward,
        roi_align_backward,
        sigmoid_focal_loss_forward,
        sigmoid_focal_loss_backward,
        deform_conv_forward,
        deform_conv_backward_input,
        deform_conv_backward_parameters,
        modulated_deform_conv_forward,
        modulated_deform_conv_backward,
        ms_deform_attn_forward,
        ms_deform_attn_backward,
    )
}

#: Layers of ``mmcv.ops`` that mmdet's detectors may hold, by the operator that the stand-in lacks for them.
_LACKING = {
    "MaskedConv2d": "masked_im2col_forward",
    "CARAFE": "carafe_forward",
    "CARAFENaive": "carafe_naive_forward",
    "CARAFEPack": "carafe_forward",
    "RoIPool": "roi_pool_forward",
    "DeformRoIPool": "deform_roi_pool_forward",
    "DeformRoIPoolPack": "deform_roi_pool_forward",
    "ModulatedDeformRoIPoolPack": "deform_roi_pool_forward",
}
