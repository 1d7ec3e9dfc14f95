"""Inputs are what the user named, without earlier results."""

import sqlite3
from contextlib import closing
from functools import partial

import geopandas
import pytest
from shapely.geometry import Point

from geomm.errors import DataError
from geomm.inference.inputs import check_preview, check_target, find_inputs
from geomm.inference.texts.output import is_own
from geomm.io.documents import DOCUMENT_ENDINGS
from geomm.io.paths import expand
from geomm.io.table_stream import has_columns
from geomm.io.tables import find_tables
from geomm.visualization.canvas import new_figure, save_figure


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "a.csv").write_text("id,price\n1,2\n")
    (tmp_path / "out" / "a.csv").write_text("id,price,prediction\n1,2,3\n")
    (tmp_path / "out" / "more.csv").write_text("id,price\n1,2\n")
    (tmp_path / "out" / "entities.csv").write_text("document,Address\nb,Baker Street\n")
    (tmp_path / "b.txt").write_text("A report.\n")
    return tmp_path


def names(found, folder):
    return [path.removeprefix(f"{folder}/") for path in found]


def test_tables_with_predictions_in_the_output_folder_are_results(folder):
    find = partial(
        find_inputs,
        output=folder / "out",
        find=find_tables,
        is_result=has_columns("prediction*"),
        what="tables",
    )
    assert names(find(folder), folder) == ["a.csv", "out/entities.csv", "out/more.csv"]
    # One that is named itself is meant; and elsewhere a column of that name is a column.
    assert names(find([folder / "out" / "a.csv"]), folder) == ["out/a.csv"]
    (folder / "c.csv").write_text("prediction\n1\n")
    assert "c.csv" in names(find(folder), folder)


def test_tables_of_entities_in_the_output_folder_are_results(folder):
    find = partial(expand, endings=DOCUMENT_ENDINGS)
    found = find_inputs(folder, folder / "out", find=find, is_result=is_own, what="documents")
    assert names(found, folder) == ["a.csv", "b.txt", "out/a.csv", "out/more.csv"]


def test_nothing_but_results_is_an_error(folder):
    with pytest.raises(DataError, match=r"no tables to work on: all of .* are earlier results"):
        find_inputs(
            folder / "out", folder / "out", find=lambda _: [str(folder / "out" / "a.csv")],
            is_result=has_columns("prediction*"), what="tables",
        )  # fmt: skip


def test_what_cannot_be_read_as_a_table_is_no_result(folder):
    broken = folder / "out" / "broken.parquet"
    broken.write_bytes(b"PAR1")
    assert not has_columns("prediction*")(broken)


@pytest.mark.parametrize(
    ("output", "said"),
    [("there.csv", "there.csv is a file"), ("there.csv/sub", "is a file"), ("map.gpkg", "such as .*map/")],
)
def test_an_output_that_is_no_folder_is_refused(tmp_path, output, said):
    (tmp_path / "there.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match=said):
        find_inputs(
            tmp_path / "there.csv",
            tmp_path / output,
            find=find_tables,
            is_result=lambda _: False,
            what="tables",
        )


def test_a_result_replaces_nothing_but_an_earlier_one(folder):
    check = partial(check_target, is_result=has_columns("prediction*"), what="table")
    check(folder / "out" / "new.csv", str(folder / "a.csv"))
    check(folder / "out" / "a.csv", str(folder / "a.csv"))
    with pytest.raises(DataError, match=r"a\.csv: its result would take its own place; give another output"):
        check(folder / "out" / ".." / "a.csv", ["PG:dbname=x", str(folder / "a.csv")])
    with pytest.raises(DataError, match=r"more\.csv is there and is no table that geomm wrote; give another"):
        check(folder / "out" / "more.csv", str(folder / "a.csv"))


@pytest.mark.parametrize("ending", ["csv", "parquet", "gpkg", "geojson", "shp"])
def test_columns_are_known_without_a_row(tmp_path, ending):
    empty = geopandas.GeoDataFrame({"prediction": [0.5]}, geometry=[Point(0, 0)], crs="EPSG:4326").iloc[:0]
    path = tmp_path / f"empty.{ending}"
    if ending == "csv":
        path.write_text("id,prediction\n")
    elif ending == "parquet":
        empty.to_parquet(path)
    else:
        empty.to_file(path, geometry_type="Point")
    # GeoJSON keeps no columns where there are no rows.
    assert has_columns("prediction*")(path) == (ending != "geojson")
    assert not has_columns("class")(path)


@pytest.mark.parametrize("added", ["survey", "qgis_projects"])
def test_a_layer_that_was_added_to_a_result_is_not_lost(tmp_path, added):
    path = tmp_path / "a.GPKG"
    frame = geopandas.GeoDataFrame({"prediction": [0.5]}, geometry=[Point(0, 0)], crs="EPSG:4326")
    frame.to_file(path, layer="a", driver="GPKG")
    frame.drop(columns="geometry").to_csv(tmp_path / "a.csv")
    check = partial(check_target, is_result=has_columns("prediction*"), what="table")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE layer_styles (id INTEGER PRIMARY KEY)")
    check(path, "b.csv")
    if added == "survey":
        frame.to_file(path, layer=added, driver="GPKG", mode="a")
    else:
        with closing(sqlite3.connect(path)) as database, database:
            database.execute(f"CREATE TABLE {added} (name TEXT PRIMARY KEY, metadata BLOB, content BLOB)")
    with pytest.raises(DataError, match=rf"holds more than the table that geomm wrote \({added}\); give ano"):
        check(path, "b.csv")


def test_a_preview_replaces_nothing_but_an_earlier_one(tmp_path):
    picture = tmp_path / "a_preview.png"
    check_preview(picture, "a.tif")
    check_preview(save_figure(new_figure(1, 1), picture), "a.tif")
    picture.write_bytes(b"mine")
    with pytest.raises(DataError, match=r"a_preview\.png is there and is no preview that geomm wrote; give"):
        check_preview(picture, ["a.tif"])
