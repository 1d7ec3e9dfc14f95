import numpy as np
import pytest

from geomm.datasets.maps.chip_labels import CHIP_LABELS
from geomm.datasets.maps.labels import make_table
from geomm.errors import DataError
from geomm.io.raster_info import read_info
from geomm.structures import PixelWindow
from tests.datasets.common import IGNORE_INDEX, noise, write

VALUES = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)


@pytest.mark.parametrize("nodata", [None, 0])
@pytest.mark.parametrize(
    ("classes", "zero"), [({1: "a", 2: "b"}, IGNORE_INDEX), ({0: "a", 1: "b", 2: "c"}, 0)]
)
def test_classified_tiles_hold_class_values(tmp_path, nodata, classes, zero):
    labels = CHIP_LABELS["Classified_Tiles"]
    path = str(write(tmp_path / "a.tif", VALUES, nodata=nodata))
    assert labels.values(path) == {0, 1, 2}
    table = make_table([], [0, 1, 2], classes=classes, background=False)
    first = 0 if zero else 1
    mask = labels.mask(path, PixelWindow(-1, 0, 4, 2), table)
    expected = [[255, zero, first, first + 1], [255, first + 1, first, zero]]
    assert mask.tolist() == expected


def test_a_label_must_be_as_large_as_its_image(tmp_path):
    labels = CHIP_LABELS["Classified_Tiles"]
    image = read_info(write(tmp_path / "image.tif", noise(2, 3)))
    assert labels.problem(write(tmp_path / "a.tif", VALUES), image) is None
    other = labels.problem(write(tmp_path / "b.tif", VALUES.T), image)
    assert "b.tif is 2 x 3" in other and "image.tif 3 x 2" in other


def test_labels_of_fractions_are_an_error(tmp_path):
    path = write(tmp_path / "a.tif", VALUES.astype(np.float32))
    with pytest.raises(DataError, match="whole class values"):
        CHIP_LABELS["Classified_Tiles"].values(str(path))
