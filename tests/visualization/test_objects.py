import numpy as np
import rasterio
import torch

from geomm.metrics.object_matching import PrecisionRecall
from geomm.structures import BandStatistics, Objects, RasterSample, RasterSpec, make_classes
from geomm.visualization import objects
from geomm.visualization.objects import draw_object_panels, draw_precision_recall

CLASSES = make_classes(["palm", "pool"])


class Oracle(torch.nn.Module):
    """Finds one object, the same in each window."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def detect(self, inputs, valid):
        boxes, labels = np.array([[2, 3, 12, 20], [0, 0, 4, 4]], np.float32), np.array([0, 1])
        return [Objects(boxes, labels, np.array([0.9, 0.1], np.float32))] * len(inputs)


def dataset(count):
    rng = np.random.default_rng(0)
    masks = np.zeros((2, 32, 32), bool)
    masks[0, 3:20, 2:12] = True
    for number in range(count):
        boxes = np.array([[2, 3, 12, 20], [20, 20, 40, 40]], np.float32)
        truth = Objects(boxes, np.array([0, 1]), masks=masks, ignored=np.array([False, True]))
        image = rng.integers(0, 255, (3, 32, 32)).astype(np.uint8)
        yield RasterSample(image, np.ones((32, 32), bool), name=f"{number}", extras={"objects": truth})


def test_panels_show_truth_and_what_is_sure(tmp_path):
    statistics = BandStatistics((0,) * 3, (1,) * 3, (0,) * 3, (1,) * 3, 1)
    spec = RasterSpec((1, 2, 3), ("r", "g", "b"), "uint8", statistics, CLASSES, 32)
    path = draw_object_panels(Oracle(), list(dataset(3)), spec, tmp_path / "panels.png", rows=2)
    with rasterio.open(path) as picture:
        pixels = picture.read()[:3]
    hue = np.array(CLASSES[0].color)[:, None, None]
    near = (np.abs(pixels.astype(int) - hue) < 12).all(0)
    thirds = [part.sum() for part in np.array_split(near[: near.shape[0] * 9 // 10], 3, axis=1)]
    # Truth and prediction carry the class's colour; the image does not.
    assert thirds[0] < 20 and min(thirds[1:]) > 100


def test_curves_are_drawn_without_what_has_none(tmp_path):
    known = PrecisionRecall(np.array([0.9, 0.5]), np.array([1.0, 0.5]), np.array([0.5, 0.5]), 2)
    empty = PrecisionRecall(np.zeros(0), np.zeros(0), np.zeros(0), 0)
    path = draw_precision_recall({"palm": known, "pool": empty}, CLASSES, 0.5, tmp_path / "pr.png")
    assert path.stat().st_size > 5000
    assert draw_precision_recall({"pool": empty}, CLASSES, 0.5, tmp_path / "none.png").is_file()


def test_figures_name_the_threshold_in_full(tmp_path, monkeypatch):
    titles = []

    def look(figure, path):
        titles.extend(axis.get_title() for axis in figure.axes)
        return path

    monkeypatch.setattr(objects, "save_figure", look)
    curve = PrecisionRecall(np.array([0.99998]), np.array([1.0]), np.array([1.0]), 1)
    draw_precision_recall({"palm": curve}, CLASSES, 0.99997, tmp_path / "pr.png")
    statistics = BandStatistics((0,) * 3, (1,) * 3, (0,) * 3, (1,) * 3, 1)
    spec = RasterSpec((1, 2, 3), ("r", "g", "b"), "uint8", statistics, CLASSES, 32)
    draw_object_panels(Oracle(), list(dataset(1)), spec, tmp_path / "panels.png", threshold=0.3)
    assert "dots: score ≥ 0.99997" in titles and "prediction, score ≥ 0.3" in titles
