"""A classifier without weights: dark and light pictures."""

import struct

import pyarrow
import pyogrio
import pytest
import shapely
import torch

from geomm.inference.options import LabelOptions
from tests.datasets.drawn import CRS, ORIGIN, spec_of_two


def brightness(inputs, valid):
    light = inputs.float().mean((1, 2, 3)) > 120
    return torch.stack([~light, light], 1).float()


@pytest.fixture
def classifier():
    """Keyword arguments of the classifying functions."""
    spec = spec_of_two()
    return {"score": brightness, "spec": spec}


@pytest.fixture
def options():
    def make(**changed):
        return LabelOptions(**{"device": "cpu", "progress": False, "preview": False, **changed})

    return make


@pytest.fixture
def curves(tmp_path):
    """Path of a layer of a box and of a polygon whose edge is an arc, which shapely has not."""
    x, y = ORIGIN
    ring = [(x + 2, y - 3), (x + 4, y - 5), (x + 6, y - 3), (x + 4, y - 1), (x + 2, y - 3)]
    arc = struct.pack("<BII", 1, 8, len(ring)) + b"".join(struct.pack("<dd", *point) for point in ring)
    shapes = [
        shapely.to_wkb(shapely.box(x + 10, y - 13, x + 14, y - 10)),
        struct.pack("<BII", 1, 10, 1) + arc,
    ]
    table = pyarrow.table({"n": [1, 2], "geometry": pyarrow.array(shapes, pyarrow.binary())})
    path = tmp_path / "curves.gpkg"
    pyogrio.write_arrow(
        table, path, driver="GPKG", geometry_name="geometry", geometry_type="Unknown", crs=CRS
    )
    return str(path)
