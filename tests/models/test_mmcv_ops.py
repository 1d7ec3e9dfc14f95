"""Operators of ``mmcv.ops`` that run without mmcv's own extension, against plain definitions."""

import importlib.util
import math
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from geomm.errors import DependencyError
from geomm.models import mmcv_ops

STAND_IN = mmcv_ops.install()
import mmcv.ops  # noqa: E402

needs_stand_in = pytest.mark.skipif(not STAND_IN, reason="mmcv has its own compiled operators")


def make_boxes(count=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = 30 * torch.rand(count, 2, generator=generator)
    size = 1 + 12 * torch.rand(count, 2, generator=generator)
    boxes = torch.cat([corner, corner + size], dim=1)
    scores = torch.randperm(count, generator=generator).float().add(1) / (count + 1)
    return boxes, scores


def iou(a, b, offset):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    areas = [(box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def plain_nms(boxes, scores, threshold, offset):
    kept = []
    for index in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(iou(boxes[index], boxes[other], offset) <= threshold for other in kept):
            kept.append(index)
    return kept


def plain_soft_nms(boxes, scores, threshold, sigma, least, method, offset):
    fade = {
        "naive": lambda o: float(o < threshold),
        "linear": lambda o: 1 - o if o >= threshold else 1.0,
        "gaussian": lambda o: math.exp(-o * o / sigma),
    }[method]
    left, kept = dict(enumerate(scores)), []
    while left:
        best = max(left, key=left.get)
        kept.append((best, left.pop(best)))
        faded = {i: s * fade(iou(boxes[i], boxes[best], offset)) for i, s in left.items()}
        left = {i: s for i, s in faded.items() if s >= least}
    return kept


def bilinear(image, y, x):
    """Sample an (H, W) image, 0 outside of it."""
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for col in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < image.shape[0] and 0 <= col < image.shape[1]:
                total += image[row, col] * (1 - abs(y - row)) * (1 - abs(x - col))
    return total


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("threshold", [0.11, 0.31, 0.61])
@pytest.mark.parametrize("seed", range(3))
class TestNms:
    def test_it_keeps_what_the_definition_keeps(self, offset, threshold, seed):
        boxes, scores = make_boxes(seed=seed)
        kept, indices = mmcv.ops.nms(boxes, scores, threshold, offset=offset)
        expected = plain_nms(boxes.tolist(), scores.tolist(), threshold, offset)
        assert indices.tolist() == expected
        assert torch.equal(kept, torch.cat([boxes, scores[:, None]], 1)[expected])

    @pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
    def test_its_soft_form_fades_what_the_definition_fades(self, offset, threshold, seed, method):
        boxes, scores = make_boxes(seed=seed)
        before = scores.clone()
        options = {"sigma": 0.5, "min_score": 0.05, "method": method, "offset": offset}
        kept, indices = mmcv.ops.soft_nms(boxes, scores, threshold, **options)
        expected = plain_soft_nms(boxes.tolist(), scores.tolist(), threshold, 0.5, 0.05, method, offset)
        assert indices.tolist() == [index for index, _ in expected]
        assert torch.equal(kept[:, :4], boxes[indices])
        np.testing.assert_allclose(kept[:, 4], [score for _, score in expected], rtol=1e-5)
        assert torch.equal(scores, before)


def test_the_offset_of_nms_matters():
    boxes = torch.tensor([[0.0, 0.0, 3.0, 3.0], [2.0, 0.0, 5.0, 3.0]])
    scores = torch.tensor([0.9, 0.8])
    assert len(mmcv.ops.nms(boxes, scores, 0.25, offset=0)[1]) == 2
    assert len(mmcv.ops.nms(boxes, scores, 0.25, offset=1)[1]) == 1


def test_nms_of_numpy_arrays_gives_numpy_arrays():
    boxes, scores = (tensor.numpy() for tensor in make_boxes())
    kept, indices = mmcv.ops.nms(boxes, scores, 0.3)
    assert isinstance(kept, np.ndarray) and isinstance(indices, np.ndarray)


def test_nms_obeys_a_least_score_and_a_count():
    boxes, scores = make_boxes()
    _, indices = mmcv.ops.nms(boxes, scores, 0.3, score_threshold=0.5, max_num=3)
    assert len(indices) == 3 and (scores[indices] > 0.5).all()
    assert indices.tolist() == mmcv.ops.nms(boxes, scores, 0.3)[1].tolist()[:3]


def test_boxes_of_two_classes_do_not_suppress_each_other():
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 4.0]])
    scores = torch.tensor([0.9, 0.8])
    options = {"type": "nms", "iou_threshold": 0.5}
    assert len(mmcv.ops.batched_nms(boxes, scores, torch.tensor([0, 1]), options)[1]) == 2
    assert len(mmcv.ops.batched_nms(boxes, scores, torch.tensor([0, 0]), options)[1]) == 1


