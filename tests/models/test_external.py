"""External networks: registered by a decorator, wired, trained and asked as geomm's own are."""

import numpy as np
import pytest
import torch
from torch import nn

import geomm
from geomm.config.check import check
from geomm.errors import ConfigError, GeommError
from geomm.models.external import is_external
from geomm.models.maps.segmentor import Segmentor
from geomm.models.objects.external import ExternalDetector
from geomm.models.pictures.classifier import Classifier
from geomm.models.tables.external import ExternalTable
from geomm.plugins import load_plugins
from geomm.structures import IGNORE_INDEX, ClassificationSpec, Objects
from geomm.transforms.table import Encoded
from tests.models.common import composed, make_batch, make_spec
from tests.models.tables.test_fully_connected import CLASSES, REGRESSION, rows


@geomm.extend("segmentation")
class PlainPixels(nn.Module):
    multiple_px = 4

    def __init__(self, *, in_channels, num_classes, width=6):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, width, 4, 4), nn.ReLU(), nn.Conv2d(width, num_classes, 1)
        )

    def forward(self, pixels):
        assert all(edge % self.multiple_px == 0 for edge in pixels.shape[-2:])
        return self.layers(pixels)


@geomm.extend("segmentation")
class OwnLossPixels(PlainPixels):
    def loss(self, pixels, target):
        assert pixels.shape[-2:] == target.shape[-2:]
        self.seen = target
        return {"mine": nn.functional.cross_entropy(self.finest(pixels), target, ignore_index=IGNORE_INDEX)}

    def finest(self, pixels):
        return nn.functional.interpolate(self(pixels), pixels.shape[-2:])


@geomm.extend("segmentation")
class WrongShape(PlainPixels):
    def forward(self, pixels):
        return super().forward(pixels)[:, 0]


@geomm.extend("classification")
class PlainLabels(nn.Module):
    def __init__(self, *, in_channels, num_classes):
        super().__init__()
        self.layer = nn.Linear(in_channels, num_classes)

    def forward(self, pixels):
        return self.layer(pixels.mean((-2, -1)))


class Blobs(nn.Module):
    """Says that there is one thing in the middle, of the class whose score is the highest."""

    def __init__(self, *, in_channels, num_classes, shift=0):
        super().__init__()
        self.layer, self.shift = nn.Linear(in_channels, num_classes), shift

    def scores(self, pixels):
        return self.layer(pixels.mean((-2, -1)))

    def loss(self, pixels, targets):
        self.targets = targets
        label = torch.stack(
            [
                item["labels"][0] if len(item["labels"]) else pixels.new_zeros((), dtype=int)
                for item in targets
            ]
        )
        return nn.functional.cross_entropy(self.scores(pixels), label)

    def forward(self, pixels):
        best, label = self.scores(pixels).softmax(1).max(1)
        height, width = pixels.shape[-2:]
        boxes = pixels.new_tensor([[width / 4, height / 4, 10 * width, height / 2], [5, 5, 5, 9]])
        found = []
        for score, which in zip(best, label, strict=True):
            both = torch.stack([which, which]) + self.shift
            found.append({"boxes": boxes, "labels": both, "scores": torch.stack([score, score])})
        return found


geomm.extend("detection")(Blobs)


@geomm.extend("instance_segmentation")
class MaskedBlobs(Blobs):
    def forward(self, pixels):
        found = super().forward(pixels)
        masks = torch.zeros(2, 1, *pixels.shape[-2:])
        masks[:, :, :4] = 0.9
        return [{**item, "masks": masks} for item in found]


@geomm.extend("tabular")
class PlainRows(nn.Module):
    def __init__(self, *, spec, width=8):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(len(spec.number_names), width), nn.ReLU(), nn.Linear(width, spec.outputs)
        )

    def forward(self, numbers, categories):
        return self.layers(numbers)


@geomm.extend("tabular")
class OwnLossRows(PlainRows):
    def loss(self, scores, target):
        return (scores - target).abs().mean()


def segmentor(name="PlainPixels", loss="cross_entropy", bands=3, **options):
    torch.manual_seed(0)
    head = {"type": name, "tasks": ["segmentation"], **options}
    loss = composed(f"loss={loss}")["loss"]
    return Segmentor(backbone=None, head=head, loss=loss, spec=make_spec(bands))


