"""Tables in batches: every format comes back with its rows, fields, geometries and CRS."""

import json
import struct

import geopandas
import numpy as np
import pandas
import pyarrow
import pyogrio
import pytest
import shapely
from pandas._libs.parsers import STR_NA_VALUES
from shapely import Point

from geomm.errors import DataError, DependencyError
from geomm.io.table_stream import RowReader, RowsLayout, geometries, with_columns
from geomm.io.table_writer import RowWriter
from geomm.io.tables import NULLS, credible_crs, find_tables, read_table, read_tables, to_crs

FEATURES = ("gpkg", "geojson", "fgb", "shp", "parquet")


@pytest.fixture
def frame():
    rng = np.random.default_rng(1)
    places = rng.uniform(4e5, 5e5, (257, 2))
    fields = {"a": rng.normal(size=257), "code": [f"{i:05d}" for i in range(257)]}
    return geopandas.GeoDataFrame(fields, geometry=[Point(*p) for p in places], crs="EPSG:32633")


def save(frame, path):
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".csv":
        frame.drop(columns="geometry").to_csv(path, index=False)
    else:
        frame.to_file(path)
    return str(path)


def copied(path, target, rows=50):
    reader = RowReader(path, numbers=["a"], batch_rows=rows)
    first = 0
    sizes = []
    with RowWriter(target, reader.layout) as write:
        for batch in reader:
            sizes.append(batch.num_rows)
            write(with_columns(batch, {"n": np.arange(first, first + batch.num_rows)}))
            first += batch.num_rows
    assert max(sizes) <= rows and sum(sizes) == 257
    return target


@pytest.mark.parametrize("ending", FEATURES)
def test_features_come_back_with_a_column_more(frame, tmp_path, ending):
    path = save(frame, tmp_path / f"in.{ending}")
    target = copied(path, tmp_path / f"out.{ending}")
    back = read_table(str(target))
    order = np.argsort(back.frame["code"].to_numpy())  # FlatGeobuf sorts features by place
    np.testing.assert_allclose(back.frame["a"].to_numpy()[order], frame["a"])
    assert sorted(back.frame["n"]) == list(range(257))
    assert back.crs == "EPSG:32633"
    moved = np.array([g.distance(h) for g, h in zip(back.geometry[order], frame.geometry, strict=True)])
    assert moved.max() < 1e-3
    left = [p.name for p in tmp_path.iterdir() if p.name.startswith(".") or "part" in p.name]
    assert left == []


@pytest.mark.parametrize("ending", FEATURES[:4])
def test_a_layer_that_is_not_there_is_named_with_those_that_are(frame, tmp_path, ending):
    path = save(frame, tmp_path / f"roofs.{ending}")
    for read in (read_table, RowReader):
        with pytest.raises(DataError, match=r"has no layer 'rofs'; did you mean 'roofs'\?"):
            read(path, layer="rofs")
        assert read(path, layer="roofs")


def test_a_csv_keeps_its_texts(frame, tmp_path):
    path = save(frame, tmp_path / "in.csv")
    target = copied(path, tmp_path / "out.csv")
    back = pandas.read_csv(target, dtype=str)
    assert back["code"].tolist() == frame["code"].tolist() and back["n"].tolist()[-1] == "256"
    np.testing.assert_array_equal(back["a"].astype(float), frame["a"])


@pytest.mark.parametrize("ending", ["gpkg", "csv", "parquet"])
def test_an_error_leaves_nothing_behind(frame, tmp_path, ending):
    path = save(frame, tmp_path / f"in.{ending}")
    reader = RowReader(path, batch_rows=50)
    with pytest.raises(RuntimeError, match="mine"):
        with RowWriter(tmp_path / f"out.{ending}", reader.layout) as write:
            for batch in reader:
                write(batch)
            raise RuntimeError("mine")
    assert [p.name for p in tmp_path.iterdir()] == [f"in.{ending}"]


