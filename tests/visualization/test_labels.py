"""Pictures with their names, and features on their scene."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import shapely
from shapely import GeometryCollection, MultiPolygon, Point, Polygon

from geomm.datasets.pictures.crops import Crop, CropDataset
from geomm.metrics.labels import LabelMetric
from geomm.structures import PixelWindow
from geomm.transforms.compose import Compose
from geomm.visualization import labels
from tests.datasets.drawn import spec_of_two, write


@pytest.fixture
def spec():
    return spec_of_two()


NESTED = {
    "collection of collections": GeometryCollection(
        [MultiPolygon([shapely.box(4, 2, 12, 10)]), GeometryCollection([Point(20, 20), Point()])]
    ),
    "empty parts": MultiPolygon([shapely.box(4, 2, 12, 10), Polygon()]),
    "points": shapely.MultiPoint([(3, 3), (9, 9)]),
    "line": shapely.LineString([(3, 3), (9, 9)]),
    "with heights": shapely.force_3d(shapely.box(4, 2, 12, 10), 7.0),
}


@pytest.mark.parametrize("shape", NESTED.values(), ids=NESTED)
def test_features_of_any_kind_are_drawn(tmp_path, spec, shape):
    scene = write(tmp_path / "scene.tif", np.full((3, 40, 60), 60, np.uint8))
    path = labels.draw_feature_map(str(scene), [shape], [1], spec, tmp_path / "map.png")
    red, green, blue = spec.classes[1].color
    drawn = (plt.imread(path)[..., :3] * 255).round()[:-60]  # the legend is below
    assert (np.abs(drawn - (red, green, blue)).max(-1) < 40).any()


def test_the_hardest_of_scenes_of_one_name_are_their_own(tmp_path, spec, monkeypatch):
    crops = []
    for year, value in (("2023", 60), ("2024", 200)):
        scene = write(tmp_path / year / "ortho.tif", np.full((3, 40, 60), value, np.uint8))
        crops.append(Crop(str(scene), PixelWindow(4, 4, 8, 8), f"{scene}: feature at 8, 8"))
    data = CropDataset(
        crops, np.eye(2, dtype=np.float32), bands=spec.bands, window_px=8, blackout=False,
        augment=Compose({}), seed=0,
    )  # fmt: skip
    metric = LabelMetric(["dark", "light"])
    metric.hardest = [(crop.name, np.eye(2)[0], np.eye(2)[1], 1.0) for crop in crops]
    shown = []
    monkeypatch.setattr(labels, "draw_pictures", lambda pictures, path: shown.extend(pictures))
    monkeypatch.setattr(labels, "to_rgb", lambda image, valid: image.mean())
    labels.draw_hardest(metric, data, spec, tmp_path / "hardest.png")
    assert [value for value, *_ in shown] == [60, 200]
