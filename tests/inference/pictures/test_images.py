"""Image files as wholes: what is written, and what is left alone."""

import geopandas
import numpy as np
import pandas
import pytest
from shapely import Point

from geomm.errors import ConfigError, DataError
from geomm.inference.pictures.images import classify_images
from geomm.visualization.canvas import new_figure, save_figure
from tests.datasets.drawn import ORIGIN, write


@pytest.fixture
def classify(tmp_path, classifier, options):
    """Classify a placed chip or a photo without a place into one folder; return the names written."""

    def run(kind, **changed):
        origin = ORIGIN if kind == "chip" else None
        path = write(tmp_path / f"{kind}.tif", np.full((3, 20, 20), 60, np.uint8), origin=origin)
        report = classify_images(str(path), tmp_path / "out", **classifier, options=options(**changed))
        assert report.amount == 1
        return [path.name for path in report.outputs]

    return run


def test_the_report_lists_what_this_run_wrote(classify, tmp_path):
    assert classify("chip") == ["predictions.csv", "chips.gpkg"]
    assert classify("photo") == ["predictions.csv"]
    assert pandas.read_csv(tmp_path / "out" / "predictions.csv")["file"].str.endswith("photo.tif").all()
    assert classify("chip", preview=True) == ["predictions.csv", "chips.gpkg", "predictions_preview.png"]


@pytest.mark.parametrize("format", ["geojson", "fgb", "parquet"])
def test_layers_have_the_format_that_is_asked_for(classify, tmp_path, format):
    assert classify("chip", format=format) == ["predictions.csv", f"chips.{format}"]
    path = tmp_path / "out" / f"chips.{format}"
    (shape,) = (geopandas.read_parquet if format == "parquet" else geopandas.read_file)(path).geometry
    assert shape.geom_type == "Polygon"


def test_layers_need_a_format_with_shapes(classify, tmp_path):
    with pytest.raises(
        ConfigError, match=r"inference\.format: found csv, which holds no shapes; predictions"
    ):
        classify("chip", format="csv")
    assert not (tmp_path / "out").exists()


def test_photos_need_no_crs(classify, caplog):
    classify("photo")
    assert "has no CRS" not in caplog.text


@pytest.mark.parametrize("name", ["predictions.csv", "chips.gpkg", "photos.gpkg"])
def test_files_of_another_origin_are_not_replaced(classify, tmp_path, name):
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / name
    if name.endswith(".csv"):
        path.write_text("file,class\na,b\n")
    else:
        geopandas.GeoDataFrame({"class": ["a"]}, geometry=[Point(1, 2)], crs=4326).to_file(path)
    before = path.read_bytes()
    with pytest.raises(DataError, match=rf"{name} is there and is no table of classes that geomm wrote"):
        classify("chip")
    assert path.read_bytes() == before and [item.name for item in path.parent.iterdir()] == [name]


@pytest.mark.parametrize("format", ["gpkg", "shp"])
def test_no_layer_of_an_earlier_run_stays(classify, tmp_path, format):
    table, layer = classify("chip", format=format)
    assert (tmp_path / "out" / layer).is_file()
    (tmp_path / "out" / "chips.txt").write_text("mine")
    assert classify("photo", format=format) == [table]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {table, "chips.txt"}


def test_a_run_that_fails_leaves_the_layers(classify, classifier, options, tmp_path):
    classify("chip")
    (tmp_path / "bad.tif").write_text("no raster")
    with pytest.raises(DataError, match=r"bad\.tif"):
        classify_images(
            str(tmp_path / "bad.tif"), tmp_path / "out", **classifier, options=options(on_error="raise")
        )
    assert (tmp_path / "out" / "chips.gpkg").is_file()


def test_a_picture_of_someone_else_is_left_alone(classify, tmp_path):
    path = tmp_path / "out" / "predictions_preview.png"
    path.parent.mkdir()
    path.write_bytes(b"mine")
    with pytest.raises(
        DataError, match=r"predictions_preview\.png is there and is no preview that geomm wro"
    ):
        classify("chip", preview=True)
    assert classify("chip") == ["predictions.csv", "chips.gpkg"]
    assert path.read_bytes() == b"mine"
    path.unlink()
    for _ in range(2):
        assert classify("chip", preview=True)[-1] == path.name


def test_what_is_done_is_left_alone_whatever_lies_beside(classifier, options, classify, tmp_path):
    classify("chip")
    (tmp_path / "out" / "photos.gpkg").write_text("mine")
    report = classify_images(
        str(tmp_path / "chip.tif"), tmp_path / "out", **classifier, options=options(skip_existing=True)
    )
    assert len(report.skipped) == 1


def test_earlier_previews_are_no_pictures(classifier, options, tmp_path):
    write(tmp_path / "own.png", np.full((3, 20, 20), 60, np.uint8))
    write(tmp_path / "predictions_preview.png", np.full((3, 20, 20), 60, np.uint8))
    save_figure(new_figure(1, 1), tmp_path / "city_preview.png")
    classify_images(str(tmp_path), tmp_path, **classifier, options=options())
    names = pandas.read_csv(tmp_path / "predictions.csv")["file"].str.rpartition("/")[2]
    assert sorted(names) == ["own.png", "predictions_preview.png"]
