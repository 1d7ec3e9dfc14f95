"""Each loss against a plain definition, other libraries' and the contract of all."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from geomm.config.fitting import fitting_options
from geomm.errors import ConfigError
from geomm.models.losses import (
    CrossEntropyLoss,
    DiceLoss,
    FocalLoss,
    LovaszLoss,
    build_losses,
    class_weights,
)
from geomm.registry import LOSSES
from geomm.structures import IGNORE_INDEX
from tests.models.common import composed, make_spec

WEIGHT = [1.0, 3.0, 0.5]
CLASSES = 3


def make_case(seed=0, ignored=0.2, size=(2, 9, 7), scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    scores = scale * torch.randn(size[0], CLASSES, *size[1:], generator=generator)
    target = torch.randint(0, CLASSES, size, generator=generator)
    target[torch.rand(size, generator=generator) < ignored] = IGNORE_INDEX
    return scores, target


def pixels(scores, target):
    """Yield each labelled pixel's probabilities and class, in float64."""
    logits = scores.double().numpy()
    for b, row, col in np.argwhere(target.numpy() != IGNORE_INDEX):
        e = np.exp(logits[b, :, row, col] - logits[b, :, row, col].max())
        yield e / e.sum(), int(target[b, row, col])


def plain_cross_entropy(scores, target, weight, smoothing=0.0):
    loss = total = 0.0
    for p, c in pixels(scores, target):
        loss -= (1 - smoothing) * weight[c] * np.log(p[c])
        loss -= smoothing / CLASSES * sum(weight[k] * np.log(p[k]) for k in range(CLASSES))
        total += weight[c]
    return loss / total


def plain_focal(scores, target, weight, gamma):
    loss = total = 0.0
    for p, c in pixels(scores, target):
        loss -= weight[c] * (1 - p[c]) ** gamma * np.log(p[c])
        total += weight[c]
    return loss / total


def plain_dice(scores, target, weight, smooth=1.0):
    known = list(pixels(scores, target))
    loss = total = 0.0
    for k in sorted({c for _, c in known}):
        overlap = sum(p[k] for p, c in known if c == k)
        size = sum(p[k] for p, _ in known) + sum(c == k for _, c in known)
        loss += weight[k] * (1 - (2 * overlap + smooth) / (size + smooth))
        total += weight[k]
    return loss / total


def jaccard_loss(truth, wrong):
    """Return 1 - IoU of a class when the pixels in ``wrong`` are mistaken."""
    missed = sum(truth[i] for i in wrong)
    false = len(wrong) - missed
    return 1 - (sum(truth) - missed) / (sum(truth) + false)


def plain_lovasz(scores, target, weight):
    known = list(pixels(scores, target))
    loss = total = 0.0
    for k in sorted({c for _, c in known}):
        truth = [int(c == k) for _, c in known]
        errors = [abs(t - p[k]) for t, (p, _) in zip(truth, known, strict=True)]
        order = sorted(range(len(errors)), key=lambda i: -errors[i])
        before, part = 0.0, 0.0
        for n, i in enumerate(order):
            after = jaccard_loss(truth, order[: n + 1])
            part += errors[i] * (after - before)
            before = after
        loss += weight[k] * part
        total += weight[k]
    return loss / total


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("seed", range(3))
class TestAgainstPlainDefinitions:
    def check(self, loss, plain, seed, weight, **options):
        case = make_case(seed)
        expected = plain(*case, weight or [1.0] * CLASSES, **options)
        assert loss(*case).item() == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    def test_cross_entropy(self, seed, weight, smoothing):
        loss = CrossEntropyLoss(spec=make_spec(), class_weight=weight, label_smoothing=smoothing)
        self.check(loss, plain_cross_entropy, seed, weight, smoothing=smoothing)

    @pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
    def test_focal(self, seed, weight, gamma):
        loss = FocalLoss(spec=make_spec(), class_weight=weight, gamma=gamma)
        self.check(loss, plain_focal, seed, weight, gamma=gamma)

    @pytest.mark.parametrize("smooth", [1.0, 0.1])
    def test_dice(self, seed, weight, smooth):
        loss = DiceLoss(spec=make_spec(), class_weight=weight, smooth=smooth)
        self.check(loss, plain_dice, seed, weight, smooth=smooth)

    def test_lovasz(self, seed, weight):
        self.check(LovaszLoss(spec=make_spec(), class_weight=weight), plain_lovasz, seed, weight)


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_cross_entropy_is_that_of_torch(weight):
    scores, target = make_case()
    found = CrossEntropyLoss(spec=make_spec(), class_weight=weight)(scores, target)
    w = None if weight is None else torch.tensor(weight)
    torch.testing.assert_close(found, F.cross_entropy(scores, target, w, ignore_index=255))


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_focal_loss_without_focus_is_cross_entropy(weight):
    case = make_case()
    spec = make_spec()
    focal = FocalLoss(spec=spec, class_weight=weight, gamma=0.0)(*case)
    torch.testing.assert_close(focal, CrossEntropyLoss(spec=spec, class_weight=weight)(*case))


