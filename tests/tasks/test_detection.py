"""Detection from the command to the package: trained on a made scene, judged, and used again."""

import json

import numpy as np
import pytest
import torch

import geomm
from geomm.datasets.no_data import NoData
from geomm.errors import ConfigError, GeommError
from geomm.models.objects.detector import Detector
from geomm.samples.texture import write_raster
from geomm.structures import Objects
from geomm.tasks.detection import Detection
from tests.models.common import composed
from tests.models.objects.test_detector import LIGHT

EDGE_PX = 14


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A scene of two bands with bright and dark squares, apart from each other, and their polygons."""
    from shapely import box

    folder = tmp_path_factory.mktemp("scene")
    rng = np.random.default_rng(4)
    pixels = rng.normal(1000, 20, (2, 192, 192))
    polygons, kinds = [], []
    for row in range(4, 180, 24):
        for col in range(4, 180, 24):
            if rng.random() < 0.6:
                bright = rng.random() < 0.5
                pixels[:, row : row + EDGE_PX, col : col + EDGE_PX] += 400 if bright else -400
                polygons.append(box(500 + col, 900 - row - EDGE_PX, 500 + col + EDGE_PX, 900 - row))
                kinds.append("bright" if bright else "dark")
    image = write_raster(
        folder / "squares.tif", pixels.astype(np.uint16), crs="EPSG:32616", origin=(500.0, 900.0), gsd=1.0
    )
    import geopandas

    labels = folder / "squares.gpkg"
    geopandas.GeoDataFrame({"kind": kinds}, geometry=polygons, crs="EPSG:32616").to_file(labels)
    return image, str(labels)


def overrides(task, head, scene, folder):
    image, labels = scene
    return [
        f"task={task}",
        f"head={head}",
        "backbone=timm",
        "backbone.name=test_resnet",
        *LIGHT[head],
        f"dataset.images={image}",
        f"dataset.labels={labels}",
        "dataset.label_field=kind",
        "dataset.window_px=64",
        "dataset.windows_per_epoch=8",
        "schedule.epochs=2",
        "schedule.batch_size=4",
        "schedule.lr=2e-3",
        "runtime.workers=0",
        "runtime.device=cpu",
        "tracking=none",
        f"work_dir={folder}",
    ]


@pytest.mark.parametrize(
    ("task", "head"), [("detection", "retinanet"), ("instance_segmentation", "mask_rcnn")]
)
def test_a_run_ends_with_a_package_that_finds_the_same(task, head, scene, tmp_path):
    package = geomm.train(overrides(task, head, scene, tmp_path / "run"))
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["monitor"]["name"] == "AP50" and 0 <= metrics["monitor"]["value"] <= 1
    assert {"AP", "AP50", "AP75", "precision", "recall", "F1", "threshold"} <= set(metrics["val"])
    assert package.spec.object_px == pytest.approx((EDGE_PX, EDGE_PX), abs=0.5)
    assert [item.name for item in package.spec.classes] == ["bright", "dark"]
    assert package.model.best_threshold == metrics["val"]["threshold"]
    again = geomm.load(tmp_path / "run" / "model.dlpk")
    pixels = torch.randint(500, 1500, (1, 2, 64, 64), generator=torch.Generator().manual_seed(0))
    valid = torch.ones(1, 64, 64, dtype=torch.bool)
    (one,), (two,) = package.model.detect(pixels, valid), again.model.detect(pixels, valid)
    np.testing.assert_array_equal(one.boxes, two.boxes)
    definition = again.task.emd_keys(again.spec)
    kind = "ObjectDetection" if task == "detection" else "InstanceDetection"
    assert definition["ModelType"] == kind
    report = again.predict(scene[0], output=tmp_path / "map", device="cpu", progress=False)
    assert report.failed == [] and any(path.suffix == ".gpkg" for path in report.outputs)


@pytest.fixture
def finding(monkeypatch):
    """Let detectors find every square, the surer the brighter its window; return the figures' thresholds."""
    from scipy.ndimage import find_objects, label

    import geomm.visualization.objects as figures

    def find(self, inputs):
        found = []
        for pixels in inputs.cpu().numpy()[:, 0]:
            places = find_objects(label(np.abs(pixels - np.median(pixels)) > 1)[0])
            boxes = np.array([(c.start, r.start, c.stop, r.stop) for r, c in places], np.float32)
            labels = np.array([pixels[place].mean() < np.median(pixels) for place in places], np.int64)
            sure = np.float32(1 / (1 + np.exp(-pixels.mean())))
            found.append(Objects(boxes.reshape(-1, 4), labels, np.full(len(labels), sure)))
        return found

    drawn = {}
    monkeypatch.setattr(Detector, "find", find)
    draw_curves, draw_panels = figures.draw_precision_recall, figures.draw_object_panels

    def curves(found, classes, threshold, path):
        drawn[path.name] = threshold
        return draw_curves(found, classes, threshold, path)

    def panels(model, data, spec, path, *, threshold):
        drawn[path.name] = threshold
        return draw_panels(model, data, spec, path, threshold=threshold)

    monkeypatch.setattr(figures, "draw_precision_recall", curves)
    monkeypatch.setattr(figures, "draw_object_panels", panels)
    return drawn