@pytest.mark.parametrize("bands", [1, 3, 7])
@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "cross_entropy_dice", "cross_entropy_lovasz"])
def test_a_segmenter_learns_by_any_of_geomms_losses(bands, loss):
    model = segmentor(loss=loss, bands=bands)
    inputs, mask = make_batch(bands, height=30, width=41)
    losses = model(inputs, None, mask, mode="loss")
    total = sum(losses.values())
    total.backward()
    assert torch.isfinite(total) and all(p.grad is not None for p in model.head.parameters())
    scores = model.eval().predict_scores(inputs, torch.ones(2, 30, 41, dtype=torch.bool))
    assert scores.shape == (2, 3, 30, 41)
    torch.testing.assert_close(scores.sum(1), torch.ones(2, 30, 41))


def test_its_own_loss_takes_the_place_of_geomms_and_knows_what_is_unlabelled():
    model = segmentor("OwnLossPixels", width=3)
    inputs, mask = make_batch(height=30, width=30)
    valid = torch.ones(2, 30, 30, dtype=torch.bool)
    valid[:, :5] = False
    losses = model(inputs, valid, mask, mode="loss")
    assert list(losses) == ["loss_mine"] and len(model.losses.parts) == 0
    assert model.head.seen.shape == (2, 32, 32)
    assert (model.head.seen[:, :5] == IGNORE_INDEX).all() and (model.head.seen[:, 30:] == IGNORE_INDEX).all()
    assert (model.head.seen[:, 5:30, :30] == mask[:, 5:]).all()


def test_mixup_needs_geomms_losses():
    with pytest.raises(ConfigError, match=r"task\.mixup: OwnLossPixels computes its loss itself"):
        Segmentor(backbone=None, head={"type": "OwnLossPixels"}, loss=None, spec=make_spec(), mixup=0.2)


def test_scores_of_a_wrong_shape_are_named():
    with pytest.raises(
        GeommError, match=r"head WrongShape: forward returned a tensor \(2, 16, 16\), expected"
    ):
        segmentor("WrongShape")(make_batch()[0])


def test_an_option_that_its_constructor_refuses_is_one_line_with_the_place():
    head = {"type": "PlainPixels", "width": "wide"}
    with pytest.raises(
        ConfigError, match=r"^head PlainPixels: its constructor raised TypeError: .*test_external\.py:\d+\)$"
    ):
        Segmentor(backbone=None, head=head, loss={"type": "CrossEntropyLoss"}, spec=make_spec())


def test_a_backbone_under_a_network_that_reads_pixels_is_a_mistake():
    with pytest.raises(ConfigError, match=r"backbone: PlainPixels reads pixels itself and takes none"):
        is_external({"type": "PlainPixels"}, {"type": "TimmBackbone"})
    with pytest.raises(ConfigError, match="this head sits on one"):
        Segmentor(backbone=None, head=composed()["head"], loss=None, spec=make_spec())


def test_a_classifier_learns_and_gives_probabilities():
    spec = ClassificationSpec(**vars(make_spec()))
    loss = composed("task=classification")["loss"]
    model = Classifier(backbone=None, head={"type": "PlainLabels"}, loss=loss, spec=spec)
    labels = torch.eye(3)
    sum(model(torch.randn(3, 3, 20, 20), None, labels, mode="loss").values()).backward()
    found = model.eval().predict_classes(torch.rand(3, 3, 20, 20), torch.ones(3, 20, 20, dtype=torch.bool))
    torch.testing.assert_close(found.sum(1), torch.ones(3))


def detector(name="Blobs", **options):
    torch.manual_seed(0)
    return ExternalDetector(head={"type": name, "max_objects": 5, **options}, spec=make_spec())


def test_a_detector_gets_what_counts_and_its_boxes_are_cut():
    model = detector()
    boxes = np.array([[1, 2, 9, 9], [4, 4, 8, 9]], np.float32)
    truth = Objects(boxes, np.array([2, 0]), ignored=np.array([False, True]))
    nothing = truth[:0]
    losses = model(torch.randn(2, 3, 40, 50), objects=[truth, nothing], mode="loss")
    assert list(losses) == ["loss"]
    (first, second) = model.network.targets
    assert first["boxes"].tolist() == [[1, 2, 9, 9]] and first["labels"].tolist() == [2]
    assert second["boxes"].shape == (0, 4) and second["labels"].dtype == torch.int64
    (found,) = model.eval().detect(torch.rand(1, 3, 40, 50), torch.ones(1, 40, 50, dtype=torch.bool))
    # The network saw 64 x 64; what reaches over the window is cut there, what has no area is gone.
    np.testing.assert_allclose(found.boxes, [[16, 16, 50, 32]])
    assert found.masks is None and found.scores.shape == (1,)
    sure = detector(score_threshold=0.999).eval()
    (none,) = sure.detect(torch.rand(1, 3, 40, 50), torch.ones(1, 40, 50, dtype=torch.bool))
    assert len(none) == 0


