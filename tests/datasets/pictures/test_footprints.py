"""Features of one layer for several scenes are judged once, over all of them."""

import geopandas
import numpy as np
import pytest
import shapely

from geomm.datasets.pictures.footprints import Footprints
from geomm.errors import DataError
from tests.datasets.drawn import CRS, ORIGIN, picture, write


def scenes(folder, *, second, gsd=1.0):
    """Write two scenes of 100 px, the second so many pixels to the right of the first."""
    rng = np.random.default_rng(0)
    for number in range(2):
        origin = (ORIGIN[0] + number * second * gsd, ORIGIN[1])
        write(folder / f"s{number}.tif", picture(rng, 0, (100, 100)), origin=origin, gsd=gsd)
    return str(folder / "s*.tif")


def layer(path, boxes, *, gsd=1.0, crs=CRS):
    """Write features around (column, row) of the first scene, 12 px wide, of two classes in turn."""
    x, y = ORIGIN
    shapes = [
        shapely.box(x + (c - 6) * gsd, y - (r + 6) * gsd, x + (c + 6) * gsd, y - (r - 6) * gsd)
        for c, r in boxes
    ]
    frame = geopandas.GeoDataFrame(
        {"kind": ["ab"[n % 2] for n in range(len(shapes))]}, geometry=shapes, crs=CRS
    )
    frame.to_crs(crs).to_file(path)
    return str(path)


INSIDE = [(20, 20), (50, 50), (80, 80), (120, 20), (150, 50), (180, 80)]


@pytest.mark.parametrize("crs", [CRS, "EPSG:4326"])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_feature_across_a_seam_is_of_the_scene_of_its_middle(tmp_path, on_error, crs):
    images = scenes(tmp_path, second=100)
    labels = layer(tmp_path / "l.gpkg", [*INSIDE, (98, 60), (103, 30)], crs=crs)
    source = Footprints(images=images, labels=labels, label_field="kind", on_error=on_error)
    found = [item.crop.path[-6:-4] for item in source.find()]
    assert found == ["s0"] * 4 + ["s1"] * 4 and not source._problems


@pytest.mark.parametrize("gsd", [1.0, 0.3, 0.07])
def test_a_middle_on_the_seam_itself_is_on_a_scene(tmp_path, gsd):
    images = scenes(tmp_path, second=100, gsd=gsd)
    labels = layer(tmp_path / "l.gpkg", [*INSIDE, (100, 33), (100, 66)], gsd=gsd)
    places = {
        item.crop.name.split(": ")[1]
        for item in Footprints(images=images, labels=labels, label_field="kind").find()
    }
    assert len(places) == 8


def test_features_off_overlapping_scenes_are_all_counted(tmp_path, caplog):
    images = scenes(tmp_path, second=50)
    on_both = [(60, 20), (75, 40), (90, 60), (70, 80)]
    far = [(5000, 20 * number) for number in range(3)]
    labels = layer(tmp_path / "l.gpkg", [(20, 20), *on_both, *far])
    given = {"images": images, "labels": labels, "label_field": "kind"}
    source = Footprints(**given, on_error="skip")
    assert len(source.find()) == 9 and dict(source._problems) == {"features off the scenes": 3}
    said = r"l\.gpkg: the middle of 3 of 8 features lies on none of the scenes.* feature at 505000, 5000000 "
    with pytest.raises(DataError, match=said):
        Footprints(**given).find()


def test_a_feature_that_reaches_onto_both_scenes_from_outside_counts_once(tmp_path):
    images = scenes(tmp_path, second=100)
    labels = layer(tmp_path / "l.gpkg", [*INSIDE, (100, 104)])
    source = Footprints(images=images, labels=labels, label_field="kind", on_error="skip")
    assert len(source.find()) == 6 and dict(source._problems) == {"features off the scenes": 1}


def test_a_feature_without_a_class_counts_where_its_middle_lies(tmp_path):
    images = scenes(tmp_path, second=100)
    path = layer(tmp_path / "l.gpkg", [*INSIDE, (98, 60)])
    frame = geopandas.read_file(path)
    frame.loc[6, "kind"] = None
    frame.to_file(path)
    source = Footprints(images=images, labels=path, label_field="kind", on_error="skip")
    assert len(source.find()) == 6 and dict(source._problems) == {"features without a class": 1}


def test_a_layer_of_one_scene_has_no_other(tmp_path):
    images = scenes(tmp_path, second=100)
    for number in range(2):
        layer(tmp_path / f"s{number}.gpkg", [*INSIDE, (98, 60)])
    given = {"images": images, "labels": str(tmp_path / "s*.gpkg"), "label_field": "kind"}
    with pytest.raises(DataError, match=r"s1\.tif: feature at 500098, 4999940: its middle is off the scene"):
        Footprints(**given).find()
