"""Columns from places: names, kinds of layers, and what is missing."""

import geopandas
import numpy as np
import pytest
from shapely import LineString, Point, box

from geomm.datasets.tables.surroundings import (
    centres,
    chosen_crs,
    list_rasters,
    place_rows,
    surrounding_columns,
)
from geomm.errors import DataError, MissingCRSError
from geomm.io.tables import Table
from geomm.transforms.table import Surroundings
from tests.io.test_raster_samples import CRS, write

PLACES = np.array([Point(5e5 + 15, 4e6 - 15), box(5e5, 4e6 - 20, 5e5 + 20, 4e6), None], object)


def table(geometry=PLACES, crs=CRS):
    import pandas

    return Table(pandas.DataFrame({"a": range(len(geometry))}), geometry, crs)


def test_rasters_are_named_by_file_or_by_the_user(tmp_path):
    path = write(tmp_path / "rain.tif", np.ones((2, 4, 4)))
    assert [item.name for item in list_rasters(path)] == ["rain_band_1", "rain_band_2"]
    assert [(i.name, i.band) for i in list_rasters({"r": path})] == [("r_1", 1), ("r_2", 2)]
    assert list_rasters(None) == ()
    (tmp_path / "b").mkdir()
    write(tmp_path / "b" / "rain.tif", np.ones((2, 4, 4)))
    with pytest.raises(DataError, match="two bands are named 'rain_band_1'"):
        list_rasters(str(tmp_path))


def test_points_are_sampled_polygons_summarised(tmp_path):
    dem = write(tmp_path / "dem.tif", np.arange(16.0).reshape(4, 4))
    around = Surroundings(list_rasters(dem), coordinates=True, crs=CRS)
    columns = surrounding_columns(table(), around)
    np.testing.assert_array_equal(columns["dem"], [5.0, 2.5, np.nan])
    np.testing.assert_allclose(columns["x_coordinate"], [5e5 + 15, 5e5 + 10, np.nan])
    np.testing.assert_allclose(centres(table())[1], [5e5 + 10, 4e6 - 10])


def test_distances_are_to_the_nearest_feature_of_a_layer(tmp_path):
    road = geopandas.GeoDataFrame(geometry=[LineString([(5e5 + 115, 0), (5e5 + 115, 9e6)])], crs=CRS)
    road.to_crs("EPSG:4326").to_file(tmp_path / "road.gpkg")
    around = Surroundings(distances=(("road", str(tmp_path / "road.gpkg")),), crs=CRS)
    assert surrounding_columns(table(PLACES[:1]), around)["road"][0] == pytest.approx(100, abs=60)


def test_cells_of_h3():
    h3 = pytest.importorskip("h3")
    places = np.array([Point(15.0, 50.0), None], object)
    columns = surrounding_columns(table(places, "EPSG:4326"), Surroundings(h3=5))
    assert columns["h3_5"].tolist() == [h3.latlng_to_cell(50.0, 15.0, 5), None]
    with pytest.raises(MissingCRSError, match=r"dataset.h3 needs the layer's CRS"):
        surrounding_columns(table(places, None), Surroundings(h3=5))


def test_fields_give_places():
    import pandas

    frame = pandas.DataFrame({"x": [1.0, None], "y": [2.0, 3.0]})
    placed = place_rows(Table(frame), ["x", "y"], "EPSG:4326")
    assert placed.geometry[0].equals(Point(1, 2)) and placed.geometry[1] is None
    assert chosen_crs(placed) == "EPSG:32631"
    with pytest.raises(DataError, match="no column 'lon'"):
        place_rows(Table(frame), ["lon", "y"], None)


def test_nothing_is_looked_up_where_nothing_is_asked_for():
    assert surrounding_columns(table(), Surroundings()) == {}
