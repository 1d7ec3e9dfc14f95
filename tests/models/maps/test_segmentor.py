"""Every head over every backbone with nothing but names changed, and what a segmentor promises."""

import functools

import pytest
import torch
import torch.nn.functional as F

from geomm.config.fitting import fitting_options
from geomm.structures import IGNORE_INDEX
from tests.models.common import heads_of, make_batch, make_segmentor, unlabelled

HEADS = heads_of("segmentation")
BACKBONES = [
    "resnet18",
    "mit_b0",
    "efficientnet_b0",
    "vgg16_bn",
    "mobilenetv3_large",
    "convnext_tiny",
    "resnet50",
    "swin_tiny",
    "densenet121",
    "inception_v3",
]


def each_slow_but(*quick):
    return [pytest.param(head, marks=() if head in quick else pytest.mark.slow) for head in HEADS]


def matrix():
    for row, head in enumerate(HEADS):
        for column, backbone in enumerate(BACKBONES):
            turn = (row + column) % 6
            quick = () if turn == 0 else pytest.mark.slow
            yield pytest.param(head, backbone, 3, marks=quick)
            if turn == 2:
                bands = 1 if column % 2 else 7
                yield pytest.param(head, backbone, bands, marks=pytest.mark.slow)


def open_every_branch(model):
    for module in model.modules():
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)


@pytest.mark.parametrize(("head", "backbone", "bands"), matrix())
def test_any_head_learns_and_predicts_over_any_backbone(head, backbone, bands):
    model = make_segmentor(head, backbone, bands=bands)
    open_every_branch(model)
    inputs, mask = make_batch(bands)
    loss = sum(model(inputs, mask=mask, mode="loss").values())
    loss.backward()
    assert torch.isfinite(loss)
    parameters = list(model.parameters())
    reached = [p for p in parameters if p.grad is not None and p.grad.abs().sum() > 0]
    assert len(reached) >= 0.97 * len(parameters)
    assert all(torch.isfinite(p.grad).all() for p in reached)
    model.eval()
    scores = model.predict_scores(inputs[:1, :, :33], torch.ones(1, 33, 64, dtype=torch.bool))
    assert scores.shape == (1, 3, 33, 64)
    torch.testing.assert_close(scores.sum(1), torch.ones(1, 33, 64))


@functools.cache
def built(head):
    return make_segmentor(head)


@pytest.fixture
def unet():
    return built("unet")


@pytest.mark.parametrize("head", HEADS)
def test_inputs_of_any_size_give_scores_of_that_size(head):
    model = built(head).eval()
    for height, width in [(1, 1), (1, 33), (31, 65)]:
        inputs, _ = make_batch(count=1, height=height, width=width)
        scores = model.predict_scores(inputs, torch.ones(1, height, width, dtype=torch.bool))
        assert scores.shape == (1, 3, height, width)
        torch.testing.assert_close(scores.sum(1), torch.ones(1, height, width))


@pytest.mark.parametrize("head", HEADS)
def test_a_single_sample_trains(head):
    model = built(head).train()
    for height, width in [(1, 1), (33, 47)]:
        inputs, mask = make_batch(count=1, height=height, width=width)
        loss = model(inputs, mask=mask, mode="loss")["loss_crossentropy"]
        assert loss.requires_grad and torch.isfinite(loss)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["efficientnet_b0", "swin_tiny", "inception_v3"])
def test_a_single_pixel_trains_on_backbones_with_other_norms(backbone):
    model = make_segmentor(backbone=backbone).train()
    inputs, mask = make_batch(count=1, height=1, width=1)
    assert torch.isfinite(model(inputs, mask=mask, mode="loss")["loss_crossentropy"])