def test_a_geometry_comes_with_its_batch(frame, tmp_path):
    reader = RowReader(save(frame, tmp_path / "in.gpkg"), batch_rows=100)
    (first, *_) = list(reader)
    assert geometries(first, reader.layout)[0].equals(frame.geometry[0])
    plain = RowReader(save(frame, tmp_path / "in.csv"))
    assert plain.layout.geometry is None


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "x,y\n", "has no rows"),
        ("a.gpkg", "no database", "cannot be read as a table"),
        ("a.parquet", "no parquet", "cannot be read as a table"),
    ],
)
def test_what_is_no_table_is_named(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=said):
        read_table(str(tmp_path / name))
    if said != "has no rows":
        with pytest.raises(DataError, match=said):
            list(RowReader(str(tmp_path / name)))
    with pytest.raises(DataError, match="no such file"):
        read_table(str(tmp_path / "other.csv"))


def test_a_word_among_numbers_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n3,many\n")
    with pytest.raises(DataError, match=r"a.csv: column 'b', line 3: found 'many', expected a num"):
        list(RowReader(str(tmp_path / "a.csv"), numbers=["a", "b"]))


def test_both_readers_take_the_same_cells_for_empty(tmp_path):
    words = sorted({*STR_NA_VALUES, *NULLS, "none", "-", "na", "0"})
    rows = [(word, word if word in NULLS else "1") for word in words]
    for quote in ("", '"'):
        path = tmp_path / "a.csv"
        path.write_text("word,number\n" + "".join(f"{quote}{a}{quote},{b}\n" for a, b in rows))
        whole = read_table(str(path), text=["word"]).frame
        (batch,) = RowReader(str(path), numbers=["number"])
        for name in whole.columns:
            stream = batch.column(name).is_null().to_numpy(zero_copy_only=False)
            assert stream.tolist() == whole[name].isna().tolist() == [word in NULLS for word in words]
    assert set(NULLS) >= STR_NA_VALUES


