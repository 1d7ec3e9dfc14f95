"""The picture of several scenes on their common grid."""

import numpy as np
import pytest

from geomm.inference.objects.candidates import Candidates
from geomm.structures import Georeference
from geomm.visualization import object_preview
from geomm.visualization.object_preview import SurestObjects, _mosaic
from tests.datasets.drawn import CRS, ORIGIN, spec_of_two, write

GRID = Georeference(CRS, (1.0, 0.0, ORIGIN[0], 0.0, -1.0, ORIGIN[1]))


@pytest.fixture
def scenes(tmp_path):
    """Two of 40 pixels that share 20 columns, in which the second has no data; the first has a gap."""
    pixels = np.stack([np.full((3, 40, 40), value, np.uint8) for value in (100, 150)])
    pixels[0, :, 10:20, 25:35] = 0
    pixels[1, :, 20:, :20] = 0
    return [
        str(write(tmp_path / f"{number}.tif", part, origin=(ORIGIN[0] + 20 * number, ORIGIN[1]), nodata=0))
        for number, part in enumerate(pixels)
    ]


@pytest.mark.parametrize(("order", "shared"), [((0, 1), 150), ((1, 0), 100)], ids=["second on", "first on"])
def test_no_scene_hides_another_where_it_has_no_data(scenes, order, shared):
    picture, scale = _mosaic([scenes[number] for number in order], GRID, spec_of_two(), 60)
    assert scale == 1.0 and picture.shape == (40, 60, 3)
    expected = np.full((40, 60), 100)
    expected[:, 40:] = 150
    expected[:20, 20:40] = shared
    expected[10:20, 25:35] = 150  # the gap of the first
    np.testing.assert_array_equal(picture, np.repeat(expected[..., None], 3, 2))


def test_where_no_scene_has_data_it_is_white(scenes):
    picture, _ = _mosaic(scenes[:1], GRID, spec_of_two(), 40)
    assert (picture[10:20, 25:35] == 255).all() and (picture[:10] == 100).all()


def test_scenes_of_other_depths_are_stretched_by_their_own_values(tmp_path):
    ramp = np.linspace(0, 1, 1600).reshape(1, 40, 40).repeat(3, 0)
    parts = (1 + ramp * 254).astype(np.uint8), (1 + ramp * 9000).astype(np.uint16)
    paths = [
        str(write(tmp_path / f"{number}.tif", part, origin=(ORIGIN[0] + 40 * number, ORIGIN[1])))
        for number, part in enumerate(parts)
    ]
    picture, _ = _mosaic(paths, GRID, spec_of_two(), 80)
    one, two = picture[:, :40], picture[:, 40:]
    for shown in (one, two):
        assert shown[0].mean() < 40 and shown[-1].mean() > 215


def some_objects(scores, label):
    count = len(scores)
    boxes, zeros = np.repeat(np.asarray(scores, float)[:, None], 4, 1), np.zeros(count, np.int32)
    cut = np.zeros((count, 4), bool)
    return Candidates(boxes, zeros + label, np.array(scores, np.float32), boxes, cut, zeros).with_shapes()


def test_all_objects_count_and_the_surest_are_kept(monkeypatch):
    monkeypatch.setattr(object_preview, "_DRAWN", 3)
    found = SurestObjects(3)
    for number in range(10):
        found.add(some_objects([number / 20, 0.5 + number / 20], label=number % 2))
        found.add(some_objects([], label=0))
    boxes, labels, scores, shapes = found.best()
    assert found.counts.tolist() == [10, 10, 0]
    np.testing.assert_allclose(scores, [0.85, 0.9, 0.95])
    assert labels.tolist() == [1, 0, 1] and boxes[:, 0].tolist() == [0.85, 0.9, 0.95]
    assert [shape.bounds[0] for shape in shapes] == [0.85, 0.9, 0.95]
