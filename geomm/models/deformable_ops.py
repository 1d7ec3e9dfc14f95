"""mmcv's operators that sample where a network says: torchvision's kernels, and plain torch.

Each has the name and the arguments by which ``mmcv.ops`` calls it; ``geomm.models.mmcv_ops`` puts
them where it looks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def widened(tensor: Any) -> Any:
    """Return a tensor of half precision as float32: torchvision's kernels know no bfloat16."""
    half = tensor is not None and tensor.dtype in (torch.bfloat16, torch.float16)
    return tensor.float() if half else tensor


def gradients(
    function: Callable[..., Tensor], inputs: list[Tensor], grad_output: Tensor | None
) -> tuple[Tensor, ...]:
    """Return the gradients of ``function`` by each input.

    Args:
      function: of tensors, returns one.
      inputs: where to take the gradients.
      grad_output: what to weigh the results' elements by, None for 1.
    """
    with torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in inputs]
        out = function(*leaves)
        seed = torch.ones_like(out) if grad_output is None else grad_output
        return torch.autograd.grad(out, leaves, seed)


def _deform(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    offset: Tensor,
    mask: Tensor | None,
    o: dict[str, Any],
) -> Tensor:
    from torchvision.ops import deform_conv2d

    out: Tensor = deform_conv2d(
        *(widened(tensor) for tensor in (input, offset, weight, bias)),
        stride=(o["stride_h"], o["stride_w"]),
        padding=(o["pad_h"], o["pad_w"]),
        dilation=(o["dilation_h"], o["dilation_w"]),
        mask=widened(mask),
    )
    return out.to(input.dtype)


def _v1(options: dict[str, Any]) -> dict[str, Any]:
    """Name the options of deformable convolution v1 as v2 names them."""
    return {
        "stride_h": options["dH"],
        "stride_w": options["dW"],
        "pad_h": options["padH"],
        "pad_w": options["padW"],
        "dilation_h": options["dilationH"],
        "dilation_w": options["dilationW"],
    }


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **options: Any,
) -> None:
    """Deformable convolution (Dai et al., 2017) into ``output``."""
    output.copy_(_deform(input, weight, None, offset, None, _v1(options)))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **options: Any,
) -> None:
    """The gradients of ``deform_conv_forward`` by input and offset, into the ``grad_`` tensors."""

    def forward(x: Tensor, off: Tensor) -> Tensor:
        return _deform(x, weight, None, off, None, _v1(options))

    by_input, by_offset = gradients(forward, [input, offset], grad_output)
    grad_input.copy_(by_input)
    grad_offset.copy_(by_offset)


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    *,
    scale: float,
    **options: Any,
) -> None:
    """The gradient of ``deform_conv_forward`` by weight, times ``scale``, added to ``grad_weight``."""

    def forward(w: Tensor) -> Tensor:
        return _deform(input, w, None, offset, None, _v1(options))

    # The gradient of a linear map is the same wherever it is taken.
    (by_weight,) = gradients(forward, [grad_weight], grad_output)
    grad_weight.add_(by_weight, alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    **options: Any,
) -> None:
    """Deformable convolution v2 (Zhu et al., 2019) into ``output``."""
    used = bias if options["with_bias"] else None
    output.copy_(_deform(input, weight, used, offset, mask, options))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    **options: Any,
) -> None:
    """The gradients of ``modulated_deform_conv_forward``, added into the ``grad_`` tensors."""

    def forward(x: Tensor, w: Tensor, off: Tensor, m: Tensor) -> Tensor:
        return _deform(x, w, None, off, m, options)

    grads = gradients(forward, [input, weight, offset, mask], grad_output)
    for place, grad in zip((grad_input, grad_weight, grad_offset, grad_mask), grads, strict=True):
        place.add_(grad)
    if options["with_bias"]:
        grad_bias.add_(grad_output.sum((0, 2, 3)))


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    *,
    im2col_step: int,
) -> Tensor:
    """Multi-scale deformable attention (Zhu et al., 2021), by mmcv's own torch form."""
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    return multi_scale_deformable_attn_pytorch(  # type: ignore[no-any-return]
        value, value_spatial_shapes, sampling_locations, attention_weights
    )


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    *,
    im2col_step: int,
) -> None:
    """The gradients of ``ms_deform_attn_forward``, into the ``grad_`` tensors."""

    def forward(v: Tensor, where: Tensor, attention: Tensor) -> Tensor:
        return ms_deform_attn_forward(
            v,
            value_spatial_shapes,
            value_level_start_index,
            where,
            attention,
            im2col_step=im2col_step,
        )

    grads = gradients(forward, [value, sampling_locations, attention_weights], grad_output)
    for place, grad in zip((grad_value, grad_sampling_loc, grad_attn_weight), grads, strict=True):
        place.copy_(grad)