def test_focal_loss_of_two_classes_is_the_sigmoid_form_of_torchvision():
    from torchvision.ops import sigmoid_focal_loss

    scores, target = make_case(ignored=0.0)
    scores, target = scores[:, :2], target.clamp(max=1)
    logit = scores[:, 1] - scores[:, 0]
    expected = sigmoid_focal_loss(logit, target.float(), alpha=-1, gamma=2.0, reduction="mean")
    found = FocalLoss(spec=make_spec(classes=("a", "b")), gamma=2.0)(scores, target)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("smooth", [0.1, 1.0])
def test_dice_loss_is_that_of_segmentation_models_pytorch(smooth):
    smp = pytest.importorskip("segmentation_models_pytorch")
    scores, target = make_case(size=(2, 32, 32))
    theirs = smp.losses.DiceLoss("multiclass", smooth=smooth / 2, ignore_index=IGNORE_INDEX)
    found = DiceLoss(spec=make_spec(), smooth=smooth)(scores, target)
    torch.testing.assert_close(found, theirs(scores, target))


def test_lovasz_loss_is_that_of_segmentation_models_pytorch():
    smp = pytest.importorskip("segmentation_models_pytorch")
    scores, target = make_case(size=(2, 32, 32))
    theirs = smp.losses.LovaszLoss("multiclass", ignore_index=IGNORE_INDEX, from_logits=True)
    torch.testing.assert_close(LovaszLoss(spec=make_spec())(scores, target), theirs(scores, target))


def test_lovasz_loss_is_that_of_mmseg():
    pytest.importorskip("mmseg")
    from geomm.models.frameworks import load_framework

    load_framework("mmseg")
    from mmseg.models.losses import LovaszLoss as Theirs

    scores, target = make_case(size=(2, 32, 32))
    expected = Theirs(reduction="none")(scores, target, ignore_index=IGNORE_INDEX)
    torch.testing.assert_close(LovaszLoss(spec=make_spec())(scores, target), expected)


def test_dice_and_lovasz_of_certain_scores_are_those_of_the_metrics():
    from torchmetrics.functional.classification import multiclass_f1_score, multiclass_jaccard_index

    scores, target = make_case(size=(2, 32, 32))
    certain = 1e4 * F.one_hot(scores.argmax(1), CLASSES).permute(0, 3, 1, 2).float()
    arguments = {"num_classes": CLASSES, "average": "macro", "ignore_index": IGNORE_INDEX}
    iou = multiclass_jaccard_index(scores.argmax(1), target, **arguments)
    f1 = multiclass_f1_score(scores.argmax(1), target, **arguments)
    spec = make_spec()
    torch.testing.assert_close(1 - LovaszLoss(spec=spec)(certain, target), iou)
    torch.testing.assert_close(1 - DiceLoss(spec=spec, smooth=1e-6)(certain, target), f1)


def make_loss(name, **options):
    return LOSSES.build({"type": name, **options}, spec=make_spec())


#: Losses of a class a pixel; those of whole pictures are tested beside their classifier.
OF_PIXELS = [name for name in LOSSES.names if not name.startswith("Label")]