def test_a_single_sample_has_the_loss_of_two_copies_of_it(unet):
    unet.train()
    inputs, mask = make_batch(count=1)
    one = unet.loss(inputs, None, mask)["loss_crossentropy"]
    two = unet.loss(inputs.repeat(2, 1, 1, 1), None, mask.repeat(2, 1, 1))["loss_crossentropy"]
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize("loss", fitting_options("loss", "segmentation"))
@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_a_batch_without_a_labelled_pixel_gives_a_loss_of_zero(loss, mixup):
    model = make_segmentor(loss=loss, mixup=mixup).train()
    inputs, mask = make_batch()
    losses = model(inputs, mask=unlabelled(mask), mode="loss")
    assert losses and all(value.item() == 0 for value in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_a_batch_whose_pixels_are_all_invalid_gives_a_loss_of_zero(unet):
    inputs, mask = make_batch()
    valid = torch.zeros_like(mask, dtype=torch.bool)
    assert unet.loss(inputs, valid, mask)["loss_crossentropy"].item() == 0


@pytest.mark.parametrize("loss", fitting_options("loss", "segmentation"))
def test_what_lies_under_invalid_pixels_does_not_change_the_loss(loss):
    model = make_segmentor(loss=loss).eval()
    inputs, mask = make_batch()
    valid = torch.rand(mask.shape, generator=torch.Generator().manual_seed(1)) > 0.3

    def total(inputs, mask):
        batch = {"inputs": inputs, "valid": valid, "mask": mask}
        return sum(model(**model.data_preprocessor(batch), mode="loss").values())

    junk_inputs = torch.where(valid[:, None], inputs, torch.nan)
    junk_mask = torch.where(valid, mask, (mask + 1) % 3)
    torch.testing.assert_close(total(junk_inputs, junk_mask), total(inputs, mask), rtol=0, atol=0)


def test_unlabelled_pixels_do_not_count_in_the_loss(unet):
    unet.eval()
    inputs, mask = make_batch()
    mask[:, 20:] = IGNORE_INDEX
    found = unet.loss(inputs, None, mask)["loss_crossentropy"]
    expected = F.cross_entropy(unet.scores(inputs)[:, :, :20], mask[:, :20].long())
    torch.testing.assert_close(found, expected)


def test_invalid_pixels_count_as_unlabelled(unet):
    unet.eval()
    inputs, mask = make_batch()
    valid = torch.ones_like(mask, dtype=torch.bool)
    valid[:, 20:] = False
    found = unet.loss(inputs, valid, mask)["loss_crossentropy"]
    mask[:, 20:] = IGNORE_INDEX
    assert found == unet.loss(inputs, None, mask)["loss_crossentropy"]


def test_mixup_is_the_mixed_loss_of_mixed_images():
    model = make_segmentor(mixup=0.4).train()
    inputs, mask = make_batch(count=4)
    torch.manual_seed(5)
    found = model.loss(inputs, None, mask)["loss_crossentropy"]
    torch.manual_seed(5)
    share = torch.distributions.Beta(0.4, 0.4).sample()
    order = torch.randperm(4)
    scores = model.scores(share * inputs + (1 - share) * inputs[order])
    target = mask.long()
    expected = share * F.cross_entropy(scores, target)
    expected += (1 - share) * F.cross_entropy(scores, target[order])
    torch.testing.assert_close(found, expected)


def test_mixup_stays_out_of_evaluation(unet):
    mixed = make_segmentor(mixup=0.4).eval()
    mixed.load_state_dict(unet.state_dict())
    inputs, mask = make_batch()
    assert mixed.loss(inputs, None, mask) == unet.eval().loss(inputs, None, mask)


def test_mixup_trains_a_single_sample():
    model = make_segmentor(mixup=0.4).train()
    inputs, mask = make_batch(count=1)
    assert torch.isfinite(model.loss(inputs, None, mask)["loss_crossentropy"])


def run_once(head):
    model = make_segmentor(head).train()
    inputs, mask = make_batch()
    loss = model(inputs, mask=mask, mode="loss")["loss_crossentropy"]
    loss.backward()
    return [loss, *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("head", each_slow_but("unet"))
def test_the_same_seed_gives_the_same_weights_loss_and_gradient(head):
    assert all(map(torch.equal, run_once(head), run_once(head)))


def test_prediction_repeats_itself(unet):
    unet.eval()
    inputs, _ = make_batch()
    valid = torch.ones(2, 64, 64, dtype=torch.bool)
    assert torch.equal(unet.predict_scores(inputs, valid), unet.predict_scores(inputs, valid))


def test_a_sample_is_predicted_alike_alone_and_in_a_batch(unet):
    unet.eval()
    inputs, _ = make_batch(count=3)
    valid = torch.ones(3, 64, 64, dtype=torch.bool)
    together = unet.predict_scores(inputs, valid)
    alone = unet.predict_scores(inputs[1:2], valid[1:2])
    # Sums are in another order for another batch, on some processors more than on others.
    torch.testing.assert_close(alone, together[1:2], atol=3e-4, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int16, torch.float64])
def test_raw_pixels_of_any_type_are_predicted(unet, dtype):
    unet.eval()
    raw = torch.arange(2 * 3 * 64 * 64).remainder(100).reshape(2, 3, 64, 64)
    valid = torch.ones(2, 64, 64, dtype=torch.bool)
    expected = unet.scores((raw.float() - 0.5) / 0.25).softmax(1)
    torch.testing.assert_close(unet.predict_scores(raw.to(dtype), valid), expected.detach())


def test_predict_gives_a_class_map_and_the_truth_a_sample(unet):
    unet.eval()
    inputs, mask = make_batch()
    valid = torch.ones_like(mask, dtype=torch.bool)
    valid[:, :8] = False
    samples = unet(inputs, valid=valid, mask=mask, mode="predict")
    classes = unet(inputs).argmax(1)
    for index, sample in enumerate(samples):
        assert torch.equal(sample["prediction"].long(), classes[index])
        assert (sample["mask"][:8] == IGNORE_INDEX).all()
        assert torch.equal(sample["mask"][8:], mask[index, 8:])


def test_predict_needs_no_mask(unet):
    inputs, _ = make_batch(count=1)
    (sample,) = unet.eval()(inputs, mode="predict")
    assert sample["prediction"].shape == (64, 64)


def test_a_model_without_a_loss_predicts():
    model = make_segmentor(loss=None).eval()
    inputs, _ = make_batch(count=1)
    assert model(inputs).shape == (1, 3, 64, 64)


def test_a_few_steps_bring_the_loss_down():
    model = make_segmentor().train()
    inputs, _ = make_batch()
    mask = (inputs[:, 0] > 0).to(torch.uint8)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    history = []
    for _ in range(8):
        loss = model.loss(inputs, None, mask)["loss_crossentropy"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.8 * history[0]