def test_outlines_are_taken_from_probabilities():
    model = detector("MaskedBlobs").eval()
    truth = Objects(np.array([[0, 0, 3, 3]], np.float32), np.array([1]), masks=np.ones((1, 40, 50), bool))
    model(torch.randn(1, 3, 40, 50), objects=[truth], mode="loss")
    masks = model.network.targets[0]["masks"]
    assert masks.shape == (1, 64, 64) and int(masks.sum()) == 40 * 50
    (found,) = model.detect(torch.rand(1, 3, 40, 50), torch.ones(1, 40, 50, dtype=torch.bool))
    assert found.masks.shape == (1, 40, 50) and found.masks[:, :4].all() and not found.masks[:, 4:].any()


def test_labels_that_are_no_classes_are_named():
    with pytest.raises(GeommError, match=r"head Blobs: forward returned labels \d to \d, expected 0 to 2"):
        detector(shift=3).eval().detect(torch.rand(1, 3, 32, 32), torch.ones(1, 32, 32, dtype=torch.bool))


@pytest.mark.parametrize("spec, outputs", [(REGRESSION, 2), (CLASSES, 3)])
def test_a_network_of_rows_learns_and_predicts(spec, outputs):
    model = ExternalTable(head={"type": "PlainRows", "width": 4}, spec=spec)
    data = rows(7)
    target = torch.zeros(7, 2) if outputs == 2 else torch.zeros(7, dtype=torch.int64)
    numbers, categories = torch.from_numpy(data.numbers), torch.from_numpy(data.categories)
    model(numbers, categories, target, mode="loss")["loss"].backward()
    found = model.eval().predict_learnt(Encoded(data.numbers, data.categories))
    assert found.shape == (7, outputs) and np.isfinite(found).all()
    if spec.classes:
        np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)


def test_rows_may_have_a_loss_of_their_own():
    model = ExternalTable(head={"type": "OwnLossRows"}, spec=REGRESSION)
    data = rows(5)
    numbers, categories = torch.from_numpy(data.numbers), torch.from_numpy(data.categories)
    loss = model(numbers, categories, torch.zeros(5, 2), mode="loss")["loss"]
    assert float(loss) == pytest.approx(float(model.scores(numbers, categories).abs().mean()))


def test_what_cannot_be_extended_is_named():
    with pytest.raises(ConfigError, match="unknown task 'regression'; task tabular predicts quantities"):
        geomm.extend("regression")
    with pytest.raises(ConfigError, match="did you mean 'detection'"):
        geomm.extend("detecton")
    with pytest.raises(ConfigError, match="is no torch"):
        geomm.extend("segmentation")(type("NoModule", (), {}))
    with pytest.raises(ConfigError, match="has no method 'forward'"):
        geomm.extend("segmentation")(type("NoForward", (nn.Module,), {}))
    with pytest.raises(ConfigError, match="NoLoss has no method 'loss'"):
        geomm.extend("detection")(type("NoLoss", (PlainPixels,), {}))


PLUGIN = """
import geomm
from torch import nn

@geomm.extend("detection", name="Named")
class Something(nn.Module):
    def __init__(self, *, in_channels, num_classes, width=3): ...
    def loss(self, pixels, targets): ...
    def forward(self, pixels): ...
"""


def test_a_plugins_network_is_chosen_by_name_and_brings_its_own_backbone(tmp_path, monkeypatch, root):
    (tmp_path / "brings_a_network.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    load_plugins(["brings_a_network"])
    given = [f"dataset.images={root / 'LICENSE'}", f"dataset.labels={root / 'LICENSE'}", "head=Named"]
    assert check("train", ["task=detection", *given]).problems == ()
    (problem,) = check("train", ["task=segmentation", *given]).problems
    assert "Named serves task detection, not segmentation; give task=detection, or" in str(problem)
    config = composed("task=detection", "head=Named")
    assert config.get("backbone") is None and config.get("loss") is None
    assert config["head"]["width"] == 3 and config["head"]["max_objects"] == 300
