"""The picture of a map shows the scene and the classes' colours, without a display."""

import matplotlib.image
import numpy as np
import pytest

from geomm.structures import BandStatistics, RasterSpec, make_classes
from geomm.visualization.preview import draw_preview
from tests.io.common import write

CLASSES = make_classes(["field", "roof"])


def spec(bands=(1, 2, 3), background=None, dtype="uint8"):
    statistics = BandStatistics(*((0.0,) * len(bands),) * 4, count=1)
    names = tuple(f"band_{band}" for band in bands)
    return RasterSpec(bands, names, dtype, statistics, CLASSES, 64, background=background)


def draw(folder, height, width, *, background=None, bands=(1, 2, 3), dtype="uint8"):
    pixels = np.full((4, height, width), 90, dtype)
    classes = np.ones((height, width), np.uint8)
    classes[: height // 2] = 2
    scene = write(folder / "scene.tif", pixels)
    mapped = write(folder / "map.tif", classes, nodata=0)
    path = draw_preview(str(scene), mapped, spec(bands, background, dtype), folder / "p.png")
    return matplotlib.image.imread(path)


def colours(picture):
    found = np.unique(np.round(picture[..., :3] * 255).astype(int).reshape(-1, 3), axis=0)
    return {tuple(color) for color in found.tolist()}


def mixed(color):
    return tuple(int(0.45 * 90 + 0.55 * part) for part in color)


def test_both_classes_lie_over_the_picture(tmp_path):
    found = colours(draw(tmp_path, 60, 60))
    assert {mixed(item.color) for item in CLASSES} <= found
    assert {item.color for item in CLASSES} <= found  # the legend


def test_the_background_is_not_painted(tmp_path):
    found = colours(draw(tmp_path, 60, 60, background=0))
    assert mixed(CLASSES[0].color) not in found
    assert mixed(CLASSES[1].color) in found


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (40, 2000)])
def test_scenes_of_any_shape_can_be_drawn(tmp_path, shape):
    assert draw(tmp_path, *shape).shape[2] == 4


def test_a_single_band_of_16_bits_can_be_drawn(tmp_path):
    assert draw(tmp_path, 30, 40, bands=(4,), dtype="uint16").shape[2] == 4