@pytest.mark.parametrize("name", OF_PIXELS)
class TestContract:
    def test_it_is_a_finite_scalar_that_is_never_negative(self, name):
        loss = make_loss(name)(*make_case())
        assert loss.shape == () and torch.isfinite(loss) and loss >= 0

    def test_it_pulls_every_labelled_pixel_towards_its_class(self, name):
        scores, target = make_case()
        leaf = scores.requires_grad_()
        make_loss(name)(leaf, target).backward()
        keep = target != IGNORE_INDEX
        own = leaf.grad.gather(1, torch.where(keep, target, 0)[:, None])[:, 0]
        assert torch.isfinite(leaf.grad).all()
        assert (own[keep] <= 0).all() and (own[keep] < 0).any()

    def test_unlabelled_pixels_get_no_gradient(self, name):
        scores, target = make_case()
        leaf = scores.requires_grad_()
        make_loss(name)(leaf, target).backward()
        assert not leaf.grad.permute(0, 2, 3, 1)[target == IGNORE_INDEX].any()

    def test_scores_of_unlabelled_pixels_do_not_count(self, name):
        scores, target = make_case()
        other = torch.where((target == IGNORE_INDEX)[:, None], torch.tensor(50.0), scores)
        loss = make_loss(name)
        torch.testing.assert_close(loss(other, target), loss(scores, target))

    def test_a_batch_without_a_label_gives_zero_with_a_zero_gradient(self, name):
        scores, target = make_case()
        leaf = scores.requires_grad_()
        loss = make_loss(name)(leaf, torch.full_like(target, IGNORE_INDEX))
        loss.backward()
        assert loss.item() == 0
        assert not leaf.grad.any()

    def test_an_unlabelled_batch_of_half_precision_gives_zero(self, name):
        scores = torch.full((2, CLASSES, 64, 64), 60000.0, dtype=torch.float16)
        target = torch.full((2, 64, 64), IGNORE_INDEX)
        assert make_loss(name)(scores, target).item() == 0

    def test_perfect_scores_cost_next_to_nothing(self, name):
        _, target = make_case(ignored=0.0)
        scores = 60.0 * F.one_hot(target, CLASSES).permute(0, 3, 1, 2).float()
        leaf = scores.requires_grad_()
        loss = make_loss(name)(leaf, target)
        loss.backward()
        assert loss.item() == pytest.approx(0, abs=1e-5)
        assert torch.isfinite(leaf.grad).all()

    def test_extreme_mistakes_stay_finite(self, name):
        _, target = make_case(ignored=0.0)
        scores = 1e4 * F.one_hot((target + 1) % CLASSES, CLASSES).permute(0, 3, 1, 2).float()
        leaf = scores.requires_grad_()
        loss = make_loss(name)(leaf, target)
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(leaf.grad).all()

    def test_better_scores_cost_less(self, name):
        scores, target = make_case(ignored=0.0)
        better = scores + F.one_hot(target, CLASSES).permute(0, 3, 1, 2)
        loss = make_loss(name)
        assert loss(better, target) < loss(scores, target)

    def test_equal_weights_change_nothing(self, name):
        case = make_case()
        torch.testing.assert_close(make_loss(name, class_weight=[2.0] * 3)(*case), make_loss(name)(*case))

    def test_a_class_of_no_weight_does_not_count(self, name):
        scores, target = make_case()
        leaf = scores.requires_grad_()
        only_first = torch.where(target == IGNORE_INDEX, target, 0)
        loss = make_loss(name, class_weight=[0.0, 1.0, 1.0])(leaf, only_first)
        loss.backward()
        assert loss.item() == 0
        assert not leaf.grad.any()

    def test_half_precision_is_summed_in_full(self, name):
        scores, target = make_case(size=(2, 64, 64))
        loss = make_loss(name)
        half = loss(scores.bfloat16(), target)
        assert half.dtype == torch.float32
        torch.testing.assert_close(half, loss(scores.bfloat16().float(), target))

    def test_its_weights_stay_out_of_the_checkpoint(self, name):
        assert not make_loss(name, class_weight="auto").state_dict()

    def test_a_single_labelled_pixel_is_enough(self, name):
        scores, target = make_case()
        target = torch.full_like(target, IGNORE_INDEX)
        target[0, 0, 0] = 1
        leaf = scores.requires_grad_()
        make_loss(name)(leaf, target).backward()
        assert torch.isfinite(leaf.grad).all() and leaf.grad[0, 1, 0, 0] < 0


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_the_gradient_of_focal_loss_is_finite_where_the_model_is_certain(gamma):
    target = torch.tensor([[[0, IGNORE_INDEX]]])
    scores = torch.tensor([[[[200.0, 200.0]], [[0.0, 0.0]], [[0.0, 0.0]]]], requires_grad=True)
    FocalLoss(spec=make_spec(), gamma=gamma)(scores, target).backward()
    assert torch.isfinite(scores.grad).all()


