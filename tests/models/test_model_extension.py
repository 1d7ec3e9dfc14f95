"""Classes written for arcgis.learn's ModelExtension: what they are given, what becomes of what they give."""

import geopandas
import numpy as np
import pytest
import torch
from torch import nn

import geomm
from geomm.config.check import check
from geomm.errors import ConfigError, GeommError
from geomm.models.maps.segmentor import Segmentor
from geomm.models.model_extension import has_methods, task_of
from geomm.models.objects.external import ExternalDetector
from geomm.packaging import load_package
from geomm.plugins import load_plugins
from geomm.structures import IGNORE_INDEX, BandStatistics, Objects
from tests.models.common import make_spec
from tests.tasks.test_detection import scene  # noqa: F401


class Echo(nn.Module):
    """Remembers the batch it was trained with and finds just that."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.boxes = self.labels = None

    def forward(self, images, targets=None):
        if targets is not None:
            self.boxes, self.labels = targets
            return {"loss_a": (self.weight - 1).square().sum(), "loss_b": self.weight.sum() * 0}
        self.seen = images
        return [{"boxes": b, "labels": c} for b, c in zip(self.boxes, self.labels, strict=True)]


class FindsAgain:
    import torch

    def get_model(self, data, backbone=None, **kwargs):
        self.told, self.backbone, self.kwargs = data, backbone, kwargs
        self.model = Echo()
        return self.model

    def on_batch_begin(self, learn, model_input_batch, model_target_batch, **kwargs):
        learn.model.train()
        assert learn.data.chip_size == model_input_batch.shape[-1] and kwargs["train"]
        return [list(model_input_batch), model_target_batch], model_target_batch

    def transform_input(self, xb, thresh=0.5, nms_overlap=0.1):
        self.asked = thresh, nms_overlap
        return list(xb)

    def transform_input_multispectral(self, xb, thresh=0.5, nms_overlap=0.1):
        return self.transform_input(xb, thresh, nms_overlap)

    def loss(self, model_output, *model_target):
        assert len(model_target) == 2
        return sum(model_output.values())

    def post_process(self, pred, nms_overlap, thres, chip_size, device):
        self.asked_after = nms_overlap, thres, chip_size, device
        return [(p["boxes"], p["labels"], self.torch.full((len(p["boxes"]),), 0.9)) for p in pred]


class Paints:
    """A convolution of the pixels' own; the class of index 0 is whatever arcgis.learn has there."""

    threshold_only = False

    def get_model(self, data, backbone, **kwargs):
        self.data = data
        return nn.Conv2d(len(data._extract_bands), data.c, 1)

    def on_batch_begin(self, learn, model_input_batch, model_target_batch):
        self.seen = model_input_batch, model_target_batch
        return model_input_batch, model_target_batch.squeeze(1)

    def transform_input(self, xb):
        return xb

    def transform_input_multispectral(self, xb):
        return xb

    def loss(self, model_output, *model_target):
        self.output = model_output
        model_output.retain_grad()
        return nn.functional.cross_entropy(model_output, *model_target)

    def post_process(self, pred, thres=0.5):
        return pred.argmax(1, keepdim=True)


geomm.extend("detection")(FindsAgain)
geomm.extend("segmentation")(Paints)


def finder(**options):
    return ExternalDetector(head={"type": "FindsAgain", **options}, spec=make_spec())


def test_such_classes_are_known_by_their_methods():
    assert has_methods(FindsAgain) and not has_methods(Echo)
    assert task_of(FindsAgain) == "detection" and task_of(Paints) == "segmentation"


def test_boxes_come_back_as_they_went_in():
    model = finder(backbone="resnet18", score_threshold=0.3, nms_iou=0.4, deep=True, max_objects=9)
    told = model.network.conf
    assert told.backbone == "resnet18" and told.kwargs == {"deep": True}
    assert told.told.classes == ["background", "soil", "water", "tree"] and told.told.c == 4
    assert told.told._is_multispectral and told.told.chip_size == 64
    boxes = np.array([[3, 5, 30, 25], [1, 2, 60, 41]], np.float32)
    truth = Objects(boxes, np.array([2, 0]))
    pixels = torch.randn(2, 3, 50, 64)
    losses = model(pixels, objects=[truth, truth[:0]], mode="loss")
    assert float(losses["loss"].detach()) == 1.0
    given = model.network.network.boxes
    assert given.shape == (2, 2, 4) and given.abs().max() <= 1
    np.testing.assert_allclose(given[0, 0], np.array([5, 3, 25, 30]) / 32 - 1)  # y1, x1, y2, x2
    assert model.network.network.labels.tolist() == [[3, 1], [0, 0]]  # padded with background
    first, second = model.eval().find(pixels)
    np.testing.assert_allclose(first.boxes, boxes, atol=1e-4)
    assert first.labels.tolist() == [2, 0] and len(second) == 0
    assert told.asked == (0.3, 0.4) and told.asked_after == (0.4, 0.3, 64, torch.device("cpu"))


