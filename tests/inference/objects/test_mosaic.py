"""What lies at a scene's border is left to another scene only where that one shows it."""

import numpy as np
import pytest

from geomm.inference.objects import mosaic as module
from geomm.inference.objects.candidates import Candidates, join
from geomm.inference.objects.mosaic import Mosaic
from geomm.inference.objects.options import ObjectOptions
from tests.io.common import grid, write

#: A box one pixel from the right edge of the first scene, and its columns in the second one.
BOX, ROWS, COLS = (180.0, 80.0, 199.0, 100.0), slice(80, 100), slice(80, 99)


def mosaic(folder, pixels, boxes=(BOX,), **options):
    """Two scenes of 200 px, the second 100 px to the right; only the first has objects."""
    first = write(folder / "first.tif", np.full((200, 200), 9, np.uint8))
    second = write(folder / "second.tif", pixels, transform=grid(100, 0), **options)
    made = Mosaic([str(first), str(second)], folder / "work", ObjectOptions())
    (folder / "work").mkdir()
    count = len(boxes)
    found = Candidates(
        np.array(boxes), np.zeros(count, np.int32), np.full(count, 0.9, np.float32),
        np.tile((0.0, 0.0, 200.0, 200.0), (count, 1)), np.zeros((count, 4), bool), np.zeros(count, np.int32),
    )  # fmt: skip
    found.save(made._file(0))
    Candidates.none().save(made._file(1))
    return made


def kept(made):
    return len(join(list(made.merged())))


def scene(dtype="uint8"):
    return np.full((200, 200), 9, dtype)


@pytest.mark.parametrize("kind", ["nodata", "mask", "alpha", "nan"])
def test_an_object_where_the_other_scene_has_no_data_is_kept(tmp_path, kind):
    pixels, shown = scene("float32" if kind == "nan" else "uint8"), np.ones((200, 200), bool)
    shown[:, 50:120] = False
    options = {"nodata": {"nodata": 0}, "mask": {"mask": shown}, "alpha": {"alpha": shown * 255}, "nan": {}}
    pixels[~shown] = np.nan if kind == "nan" else 0
    assert kept(mosaic(tmp_path, pixels, **options[kind])) == 1


def test_an_object_that_the_other_scene_shows_is_left_to_it(tmp_path):
    pixels = scene()
    pixels[:, 99:] = 0
    pixels[85, 85:88] = 0  # as dark as nodata, in the midst of it
    assert kept(mosaic(tmp_path, pixels, nodata=0)) == 0


def test_an_object_that_the_other_scene_shows_half_is_kept(tmp_path):
    pixels = scene()
    pixels[ROWS, 90:] = 0
    assert kept(mosaic(tmp_path, pixels, nodata=0)) == 1


def test_scenes_are_opened_once_and_only_where_they_can_have_gaps(tmp_path, monkeypatch):
    opened = []

    class Counted(module.RasterReader):
        def __init__(self, path):
            opened.append(path)
            super().__init__(path)

    monkeypatch.setattr(module, "RasterReader", Counted)
    boxes = [(180.0, top, 199.0, top + 8.0) for top in range(10, 180, 10)]
    for name, nodata, opens in (("gaps", 0, 1), ("whole", None, 0)):
        (tmp_path / name).mkdir()
        made = mosaic(tmp_path / name, scene(), boxes, nodata=nodata)
        opened.clear()
        assert kept(made) == 0 and kept(made) == 0  # for the layer, and for its picture
        assert len(opened) == opens


@pytest.mark.parametrize("collar", [0, 50])
@pytest.mark.parametrize("kind", ["nodata", "mask"])
def test_an_object_at_the_end_of_a_scenes_data_is_there_once(tmp_path, collar, kind):
    """The first scene shows 10 columns of it, the second one all."""
    shown = np.ones((200, 150 + collar), bool)
    shown[:, 150:] = False
    options = {"nodata": 0} if kind == "nodata" else {"mask": shown}
    first = write(tmp_path / "first.tif", np.where(shown, 9, 0).astype(np.uint8), **options)
    second = write(tmp_path / "second.tif", scene(), transform=grid(100, 0))
    made = Mosaic([str(first), str(second)], tmp_path / "work", ObjectOptions())
    (tmp_path / "work").mkdir()
    for number, box in enumerate([(140, 80, 150, 100), (40, 80, 70, 100)]):
        found = Candidates(
            np.array([box], float), np.zeros(1, np.int32), np.full(1, 0.9, np.float32),
            np.array([[0.0, 0.0, 200.0, 200.0]]), np.zeros((1, 4), bool), np.full(1, number, np.int32),
        )  # fmt: skip
        found.save(made._file(number))
    assert join(list(made.merged())).boxes.tolist() == [[140, 80, 170, 100]]


def test_scores_that_a_scene_lowered_are_not_lowered_again(tmp_path):
    made = mosaic(tmp_path, scene(), boxes=((20, 20, 60, 60), (30, 20, 70, 60)))
    made.options = ObjectOptions(merge="soft", score_threshold=0.05)
    assert join(list(made.merged())).scores.tolist() == pytest.approx([0.9, 0.9])