@pytest.mark.parametrize("function", [mmcv.ops.nms, mmcv.ops.soft_nms])
def test_no_boxes_are_no_boxes(function):
    kept, indices = function(torch.zeros(0, 4), torch.zeros(0), 0.3)
    assert kept.shape == (0, 5) and indices.shape == (0,)


def plain_roi_align(inputs, rois, size, scale, samples, aligned):
    """Average bilinear samples a bin; coordinates up to one pixel outside are moved to the edge."""
    _, channels, height, width = inputs.shape
    output = np.zeros((len(rois), channels, *size))

    def sample(image, y, x):
        if not (-1 <= y <= height and -1 <= x <= width):
            return 0.0
        return bilinear(image, min(max(y, 0), height - 1), min(max(x, 0), width - 1))

    for n, (image, *box) in enumerate(rois):
        x1, y1, x2, y2 = (value * scale - (0.5 if aligned else 0.0) for value in box)
        least = -math.inf if aligned else 1.0
        bin_w, bin_h = max(x2 - x1, least) / size[1], max(y2 - y1, least) / size[0]
        rows = samples or math.ceil(bin_h)
        cols = samples or math.ceil(bin_w)
        for c, i, j in np.ndindex(channels, *size):
            values = [
                sample(
                    inputs[int(image), c],
                    y1 + (i + (a + 0.5) / rows) * bin_h,
                    x1 + (j + (b + 0.5) / cols) * bin_w,
                )
                for a in range(rows)
                for b in range(cols)
            ]
            output[n, c, i, j] = np.mean(values)
    return output


ROIS = [[0, 1.3, 2.2, 9.1, 11.4], [1, 0.0, 0.0, 15.0, 15.0], [1, 10.2, 3.1, 19.0, 22.0]]


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("samples", [0, 2])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_roi_align_is_its_definition(aligned, samples, scale):
    inputs = torch.randn(2, 2, 12, 14, generator=torch.Generator().manual_seed(0)).double()
    rois = torch.tensor(ROIS, dtype=torch.float64)
    found = mmcv.ops.roi_align(inputs, rois, (3, 2), scale, samples, "avg", aligned)
    expected = plain_roi_align(inputs.numpy(), ROIS, (3, 2), scale, samples, aligned)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("aligned", [True, False])
def test_the_gradient_of_roi_align_is_the_numerical_one(aligned):
    inputs = torch.randn(2, 1, 6, 7, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0, 0.7, 1.1, 5.2, 4.3], [1, 2.3, 0.4, 6.1, 5.6]]).double()
    assert gradcheck(lambda x: mmcv.ops.roi_align(x, rois, (2, 2), 1.0, 2, "avg", aligned), inputs)


@needs_stand_in
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_roi_align_and_nms_take_half_precision(dtype):
    """Mixed precision gives it to them, and torchvision's kernels do not all know it."""
    inputs = torch.randn(2, 2, 12, 14, generator=torch.Generator().manual_seed(0)).to(dtype)
    rois = torch.tensor(ROIS, dtype=torch.float32)
    results = []
    for kind in (dtype, torch.float32):
        x = inputs.detach().clone().to(kind).requires_grad_()
        out = mmcv.ops.roi_align(x, rois.to(kind), (3, 2), 0.5, 2, "avg", True)
        out.float().square().sum().backward()
        assert out.dtype == x.grad.dtype == kind
        results += [out.float().detach(), x.grad.float()]
    torch.testing.assert_close(results[0], results[2], rtol=0.02, atol=0.02)
    torch.testing.assert_close(results[1], results[3], rtol=0.05, atol=0.1)
    boxes = torch.tensor([[0, 0, 8, 8], [0, 0, 8, 7], [20, 20, 30, 30.0]], dtype=dtype)
    kept = mmcv.ops.nms(boxes, torch.tensor([0.5, 0.9, 0.7], dtype=dtype), 0.5)[1]
    assert kept.tolist() == [1, 2]


def test_roi_align_with_max_pooling_is_refused():
    with pytest.raises(DependencyError, match="max pooling"):
        mmcv.ops.roi_align(torch.rand(1, 1, 8, 8), torch.tensor(ROIS[:1]), (2, 2), 1.0, 2, "max")


