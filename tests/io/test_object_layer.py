"""Layers of objects lie where their scene does, whatever the file can say of its CRS."""

import numpy as np
import pyogrio
import pytest

from geomm.io.object_layer import ObjectLayerWriter
from geomm.structures import ClassSpec, Georeference

NAMELESS = "+proj=merc +lon_0=0 +R=6378137 +units=m +type=crs"


@pytest.mark.parametrize("ending", ["gpkg", "geojson", "fgb"])
@pytest.mark.parametrize("crs", [NAMELESS, "EPSG:32616"])
def test_objects_are_where_the_scene_is(tmp_path, ending, crs):
    place = Georeference(crs, (0.5, 0.0, 500_000.0, 0.0, -0.5, 4_000_000.0))
    classes = [ClassSpec(1, "palm", (255, 0, 0))]
    path = tmp_path / f"objects.{ending}"
    with ObjectLayerWriter(path, georeference=place, classes=classes, scenes=["a.tif"]) as writer:
        found = np.array([[10.0, 20.0, 30.0, 60.0]])
        writer.add(found, np.zeros(1, np.int32), np.ones(1, np.float32), np.zeros(1, np.int32))
    layer = pyogrio.read_dataframe(path, layer="objects")
    there = layer.to_crs(crs).total_bounds
    np.testing.assert_allclose(there, [500_005, 3_999_970, 500_015, 3_999_990], atol=0.01)
    assert layer["width_m"].tolist() == [10] and layer["height_m"].tolist() == [20]
