"""Classifiers of every head over several backbones: shapes, losses, learning, mixup."""

import pytest
import torch
import torch.nn.functional as F

from geomm.errors import ConfigError
from geomm.models.pictures.classifier import Classifier
from geomm.models.pictures.losses import LabelCrossEntropyLoss, LabelFocalLoss
from geomm.structures import ClassificationSpec
from tests.models.common import make_spec

HEADS = {
    "linear": {"type": "LinearHead"},
    "both": {"type": "LinearHead", "pool": "both", "hidden": [8], "dropout": 0.1},
    "mmpretrain": {"type": "mmpretrain.LinearClsHead"},
    "stacked": {"type": "mmpretrain.StackedLinearClsHead", "mid_channels": [16]},
    "token": {"type": "mmpretrain.VisionTransformerClsHead"},
    "attention": {"type": "mmpretrain.CSRAClsHead", "num_heads": 2, "lam": 0.1},
    "without distillation": {"type": "mmpretrain.LeViTClsHead", "distillation": False},
}
TINY = {"type": "TimmBackbone", "name": "resnet10t"}


def spec_of(bands=3, several=False, **changes):
    plain = make_spec(bands, **changes)
    return ClassificationSpec(**{**plain.__dict__, "multi_label": several})


def classifier(head="linear", bands=3, several=False, backbone=TINY, loss=None, **options):
    loss = loss or {"type": "LabelCrossEntropyLoss"}
    spec = spec_of(bands, several)
    return Classifier(backbone=backbone, head=HEADS[head], loss=loss, spec=spec, **options)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_gives_probabilities_of_any_bands_and_size(head):
    model = classifier(head, bands=5).eval()
    for size in (17, 64):
        found = model.predict_classes(torch.rand(2, 5, size, size), torch.ones(2, size, size, dtype=bool))
        assert found.shape == (2, 3)
        torch.testing.assert_close(found.sum(1), torch.ones(2))


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("loss", ["LabelCrossEntropyLoss", "LabelFocalLoss"])
def test_losses_have_gradients_everywhere(several, loss):
    model = classifier(several=several, loss={"type": loss, "class_weight": "auto"}, mixup=0.4).train()
    labels = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    losses = model(torch.rand(2, 3, 64, 64), torch.ones(2, 64, 64, dtype=bool), labels, mode="loss")
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_single_picture_can_be_learnt_from():
    model = classifier().train()
    loss = model(torch.rand(1, 3, 64, 64), None, torch.tensor([[0.0, 1, 0]]), mode="loss")
    assert all(value.isfinite() for value in loss.values())


def test_several_labels_have_probabilities_of_their_own():
    model = classifier(several=True).eval()
    found = model(torch.rand(2, 3, 64, 64), None, torch.ones(2, 3), ["a", "b"], mode="predict")
    assert [item["name"] for item in found] == ["a", "b"]
    assert found[0]["prediction"].sum().item() != pytest.approx(1.0, abs=1e-3)


def test_invalid_pixels_do_not_matter():
    model = classifier().eval()
    valid = torch.ones(1, 64, 64, dtype=bool)
    valid[:, :, 32:] = False
    one, two = torch.rand(2, 1, 3, 64, 64)
    two[..., :32] = one[..., :32]
    torch.testing.assert_close(model.predict_classes(one, valid), model.predict_classes(two, valid))


def test_it_learns_to_tell_bright_from_dark():
    torch.manual_seed(0)
    model = classifier().train()
    labels = F.one_hot(torch.arange(12) % 3, 3).float()
    pictures = torch.rand(12, 3, 32, 32) * 0.2 + labels.argmax(1).view(-1, 1, 1, 1) * 0.4
    valid = torch.ones(12, 32, 32, dtype=bool)
    step = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(15):
        data = model.data_preprocessor({"inputs": pictures, "valid": valid, "labels": labels})
        loss = sum(model(**data, mode="loss").values())
        losses.append(loss.item())
        step.zero_grad()
        loss.backward()
        step.step()
    assert losses[-1] < 0.3 * losses[0]
    found = model(**data).argmax(1)
    assert (found == labels.argmax(1)).float().mean() >= 11 / 12


def test_a_head_that_takes_no_map_is_refused():
    with pytest.raises(ConfigError, match="takes no in_channels"):
        Classifier(backbone=TINY, head={"type": "mmpretrain.ClsHead"}, loss=None, spec=spec_of())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ConformerHead", "heads of several inputs or with distillation do not serve"),
        ("CSRAClsHead", r"'num_heads' and 'lam'\); its own arguments, .* are num_heads, lam"),
        ("LeViTClsHead", r"distillation mode\.\); its own arguments, .* distillation"),
        ("DeiTClsHead", "heads of several inputs or with distillation do not serve"),
    ],
)
def test_a_head_that_cannot_learn_from_one_map_is_refused_when_it_is_built(name, said):
    head = {"type": f"mmpretrain.{name}"}
    with pytest.raises(ConfigError, match=rf"mmpretrain\.{name} cannot learn from one map.*{said}"):
        Classifier(backbone=TINY, head=head, loss=None, spec=spec_of())


def test_trying_a_head_leaves_its_statistics_alone():
    head = {"type": "mmpretrain.LeViTClsHead", "distillation": False}
    model = Classifier(backbone=TINY, head=head, loss=None, spec=spec_of())
    assert model.head.head.head.bn.num_batches_tracked == 0


def test_a_pool_that_there_is_not():
    with pytest.raises(ConfigError, match="found 'median'"):
        Classifier(backbone=TINY, head={"type": "LinearHead", "pool": "median"}, loss=None, spec=spec_of())


def test_cross_entropy_is_torchs():
    scores, target = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 2])
    hot = F.one_hot(target, 3).float()
    loss = LabelCrossEntropyLoss(spec=spec_of(), label_smoothing=0.1)
    torch.testing.assert_close(loss(scores, hot), F.cross_entropy(scores, target, label_smoothing=0.1))
    weight = torch.tensor([1.0, 2.0, 4.0])
    loss = LabelCrossEntropyLoss(spec=spec_of(), class_weight=weight.tolist())
    torch.testing.assert_close(loss(scores, hot), F.cross_entropy(scores, target, weight))
    several = LabelCrossEntropyLoss(spec=spec_of(several=True))
    torch.testing.assert_close(several(scores, hot), F.binary_cross_entropy_with_logits(scores, hot))


@pytest.mark.parametrize("several", [False, True])
def test_focal_loss_of_gamma_0_is_cross_entropy(several):
    scores, hot = torch.randn(6, 3), F.one_hot(torch.tensor([0, 1, 2, 2, 1, 2]), 3).float()
    focal = LabelFocalLoss(spec=spec_of(several=several), gamma=0.0)
    plain = LabelCrossEntropyLoss(spec=spec_of(several=several))
    torch.testing.assert_close(focal(scores, hot), plain(scores, hot))
    harder = LabelFocalLoss(spec=spec_of(several=several), gamma=2.0)
    assert harder(scores, hot) < plain(scores, hot)