def plain_focal(logits, target, gamma, alpha, weight):
    loss = np.zeros(logits.shape)
    for n, k in np.ndindex(*logits.shape):
        p = 1 / (1 + math.exp(-logits[n, k]))
        if target[n] == k:
            loss[n, k] = -alpha * (1 - p) ** gamma * math.log(p)
        else:
            loss[n, k] = -(1 - alpha) * p**gamma * math.log(1 - p)
        if weight is not None:
            loss[n, k] *= weight[target[n]]
    return loss


@pytest.mark.parametrize("weight", [None, [1.0, 0.5, 2.0]])
@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.5, 0.6), (0.0, 0.5)])
class TestSigmoidFocalLoss:
    def make(self, weight):
        logits = 3 * torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).double()
        # Class 3 is background; weights know no background.
        target = torch.tensor([0, 1, 2, 0, 1, 2, 2, 1 if weight else 3])
        return logits, target, None if weight is None else torch.tensor(weight).double()

    def test_it_is_its_definition(self, gamma, alpha, weight):
        logits, target, tensor = self.make(weight)
        found = mmcv.ops.sigmoid_focal_loss(logits, target, gamma, alpha, tensor, "none")
        expected = plain_focal(logits.numpy(), target.tolist(), gamma, alpha, weight)
        np.testing.assert_allclose(found, expected, rtol=1e-7)

    @pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
    def test_its_gradient_is_the_numerical_one(self, gamma, alpha, weight, reduction):
        logits, target, tensor = self.make(weight)

        def loss(x):
            return mmcv.ops.sigmoid_focal_loss(x, target, gamma, alpha, tensor, reduction)

        assert gradcheck(loss, logits.requires_grad_())


def test_the_mean_of_sigmoid_focal_loss_is_that_of_torchvision():
    from torchvision.ops import sigmoid_focal_loss

    logits = torch.randn(6, 4)
    target = torch.tensor([0, 3, 1, 2, 2, 0])
    truth = torch.nn.functional.one_hot(target, 4).float()
    expected = sigmoid_focal_loss(logits, truth, 0.25, 2.0, reduction="sum") / 6
    found = mmcv.ops.sigmoid_focal_loss(logits, target, 2.0, 0.25, None, "mean")
    torch.testing.assert_close(found, expected)


def test_sigmoid_focal_loss_stands_extreme_logits():
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    loss = mmcv.ops.sigmoid_focal_loss(logits, torch.tensor([0, 0]), 2.0, 0.25, None, "sum")
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


def plain_deform_conv(inputs, offset, mask, weight, bias, stride, padding, dilation, groups, deform):
    count, channels, *_ = inputs.shape
    out_channels, per_group, kernel_h, kernel_w = weight.shape
    height, width = offset.shape[-2:]
    taps = kernel_h * kernel_w
    output = np.zeros((count, out_channels, height, width))
    for n, o, row, col in np.ndindex(*output.shape):
        total = 0.0 if bias is None else bias[o]
        for k, i, j in np.ndindex(per_group, kernel_h, kernel_w):
            channel = o // (out_channels // groups) * per_group + k
            part = channel // (channels // deform)
            tap = part * taps + i * kernel_w + j
            y = row * stride - padding + i * dilation + offset[n, 2 * tap, row, col]
            x = col * stride - padding + j * dilation + offset[n, 2 * tap + 1, row, col]
            value = bilinear(inputs[n, channel], y, x) * mask[n, tap, row, col]
            total += weight[o, k, i, j] * value
        output[n, o, row, col] = total
    return output


