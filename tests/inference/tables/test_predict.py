"""Predicting tables: any format and order of columns, batches of any size, and mistakes by name."""

import geopandas
import numpy as np
import pandas
import pytest
from shapely import Point

from geomm.datasets.tables.source import Table
from geomm.errors import ConfigError, DataError
from geomm.inference.tables.options import TabularOptions
from geomm.inference.tables.predict import predict_tables
from geomm.models.tables.fully_connected import FullyConnected
from tests.io.test_raster_samples import write


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A layer, a raster it is explained by, and an untrained model: what it says is what is checked."""
    folder = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(2)
    frame = geopandas.GeoDataFrame(
        {"size": rng.normal(size=300), "kind": rng.choice(["a", "b"], 300), "price": rng.normal(size=300)},
        geometry=[Point(5e5 + x, 4e6 - y) for x, y in rng.uniform(0, 200, (300, 2))],
        crs="EPSG:32633",
    )
    frame.to_file(folder / "rows.gpkg")
    dem = write(folder / "dem.tif", rng.normal(size=(20, 20)))
    source = Table(path=str(folder / "rows.gpkg"), target="price", rasters=dem, coordinates=True)
    spec = source.prepare(folder)
    model = FullyConnected(spec=spec, layers=[8]).eval()
    wanted = spec.decode(model.predict_learnt(spec.encode(source.frame)))[:, 0]
    return folder, frame, spec, model, wanted


def predict(world, path, output, **options):
    _, _, spec, model, _ = world
    chosen = TabularOptions(**{"device": "cpu", "preview": False, "on_error": "raise", **options})
    report = predict_tables(str(path), output, model=model, spec=spec, options=chosen)
    return report.outputs[0]


@pytest.mark.parametrize("rows", [7, 128, 10_000])
def test_batches_change_nothing(world, tmp_path, rows):
    found = geopandas.read_file(predict(world, world[0] / "rows.gpkg", tmp_path, batch_size=rows))
    np.testing.assert_allclose(found["prediction"], world[4], atol=1e-5)


@pytest.mark.parametrize("ending", ["geojson", "shp", "parquet"])
def test_any_format_and_order_of_columns(world, tmp_path, ending):
    frame = world[1][["geometry", "kind", "price", "size"]].assign(more=1).to_crs("EPSG:4326")
    path = tmp_path / f"in.{ending}"
    frame.to_parquet(path) if ending == "parquet" else frame.to_file(path)
    out = predict(world, path, tmp_path / "out")
    found = geopandas.read_parquet(out) if ending == "parquet" else geopandas.read_file(out)
    assert out.suffix == f".{ending}" and found.crs == "EPSG:4326" and "more" in found
    close = np.isclose(found["prediction"], world[4], atol=1e-3)
    assert close.mean() > 0.99  # a point on the edge of a pixel may change sides


def test_columns_of_the_table_take_the_place_of_files(world, tmp_path):
    frame = pandas.DataFrame(world[1].drop(columns="geometry"))
    frame["dem"], frame["x_coordinate"], frame["y_coordinate"] = 0.5, 5e5, 4e6
    frame.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(DataError, match="has no geometries"):  # coordinates are of the place
        predict(world, tmp_path / "rows.csv", tmp_path / "out")
    placed = world[1].assign(dem=0.5)
    placed.to_file(tmp_path / "rows.gpkg")
    found = geopandas.read_file(predict(world, tmp_path / "rows.gpkg", tmp_path / "out"))
    assert not np.allclose(found["prediction"], world[4], atol=1e-5)
    other = write(tmp_path / "dem.tif", np.zeros((20, 20)))
    one = geopandas.read_file(predict(world, tmp_path / "rows.gpkg", tmp_path / "b", rasters={"dem": other}))
    assert not np.allclose(one["prediction"], found["prediction"], atol=1e-5)


def test_a_raster_that_is_gone_is_named(world, tmp_path, monkeypatch):
    from dataclasses import replace

    folder, frame, spec, model, wanted = world
    gone = replace(spec.around.rasters[0], path=str(tmp_path / "gone.tif"))
    lost = replace(spec, around=replace(spec.around, rasters=(gone,)))
    with pytest.raises(DataError, match=r"no column 'dem'.*gone.tif.*inference.rasters=\{dem: FILE\}"):
        predict((folder, frame, lost, model, wanted), folder / "rows.gpkg", tmp_path / "out")


def test_unseen_categories_and_missing_columns_are_named(world, tmp_path, caplog):
    world[1].assign(kind=["c", *["a"] * 299]).to_file(tmp_path / "in.gpkg")
    predict(world, tmp_path / "in.gpkg", tmp_path / "out")
    assert "column kind holds categories that training did not see ('c')" in caplog.text
    with pytest.raises(DataError, match="column 'kind' holds 'c', which training did not see"):
        predict(world, tmp_path / "in.gpkg", tmp_path / "out", unseen="raise")
    world[1].rename(columns={"size": "sizes"}).to_file(tmp_path / "less.gpkg")
    with pytest.raises(DataError, match=r"less.gpkg has no column 'size'.*did you mean 'sizes'"):
        predict(world, tmp_path / "less.gpkg", tmp_path / "out")
    assert not (tmp_path / "out" / "less.gpkg").exists()


def test_an_input_is_not_overwritten_and_what_is_done_is_skipped(world, tmp_path):
    path = tmp_path / "rows.gpkg"
    world[1].to_file(path)
    with pytest.raises(DataError, match="its result would take its own place"):
        predict(world, path, tmp_path)
    predict(world, path, tmp_path / "out")
    _, _, spec, model, _ = world
    options = TabularOptions(device="cpu", skip_existing=True)
    assert predict_tables(str(path), tmp_path / "out", model=model, spec=spec, options=options).skipped
    assert predict(world, path, tmp_path / "out")  # an earlier result makes room for the next
    other = tmp_path / "other"
    other.mkdir()
    world[1].to_file(other / "rows.gpkg")
    before = (other / "rows.gpkg").read_bytes()
    with pytest.raises(DataError, match=r"rows\.gpkg is there and is no table of predictions that"):
        predict(world, path, other)
    assert (other / "rows.gpkg").read_bytes() == before


@pytest.mark.parametrize(
    "options, said",
    [
        ({"interval": 1}, "between 0 and 1"),
        ({"interval": 2}, "interval: found 2"),
        ({"format": "gpgk"}, "did you mean 'gpkg'"),
        ({"unseen": "x"}, "unseen"),
    ],
)
def test_options_that_do_not_hold_are_named(world, tmp_path, options, said):
    with pytest.raises(ConfigError, match=said):
        predict(world, world[0] / "rows.gpkg", tmp_path, **options)


def test_an_infinite_value_is_named_by_its_row_in_the_table(world, tmp_path):
    bad = world[1].copy()
    bad.loc[123, "size"] = np.inf
    bad.to_parquet(tmp_path / "bad.parquet")
    with pytest.raises(DataError, match="the first is row 124 of the table"):
        predict(world, tmp_path / "bad.parquet", tmp_path / "out", batch_size=50)


def test_one_bad_table_fails_alone(world, tmp_path):
    (tmp_path / "in").mkdir()
    world[1].to_file(tmp_path / "in" / "good.gpkg")
    (tmp_path / "in" / "bad.gpkg").write_text("none")
    (tmp_path / "in" / "empty.csv").write_text("")
    _, _, spec, model, _ = world
    options = TabularOptions(device="cpu", preview=True)
    report = predict_tables(str(tmp_path / "in"), tmp_path / "out", model=model, spec=spec, options=options)
    assert [name.rpartition("/")[2] for name, _ in report.failed] == ["bad.gpkg", "empty.csv"]
    assert [path.name for path in report.outputs] == ["good.gpkg", "good_preview.png"]