def test_test_samples_have_no_say_in_the_threshold(scene, tmp_path, finding):
    """It is that of the validation samples in metrics, figures and package; of a resumed run too."""
    options = [
        *overrides("detection", "retinanet", scene, tmp_path),
        "dataset.split.val=0.4",
        "dataset.split.test=0.3",
        "schedule.policy=constant",
    ]
    geomm.train([*options, "schedule.epochs=1"])
    package = geomm.train([*options, "resume=true"])
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    kept = package.model.best_threshold
    assert metrics["val"]["recall"] == 1
    assert metrics["test"]["threshold"] == metrics["val"]["threshold"] == kept
    assert finding == {
        f"{name}_{split}.png": kept for name in ("precision_recall", "samples") for split in ("val", "test")
    }


def test_test_samples_that_are_looked_at_in_between_have_none(scene, tmp_path, finding):
    options = overrides("detection", "retinanet", scene, tmp_path)
    data = geomm.prepare([*options, "dataset.split.val=0.4", "dataset.split.test=0.3"])
    model = data.model()
    model.show_results("test")
    assert model.metrics["test"]["threshold"] == finding["precision_recall_test.png"] == 0.5
    model.fit(1)
    model.show_results("test")
    chosen = model.metrics["val"]["threshold"]
    assert model.metrics["test"]["threshold"] == finding["samples_test.png"] == chosen != 0.5


@pytest.mark.parametrize("given", [None, 0.3])
def test_without_validation_samples_the_threshold_is_that_of_inference(scene, tmp_path, finding, given):
    package = geomm.train(
        [
            *overrides("detection", "retinanet", scene, tmp_path),
            "dataset.split.val=0",
            "dataset.split.test=0.3",
            "schedule.epochs=0",
            f"task.score_threshold={'null' if given is None else given}",
        ]
    )
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    options = package.task.inference_options(package.model, package.spec, {})
    assert package.model.best_threshold == given
    assert "val" not in metrics and metrics["test"]["threshold"] == options.least_score == (given or 0.5)


def test_weights_become_a_package_without_data(tmp_path):
    """YOLOv3 for COCO from a file in mmdet's layout, of a small backbone here."""
    folder = tmp_path / "coco"
    parts = ["task=detection", "head=yolov3", *LIGHT["yolov3"], "backbone=timm", "backbone.name=test_resnet"]
    told = [*parts, "dataset=none", "schedule.epochs=0", "tracking=none", f"work_dir={folder}"]
    with pytest.raises(ConfigError, match=r"head\.checkpoint: found none.* yolov3_d53_"):
        geomm.train(told)
    config = composed(*parts)
    model = Detector(backbone=config["backbone"], head=config["head"], spec=NoData().prepare("cache"))
    detector = model.detector
    published = {
        name.replace("backbone.backbone.body.", "backbone."): value
        for name, value in detector.state_dict().items()
    }
    torch.save({"state_dict": published}, tmp_path / "yolov3.pth")
    package = geomm.train([*told, f"head.checkpoint={tmp_path / 'yolov3.pth'}"])
    assert package.spec.num_classes == 80 and package.spec.statistics.std == (255.0,) * 3
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["monitor"]["value"] is None and metrics["epochs"] == 0
    assert package.model.best_threshold is None
    for name, value in package.model.detector.state_dict().items():
        torch.testing.assert_close(value.cpu(), detector.state_dict()[name])
    found = package.model.detect(torch.zeros(1, 3, 64, 64), torch.ones(1, 64, 64, dtype=torch.bool))
    assert len(found) == 1


def test_no_data_is_nothing_to_train_on(tmp_path):
    with pytest.raises(ConfigError, match=r"NoData has no samples to train on; .* schedule\.epochs=0"):
        geomm.train(
            [
                "task=detection",
                *LIGHT["retinanet"],
                "backbone=timm",
                "backbone.name=test_resnet",
                "dataset=none",
                f"work_dir={tmp_path}",
            ]
        )


def test_missing_weights_are_named_before_anything_starts():
    with pytest.raises(GeommError, match=r"head\.checkpoint: 'no_such\.pth' does not exist"):
        geomm.train(
            ["task=detection", "head=yolov3", "dataset=none", "head.checkpoint=no_such.pth", "work_dir=x"]
        )


@pytest.mark.parametrize(("iou", "monitor"), [(0.5, "AP30"), (0.3, "AP35/crown")])
def test_an_ap_that_is_not_measured_is_named_before_anything_starts(iou, monitor):
    with pytest.raises(
        ConfigError, match=rf"task\.monitor: found '{monitor}'; allowed: AP, AP.*task\.iou=0\.3"
    ):
        Detection(iou=iou, monitor=monitor)
    assert Detection(iou=0.3, monitor="AP30").monitor == "AP30"


def test_a_mask_head_is_for_instance_segmentation_alone():
    with pytest.raises(ConfigError, match=r"MaskRCNN serves task instance_segmentation, not detection"):
        geomm.train(["task=detection", "head=mask_rcnn", "dataset=none", "work_dir=x"])