def make_deform(groups, deform, stride, padding, dilation, size=7):
    generator = torch.Generator().manual_seed(0)
    out = (size + 2 * padding - 2 * dilation - 1) // stride + 1

    def randn(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return (
        randn(2, 4, size, size),
        randn(2, deform * 18, out, out),
        randn(2, deform * 9, out, out).sigmoid(),
        randn(4, 4 // groups, 3, 3),
        randn(4),
    )


DEFORM = [(1, 1, 1, 1, 1), (2, 1, 2, 1, 1), (1, 2, 1, 2, 2), (2, 2, 1, 0, 1)]


@pytest.mark.parametrize(("groups", "deform", "stride", "padding", "dilation"), DEFORM)
@pytest.mark.parametrize("with_bias", [True, False])
def test_deformable_convolution_is_its_definition(groups, deform, stride, padding, dilation, with_bias):
    inputs, offset, mask, weight, bias = make_deform(groups, deform, stride, padding, dilation)
    options = (stride, padding, dilation, groups, deform)
    found = mmcv.ops.modulated_deform_conv2d(
        inputs, offset, mask, weight, bias if with_bias else None, *options
    )
    arrays = [tensor.numpy() for tensor in (inputs, offset, mask, weight)]
    expected = plain_deform_conv(*arrays, bias.numpy() if with_bias else None, *options)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_deformable_convolution_without_offsets_is_convolution():
    inputs, offset, mask, weight, bias = make_deform(1, 1, 1, 1, 1)
    found = mmcv.ops.modulated_deform_conv2d(inputs, 0 * offset, torch.ones_like(mask), weight, bias, 1, 1)
    torch.testing.assert_close(found, torch.conv2d(inputs, weight, bias, padding=1))


def test_deformable_convolution_takes_half_precision():
    results = []
    for dtype in (torch.bfloat16, torch.float32):
        tensors = [t.to(torch.bfloat16).to(dtype) for t in make_deform(1, 1, 1, 1, 1)]
        leaves = [t.detach().clone().requires_grad_() for t in tensors]
        out = mmcv.ops.modulated_deform_conv2d(*leaves, 1, 1)
        out.float().sum().backward()
        results.append([out.float().detach(), leaves[0].grad.float()])
    for half, single in zip(*results, strict=True):
        torch.testing.assert_close(half, single, rtol=0.05, atol=0.1)


@pytest.mark.parametrize(("groups", "deform", "stride", "padding", "dilation"), DEFORM[:3])
def test_the_gradient_of_deformable_convolution_is_the_numerical_one(
    groups, deform, stride, padding, dilation
):
    tensors = make_deform(groups, deform, stride, padding, dilation, size=5)
    leaves = [tensor[:1] if tensor.dim() == 4 and len(tensor) == 2 else tensor for tensor in tensors]
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    options = (stride, padding, dilation, groups, deform)
    assert gradcheck(lambda *t: mmcv.ops.modulated_deform_conv2d(*t, *options), leaves, fast_mode=True)


def test_the_packed_layer_of_deformable_convolution_trains():
    layer = mmcv.ops.ModulatedDeformConv2dPack(4, 6, 3, padding=1)
    out = layer(torch.rand(2, 4, 8, 8))
    out.square().sum().backward()
    assert out.shape == (2, 6, 8, 8)
    assert layer.weight.grad.abs().sum() > 0 and layer.conv_offset.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("groups", "deform", "stride", "padding", "dilation"), DEFORM)
def test_deformable_convolution_v1_is_v2_without_modulation(groups, deform, stride, padding, dilation):
    inputs, offset, mask, weight, _ = make_deform(groups, deform, stride, padding, dilation)
    options = (stride, padding, dilation, groups, deform)
    found = mmcv.ops.deform_conv2d(inputs, offset, weight, *options)
    arrays = [tensor.numpy() for tensor in (inputs, offset, torch.ones_like(mask), weight)]
    np.testing.assert_allclose(found, plain_deform_conv(*arrays, None, *options), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("groups", "deform", "stride", "padding", "dilation"), DEFORM[:3])
def test_the_gradient_of_deformable_convolution_v1_is_the_numerical_one(
    groups, deform, stride, padding, dilation
):
    inputs, offset, _, weight, _ = make_deform(groups, deform, stride, padding, dilation, size=5)
    leaves = [leaf.clone().requires_grad_() for leaf in (inputs[:1], offset[:1], weight)]
    options = (stride, padding, dilation, groups, deform)
    assert gradcheck(lambda *t: mmcv.ops.deform_conv2d(*t, *options), leaves, fast_mode=True)


def test_the_packed_layer_of_deformable_convolution_v1_trains():
    layer = mmcv.ops.DeformConv2dPack(4, 6, 3, padding=1)
    out = layer(torch.rand(2, 4, 8, 8))
    out.square().sum().backward()
    assert out.shape == (2, 6, 8, 8)
    assert layer.weight.grad.abs().sum() > 0 and layer.conv_offset.weight.grad.abs().sum() > 0


def make_attention():
    generator = torch.Generator().manual_seed(0)
    shapes = torch.tensor([[4, 5], [2, 3]])
    starts = torch.tensor([0, 20])
    value = torch.randn(2, 26, 2, 3, generator=generator, dtype=torch.float64)
    where = 1.2 * torch.rand(2, 4, 2, 2, 3, 2, generator=generator, dtype=torch.float64) - 0.1
    weights = torch.rand(2, 4, 2, 6, generator=generator, dtype=torch.float64)
    weights = weights.softmax(-1).view(2, 4, 2, 2, 3)
    return value, shapes, starts, where, weights


def attend(value, shapes, starts, where, weights):
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    return MultiScaleDeformableAttnFunction.apply(value, shapes, starts, where, weights, 64)


def test_multi_scale_deformable_attention_is_its_definition():
    value, shapes, starts, where, weights = make_attention()
    found = attend(value, shapes, starts, where, weights)
    expected = np.zeros((2, 4, 2, 3))
    for n, q, head, c in np.ndindex(*expected.shape):
        for level, (height, width) in enumerate(shapes.tolist()):
            start = int(starts[level])
            image = value[n, start : start + height * width, head, c].view(height, width).numpy()
            for point in range(3):
                x, y = where[n, q, head, level, point].tolist()
                sample = bilinear(image, y * height - 0.5, x * width - 0.5)
                expected[n, q, head, c] += float(weights[n, q, head, level, point]) * sample
    np.testing.assert_allclose(found, expected.reshape(2, 4, 6), rtol=1e-9, atol=1e-12)


def test_the_gradient_of_multi_scale_deformable_attention_is_the_numerical_one():
    value, shapes, starts, where, weights = make_attention()
    leaves = [tensor.requires_grad_() for tensor in (value, where, weights)]
    assert gradcheck(lambda v, loc, w: attend(v, shapes, starts, loc, w), leaves, fast_mode=True)


def test_the_attention_module_runs():
    module = mmcv.ops.MultiScaleDeformableAttention(
        embed_dims=16, num_heads=2, num_levels=2, num_points=3, batch_first=True
    )
    module.init_weights()
    out = module(
        query=torch.rand(1, 26, 16),
        value=torch.rand(1, 26, 16),
        reference_points=torch.rand(1, 26, 2, 2),
        spatial_shapes=torch.tensor([[4, 5], [2, 3]]),
        level_start_index=torch.tensor([0, 20]),
    )
    assert out.shape == (1, 26, 16) and torch.isfinite(out).all()


@needs_stand_in
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("box_iou_rotated", lambda: mmcv.ops.box_iou_rotated(torch.rand(2, 5), torch.rand(3, 5))),
        ("nms_rotated", lambda: mmcv.ops.nms_rotated(torch.rand(2, 5), torch.rand(2), 0.5)),
        ("roi_pool_forward", lambda: mmcv.ops.roi_pool(torch.rand(1, 1, 8, 8), torch.rand(1, 5), 2)),
    ],
)
def test_an_operator_that_is_not_served_says_so_when_called(name, call):
    with pytest.raises(DependencyError, match=f"compiled operator '{name}'"):
        call()