def test_windows_without_any_object_teach_too():
    nothing = Objects(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    model = finder()
    model(torch.randn(1, 3, 64, 64), objects=[nothing], mode="loss")
    assert model.network.network.boxes.shape == (1, 1, 4)


def painter(spec, **options):
    torch.manual_seed(0)
    return Segmentor(backbone=None, head={"type": "Paints", **options}, loss=None, spec=spec)


def test_the_background_is_index_0_and_the_others_follow():
    model = painter(make_spec(background=1))
    assert model.head.conf.data.classes == ["water", "soil", "tree"]
    mask = torch.tensor([[0, 1], [2, IGNORE_INDEX]], dtype=torch.uint8).repeat(1, 32, 32)
    model(torch.randn(1, 3, 64, 64), None, mask, mode="loss")
    assert model.head.conf.seen[1].shape == (2, 1, 64, 64)  # a single sample is doubled in training
    assert model.head.conf.seen[1][0, 0, :2, :2].tolist() == [[1, 0], [2, 0]]
    scores = model.eval().predict_scores(torch.rand(1, 3, 64, 64), torch.ones(1, 64, 64, dtype=torch.bool))
    own = model.head.network(model.data_preprocessor.normalise(torch.zeros(1, 3, 64, 64))).argmax(1)
    again = model.predict_scores(torch.zeros(1, 3, 64, 64), torch.ones(1, 64, 64, dtype=torch.bool))
    table = torch.tensor([1, 0, 2])  # of its own indices those of geomm
    assert torch.equal(again.argmax(1), table[own]) and scores.shape == (1, 3, 64, 64)
    torch.testing.assert_close(again.amax(1), torch.ones(1, 64, 64), atol=1e-4, rtol=0)


def test_unlabelled_pixels_teach_nothing_and_nodata_is_no_answer():
    model = painter(make_spec())
    data = model.head.conf.data
    assert data.classes == ["NoData", "soil", "water", "tree"] and data.c == 4
    mask = torch.zeros(1, 64, 64, dtype=torch.uint8)
    mask[:, 10:] = IGNORE_INDEX
    sum(model(torch.randn(1, 3, 64, 64), None, mask, mode="loss").values()).backward()
    gradient = model.head.conf.output.grad
    assert (gradient[:, :, :10] != 0).any() and (gradient[:, :, 10:] == 0).all()
    with torch.no_grad():
        model.head.network.bias[:] = torch.tensor([50.0, 0.0, 9.0, 0.0])
    found = model.eval().predict_scores(torch.rand(1, 3, 64, 64), torch.ones(1, 64, 64, dtype=torch.bool))
    assert (found.argmax(1) == 1).all()


def test_colour_images_come_as_imagenet_has_them():
    statistics = BandStatistics((0.0,) * 3, (255.0,) * 3, (90.0, 100.0, 110.0), (40.0, 50.0, 60.0), count=9)
    spec = make_spec(statistics=statistics, background=0)
    spec = type(spec)(**{**vars(spec), "dtype": "uint8"})
    model = painter(spec)
    assert not model.head.conf.data._is_multispectral
    raw = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    normal = model.data_preprocessor.normalise(raw)
    mask = torch.zeros(1, 64, 64, dtype=torch.uint8)
    model(normal, None, mask, mode="loss")
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, None, :, None, None]
    torch.testing.assert_close(model.head.conf.seen[0][:1], (raw / 255 - mean) / std, atol=1e-5, rtol=0)


def test_what_such_a_class_asks_and_geomm_has_not_is_named():
    class Asks(Paints):
        def get_model(self, data, backbone, **kwargs):
            return nn.Conv2d(3, len(data.no_such_thing), 1)

    geomm.extend("segmentation")(Asks)
    with pytest.raises(
        ConfigError, match=r"head Asks: geomm's data has no 'no_such_thing'; it has .*chip_size"
    ):
        Segmentor(backbone=None, head={"type": "Asks"}, loss=None, spec=make_spec())
    with pytest.raises(ConfigError, match="which knows detection"):
        geomm.extend("classification")(Paints)