def test_classes_that_are_not_in_the_batch_do_not_count_in_dice_and_lovasz():
    scores, target = make_case()
    target[target == 2] = IGNORE_INDEX
    for loss, plain in [(DiceLoss, plain_dice), (LovaszLoss, plain_lovasz)]:
        expected = plain(scores, target, [1.0] * CLASSES)
        assert loss(spec=make_spec())(scores, target).item() == pytest.approx(expected, rel=1e-5)


def test_automatic_weights_are_the_inverse_root_of_the_share_with_a_mean_of_one():
    found = class_weights("auto", make_spec(class_pixels=(1, 100, 10000)))
    expected = np.array([100.0, 10.0, 1.0])
    np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-6)


def test_automatic_weights_stand_a_class_without_pixels():
    assert torch.isfinite(class_weights("auto", make_spec(class_pixels=(0, 5, 9)))).all()


def test_automatic_weights_need_counts():
    assert class_weights("auto", make_spec(class_pixels=None)) is None


def test_no_weights_are_none():
    assert class_weights(None, make_spec()) is None


def test_a_list_of_weights_is_taken_as_it_is():
    assert class_weights([1, 2, 3.5], make_spec()).tolist() == [1, 2, 3.5]


@pytest.mark.parametrize("wrong", [[1.0, 2.0], [1.0] * 4, "rare", []])
def test_weights_of_another_length_name_the_classes(wrong):
    with pytest.raises(ConfigError, match=r"loss\.class_weight.*3 numbers.*soil, water, tree"):
        class_weights(wrong, make_spec())


@pytest.mark.parametrize("name", fitting_options("loss", "segmentation"))
def test_every_loss_config_is_built(name):
    losses = build_losses(composed(f"loss={name}")["loss"], make_spec())
    found = losses(*make_case())
    assert found and all(key.startswith("loss_") for key in found)
    assert all(torch.isfinite(value) for value in found.values())


def test_parts_are_named_and_scaled_by_their_share():
    config = {
        "parts": {
            "cross_entropy": {"type": "CrossEntropyLoss", "share": 0.25},
            "dice": {"type": "DiceLoss", "share": 2.0},
        }
    }
    case = make_case()
    found = build_losses(config, make_spec())(*case)
    assert set(found) == {"loss_crossentropy", "loss_dice"}
    spec = make_spec()
    torch.testing.assert_close(found["loss_crossentropy"], 0.25 * CrossEntropyLoss(spec=spec)(*case))
    torch.testing.assert_close(found["loss_dice"], 2 * DiceLoss(spec=spec)(*case))


def test_a_list_of_losses_is_added():
    found = build_losses([{"type": "FocalLoss"}, {"type": "LovaszLoss"}], make_spec())
    assert set(found(*make_case())) == {"loss_focal", "loss_lovasz"}


def test_two_losses_of_one_type_both_count():
    config = [{"type": "FocalLoss", "gamma": 0.0}, {"type": "FocalLoss", "share": 0.5}]
    case = make_case()
    total = sum(build_losses(config, make_spec())(*case).values())
    expected = FocalLoss(spec=make_spec(), gamma=0.0)(*case) + FocalLoss(spec=make_spec())(*case) / 2
    torch.testing.assert_close(total, expected)


def test_a_part_of_null_is_switched_off():
    config = {"parts": {"cross_entropy": None, "dice": {"type": "DiceLoss"}}}
    assert set(build_losses(config, make_spec())(*make_case())) == {"loss_dice"}


def test_no_loss_is_no_loss():
    assert build_losses(None, make_spec())(*make_case()) == {}


def test_an_unknown_loss_names_the_nearest():
    with pytest.raises(ConfigError, match="DiceLoss"):
        build_losses({"type": "DiceLos"}, make_spec())


def test_a_frameworks_own_loss_is_built_without_a_spec():
    import torch

    from geomm.models.losses import build_losses

    losses = build_losses({"type": "mmseg.CrossEntropyLoss", "avg_non_ignore": True}, None)
    scores = torch.zeros(1, 2, 4, 4, requires_grad=True)
    value = losses(scores, torch.zeros(1, 4, 4, dtype=torch.long))["loss_crossentropy"]
    assert value.item() > 0