@needs_stand_in
@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (lambda: mmcv.ops.MaskedConv2d(2, 2, 3), "masked_im2col_forward"),
        (lambda: mmcv.ops.CARAFEPack(4, 2), "carafe_forward"),
        (lambda: mmcv.ops.RoIPool(2), "roi_pool_forward"),
    ],
)
def test_a_layer_whose_operator_is_not_served_is_named_before_it_runs(layer, name):
    with pytest.raises(DependencyError, match=f"this head needs mmcv's compiled operator '{name}'"):
        mmcv_ops.check_operators(torch.nn.Sequential(torch.nn.ReLU(), layer()), "this head")
    mmcv_ops.check_operators(mmcv.ops.DeformConv2dPack(2, 2, 3), "this head")


@needs_stand_in
def test_nms_runs_before_anything_else_has_imported_torchvision():
    code = (
        "from geomm.models import mmcv_ops; mmcv_ops.install();"
        "import torch, mmcv.ops; mmcv.ops.nms(torch.rand(2, 4), torch.rand(2), 0.5)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@needs_stand_in
def test_every_served_operator_is_what_mmcv_asked_for():
    extension = sys.modules["mmcv._ext"]
    for name, function in mmcv_ops._SERVED.items():
        assert getattr(extension, name) is function


@needs_stand_in
def test_the_stand_in_does_not_pretend_to_have_module_attributes():
    with pytest.raises(AttributeError):
        sys.modules["mmcv._ext"].__path__  # noqa: B018


@needs_stand_in
def test_installing_twice_changes_nothing():
    before = sys.modules["mmcv._ext"]
    assert mmcv_ops.install()
    assert sys.modules["mmcv._ext"] is before


def test_a_compiled_mmcv_is_used_as_it_is(monkeypatch):
    compiled = types.ModuleType("mmcv._ext")
    monkeypatch.setitem(sys.modules, "mmcv._ext", compiled)
    assert not mmcv_ops.install()
    assert sys.modules["mmcv._ext"] is compiled


def test_mmengines_runner_finds_the_operators():
    mmcv_ops.install()
    assert importlib.util.find_spec("mmcv._ext") is not None