def test_texts_may_be_kept_beside_numbers(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('word,number\nNA,1\n,NA\n"null",\n')
    (batch,) = RowReader(str(path), numbers=["number"], keep_texts=True)
    assert batch.to_pydict() == {"word": ["NA", None, "null"], "number": [1.0, None, None]}


@pytest.mark.parametrize("ending, name", [("gpkg", "fid"), ("geojson", None), ("fgb", None), ("shp", None)])
def test_ids_come_from_formats_that_have_them(frame, tmp_path, ending, name):
    path = save(frame[:3], tmp_path / f"in.{ending}")
    (batch,) = RowReader(path, fid_column="fid")
    assert ("fid" in batch.schema.names) == (name is not None)
    if name:
        assert batch.column("fid").to_pylist() == [1, 2, 3]
        renamed = RowReader(path, fid_column="A")  # a field is called a
        assert next(iter(renamed)).schema.names[0] == renamed.layout.ids == "A_2"
    (without,) = RowReader(path)
    assert set(without.schema.names) == {"a", "code", "wkb_geometry"}


@pytest.mark.parametrize("first, ids", [({"id": 7}, [7, 1]), ({"id": "x"}, None), ({}, None)])
def test_ids_of_geojson_are_those_that_are_written(tmp_path, first, ids):
    shape = {"type": "Point", "coordinates": [1, 2]}
    features = [{"type": "Feature", **own, "properties": {}, "geometry": shape} for own in (first, {})]
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    (batch,) = RowReader(str(path), fid_column="OGC_FID")
    found = batch.column("OGC_FID").to_pylist() if "OGC_FID" in batch.schema.names else None
    assert found == ids


def test_times_of_a_geopackage_have_a_zone_where_they_say_one(frame, tmp_path):
    few = frame[:3].assign(
        plain=pandas.to_datetime([None, "2024-05-01T10:00:00", None]),
        zoned=pandas.to_datetime([None, "2024-05-01T10:00:00+02:00", None]),
        never=pandas.to_datetime([None] * 3),
    )
    batches = list(RowReader(save(few, tmp_path / "in.gpkg"), batch_rows=1))
    zones = {name: {batch.schema.field(name).type.tz for batch in batches} for name in ("plain", "zoned")}
    assert zones == {"plain": {None}, "zoned": {"UTC"}}
    assert batches[1].column("plain")[0].as_py() == pandas.Timestamp("2024-05-01T10:00:00")


def test_times_of_a_flatgeobuf_that_have_a_zone_are_read_with_it(frame, tmp_path):
    few = frame[:2].assign(
        plain=pandas.to_datetime(["2024-05-01T10:00:00.5", None]),
        zoned=pandas.to_datetime([None, "2024-05-01T10:00:00+02:00"]),
    )
    (batch,) = RowReader(save(few, tmp_path / "in.fgb"))
    zones = {name: batch.schema.field(name).type.tz for name in ("plain", "zoned")}
    assert zones == {"plain": None, "zoned": "UTC"}
    (plain,), (zoned,) = (batch.column(name).drop_null() for name in zones)
    assert plain.as_py() == pandas.Timestamp("2024-05-01T10:00:00.5")
    assert zoned.as_py() == pandas.Timestamp("2024-05-01T08:00:00Z")


@pytest.mark.parametrize("ending, ids", [("gpkg", "fid"), ("geojson", "OGC_FID")])
def test_fields_are_called_as_gdal_calls_ids_and_geometries(frame, tmp_path, ending, ids):
    """A GeoJSON's field id is taken for ids as well."""
    named = frame[:2].assign(wkb_geometry=["x", "y"], id=[5, 5], OGC_FID=["p", "q"])
    reader = RowReader(save(named, tmp_path / f"in.{ending}"), fid_column=ids)
    (batch,) = reader
    assert batch.column("wkb_geometry").to_pylist() == ["x", "y"] and batch.column("id").to_pylist() == [5, 5]
    assert reader.layout.geometry == "wkb_geometry_2" and len(set(batch.schema.names)) == batch.num_columns
    assert geometries(batch, reader.layout)[1].equals(named.geometry[1])


def labelled(rows, layout):
    """A batch of columns, with a square at each place of the first one."""
    shapes = shapely.to_wkb([shapely.box(k, 0, k + 1, 1) for k in range(len(next(iter(rows.values()))))])
    return pyarrow.RecordBatch.from_pydict({**rows, layout.geometry: pyarrow.array(shapes, pyarrow.binary())})


@pytest.mark.parametrize("ending", FEATURES[:4])
def test_names_that_formats_reserve_keep_their_values(tmp_path, ending, caplog):
    rows = {
        "fid": [7, 7],
        "FID_2": [0.5, 1.5],
        "geom": ["a", "b"],
        "OGC_FID": ["c", "d"],
        "A": [1, 2],
        "a": [3, 4],
    }
    layout, target = RowsLayout("shape", "Polygon", "EPSG:32633"), tmp_path / f"out.{ending}"
    with RowWriter(target, layout) as write:
        write(labelled(rows, layout))
    found = geopandas.read_file(target).sort_values("A")
    assert not found.geometry.is_empty.any()
    values = [found[name].tolist() for name in found.columns.drop("geometry")]
    assert values == list(rows.values())
    assert "fields are called otherwise, as its format needs: " in caplog.text and "a_2 = a" in caplog.text
    assert ("ogc_fid = OGC_FID" in caplog.text) == (ending != "gpkg")


@pytest.mark.parametrize("ending", ["gpkg", "geojson"])
def test_ids_are_written_beside_a_field_of_their_name(tmp_path, ending):
    layout, target = RowsLayout("shape", "Polygon", "EPSG:4326", ids="fid_2"), tmp_path / f"out.{ending}"
    with RowWriter(target, layout) as write:
        write(labelled({"fid_2": [11, 12], "fid": ["x", "y"]}, layout))
    found = geopandas.read_file(target, fid_as_index=True)
    assert found.index.tolist() == [11, 12] and found["fid"].tolist() == ["x", "y"]


@pytest.mark.parametrize("missing", [None, shapely.Polygon()])
def test_a_flatgeobuf_of_missing_geometries_has_no_index(tmp_path, missing):
    shapes = [shapely.box(0, 0, 1, 1), missing]
    frame = geopandas.GeoDataFrame({"n": [1, 2]}, geometry=shapes, crs="EPSG:32633")
    reader = RowReader(save(frame, tmp_path / "in.gpkg"))
    assert reader.layout.gaps and reader.layout_for(".FGB").gaps
    assert not RowReader(save(frame[:1], tmp_path / "whole.gpkg")).layout_for(".fgb").gaps
    target = tmp_path / "out.fgb"
    with RowWriter(target, reader.layout) as write:
        for batch in reader:
            write(batch)
    again = RowReader(str(target))
    (batch,) = again
    first, second = geometries(batch, again.layout)
    assert first.equals(shapes[0]) and (second is None or second.is_empty)


@pytest.mark.parametrize("ending", ["gpkg", "fgb"])
def test_shapes_of_a_shapefile_may_have_several_parts(tmp_path, ending):
    one = shapely.box(0, 0, 1, 1)
    shapes = [one, shapely.MultiPolygon([one, shapely.box(5, 5, 6, 6)])]
    for given in (shapes, [shapely.force_3d(item, 7.0) for item in shapes]):
        frame = geopandas.GeoDataFrame({"n": [1, 2]}, geometry=given, crs="EPSG:32633")
        reader = RowReader(save(frame, tmp_path / "in.shp"))
        with RowWriter(tmp_path / f"out.{ending}", reader.layout) as write:
            for batch in reader:
                write(batch)
        info = pyogrio.read_info(tmp_path / f"out.{ending}")
        found = geopandas.read_file(tmp_path / f"out.{ending}").sort_values("n")
        assert info["geometry_type"].startswith("MultiPolygon") and set(found.geom_type) == {"MultiPolygon"}
        assert found.geometry.has_z.all() == given[0].has_z
        assert [a.equals(b) for a, b in zip(found.geometry, shapes, strict=True)] == [True, True]


def test_shapes_that_cannot_be_used_are_missing(curve):
    shapes = [curve, None, b"damaged", shapely.to_wkb(Point(1, 2))]
    batch = pyarrow.record_batch({"g": pyarrow.array(shapes, pyarrow.binary())})
    round_one, none, damaged, point = geometries(batch, RowsLayout("g"))
    assert round_one.area == pytest.approx(4 * np.pi, rel=1e-3) and point.equals(Point(1, 2))
    assert none is None and damaged is None
    (flat, *_) = geometries(batch.slice(2, 2), RowsLayout("g"))
    assert flat is None


@pytest.fixture
def curve():
    """WKB of a disc of radius 2, its edge two arcs."""
    ring = [(2, 0), (0, 2), (-2, 0), (0, -2), (2, 0)]
    arcs = struct.pack("<BII", 1, 8, len(ring)) + b"".join(struct.pack("<dd", *point) for point in ring)
    return struct.pack("<BII", 1, 10, 1) + arcs


def test_tables_of_equal_columns_are_joined(frame, tmp_path):
    one = save(frame, tmp_path / "1.gpkg")
    two = save(frame.to_crs("EPSG:32634"), tmp_path / "2.gpkg")
    both = read_tables([one, two])
    assert len(both) == 514 and both.crs == "EPSG:32633"
    assert both.geometry[257].distance(both.geometry[0]) < 0.01
    save(frame.rename(columns={"a": "aa"}), tmp_path / "3.gpkg")
    with pytest.raises(DataError, match=r"3.gpkg has no column 'a'.*did you mean 'aa'"):
        read_tables([one, str(tmp_path / "3.gpkg")])


def test_a_database_without_its_driver_is_named(monkeypatch):
    monkeypatch.setattr("pyogrio.list_drivers", lambda: {"GPKG": "rw"})
    for read in (read_table, RowReader):
        with pytest.raises(DependencyError, match=r"PG:dbname=x: .* driver PostgreSQL; install"):
            read("PG:dbname=x")


def test_sources_of_gdal_are_no_files(tmp_path):
    assert find_tables("PG:dbname=x tables=y") == ["PG:dbname=x tables=y"]
    with pytest.raises(DataError):
        find_tables(str(tmp_path / "*.csv"))


def test_coordinates_that_are_no_degrees_have_no_geographic_crs(caplog):
    places = np.array([Point(907, 534), Point(5, 5)], object)
    assert credible_crs(places, "EPSG:4326", "x.geojson") is None
    assert "taken for a layer without CRS" in caplog.text
    assert credible_crs(places[1:], "EPSG:4326", "x") == "EPSG:4326"
    assert to_crs(places, None, None, "x") is places