def test_a_wrong_result_is_named():
    class GivesDicts(FindsAgain):
        def post_process(self, pred, nms_overlap, thres, chip_size, device):
            return pred

    geomm.extend("detection")(GivesDicts)
    model = ExternalDetector(head={"type": "GivesDicts"}, spec=make_spec()).eval()
    model.network.network.boxes = model.network.network.labels = torch.zeros(1, 1, 4)
    with pytest.raises(GeommError, match="GivesDicts: post_process gave a dict for a picture, expected"):
        model.find(torch.zeros(1, 3, 64, 64))


FILE = '''
class Corners:
    """A network of one cell a class in the old manner: a centre, a size, a score."""

    import torch
    from torch import nn

    def get_model(self, data, backbone=None, **kwargs):
        nn = self.nn
        width = kwargs.get("width", 16)
        self.model = nn.Sequential(
            nn.Conv2d(len(data._extract_bands), width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, data.c, 1),
        )
        return self.model

    def on_batch_begin(self, learn, model_input_batch, model_target_batch):
        boxes, classes = model_target_batch
        count, cells = len(boxes), learn.data.chip_size // 8
        target = self.torch.zeros(count, cells, cells, dtype=self.torch.long, device=boxes.device)
        middle = (boxes[..., :2] + boxes[..., 2:]) / 2
        place = ((middle + 1) / 2 * cells).long().clamp(0, cells - 1)
        for image in range(count):
            real = classes[image] > 0
            target[image, place[image, real, 0], place[image, real, 1]] = classes[image, real]
        return model_input_batch, target

    def transform_input(self, xb):
        return xb

    def transform_input_multispectral(self, xb):
        return xb

    def loss(self, model_output, *model_target):
        weight = self.torch.ones(model_output.shape[1])
        weight[0] = 0.1
        return self.nn.functional.cross_entropy(model_output, model_target[0], weight)

    def post_process(self, pred, nms_overlap, thres, chip_size, device):
        scores, labels = pred.softmax(1)[:, 1:].max(1)
        results = []
        for score, label in zip(scores, labels):
            rows, cols = self.torch.nonzero(score > thres, as_tuple=True)
            centre = (self.torch.stack([rows, cols], 1) + 0.5) * 8 / (chip_size / 2) - 1
            half = 7 / (chip_size / 2)
            boxes = self.torch.cat([centre - half, centre + half], 1)
            results.append((boxes.to(device), label[rows, cols] + 1, score[rows, cols]))
        return results
'''


def test_a_file_with_such_a_class_trains_and_maps_as_it_is(tmp_path, monkeypatch, scene):  # noqa: F811
    (tmp_path / "corners_of_things.py").write_text(FILE)
    monkeypatch.syspath_prepend(str(tmp_path))
    image, labels = scene
    given = [
        "task=detection", "task.monitor=AP", "plugins=[corners_of_things]", "head=Corners", "+head.width=24",
        f"dataset.images={image}", f"dataset.labels={labels}", "dataset.label_field=kind",
        "dataset.window_px=64", "dataset.windows_per_epoch=64", "schedule.epochs=8", "schedule.lr=2e-2",
        "schedule.batch_size=8", "runtime.workers=0", "runtime.device=cpu", "tracking=none",
        f"work_dir={tmp_path / 'run'}",
    ]  # fmt: skip
    package = geomm.train(given)
    assert package.config["head"]["type"] == "Corners" and not package.config.get("backbone")
    options = {"device": "cpu", "progress": False, "score_threshold": 0.5}
    report = load_package(package.path).predict(image, output=tmp_path / "map", **options)
    assert report.failed == []
    truth = geopandas.read_file(labels)
    layer = geopandas.read_file(tmp_path / "map" / "squares.gpkg", layer="squares")
    joined = geopandas.sjoin(truth, layer, predicate="intersects")
    right = joined[joined["kind"] == joined["class"]]
    assert len(set(right.index)) > 0.8 * len(truth)
    assert right["index_right"].nunique() > 0.8 * len(layer)


def test_the_file_need_not_say_more_than_its_name(tmp_path, monkeypatch, root):
    (tmp_path / "another_file.py").write_text(FILE.replace("Corners", "OtherCorners"))
    monkeypatch.syspath_prepend(str(tmp_path))
    load_plugins(["another_file"])
    load_plugins(["another_file"])  # as a sweep's worker does
    given = [f"dataset.images={root / 'LICENSE'}", f"dataset.labels={root / 'LICENSE'}"]
    assert check("train", ["task=detection", "head=OtherCorners", *given]).problems == ()
