"""Tables as training data: what is read, split and encoded, and every mistake by name."""

from pathlib import Path

import geopandas
import numpy as np
import pandas
import pytest
from shapely import Point, box

from geomm.datasets.tables.source import Table
from geomm.errors import ConfigError, DataError, MissingCRSError
from tests.io.test_raster_samples import write


def make_frame(count=120):
    rng = np.random.default_rng(4)
    places = rng.uniform(0, 400, (count, 2))
    return geopandas.GeoDataFrame(
        {
            "size": rng.normal(100, 20, count),
            "kind": rng.choice(["flat", "house"], count),
            "group": rng.choice(list("abcdefgh"), count),
            "day": pandas.date_range("2024-01-01", periods=count, freq="D"),
            "price": rng.lognormal(3, 0.4, count),
            "sold": rng.random(count) < 0.4,
        },
        geometry=[Point(5e5 + x, 4e6 - y) for x, y in places],
        crs="EPSG:32633",
    )


@pytest.fixture(scope="module")
def layer(tmp_path_factory):
    path = tmp_path_factory.mktemp("t") / "homes.gpkg"
    make_frame().to_file(path)
    return str(path)


def prepared(tmp_path, **options):
    source = Table(**{"target": "price", **options})
    return source, source.prepare(tmp_path)


def test_rows_become_parts_that_are_prepared_by_the_training_part(layer, tmp_path):
    source, spec = prepared(tmp_path, path=layer, split={"val": 0.25, "test": 0.25}, transform="log")
    sizes = [len(source.split(name)) for name in ("train", "val", "test")]
    assert sizes == [60, 30, 30] and spec.kind == "regression"
    batch = source.split("train").__getitems__(range(60))
    assert batch["numbers"].mean(0)[0] == pytest.approx(0, abs=1e-5)
    assert batch["target"].std() == pytest.approx(1, abs=1e-5) and batch["target"].shape == (60, 1)
    train = source.frame.iloc[batch["row"]]
    assert spec.columns[0].means[0] == pytest.approx(train["size"].mean())
    assert [c.kind for c in spec.columns] == ["number", "category", "category", "date", "boolean"]


def test_numbers_of_rows_are_left_out_although_the_split_leaves_gaps(tmp_path):
    frame = make_frame().drop(columns="geometry").assign(station=range(1, 121))
    frame.loc[5, "price"] = np.nan
    frame.to_csv(tmp_path / "homes.csv", index=False)
    _, spec = prepared(tmp_path, path=str(tmp_path / "homes.csv"), fold=0, folds=5)
    assert "station" not in [column.name for column in spec.columns]
    _, spec = prepared(tmp_path, path=str(tmp_path / "homes.csv"), fields=["station"])
    assert [column.name for column in spec.columns] == ["station"]


def test_a_batch_is_its_rows(layer, tmp_path):
    from geomm.datasets.tables.collate import collate_rows

    source, _ = prepared(tmp_path, path=layer)
    part = source.split("train")
    at_once = collate_rows(part.__getitems__([5, 1, 96 + 2]))
    one_by_one = collate_rows([part[5], part[1], part[2]])  # a later epoch counts on
    assert all((at_once[key] == one_by_one[key]).all() for key in at_once)


def test_classes_are_stratified(layer, tmp_path):
    source, spec = prepared(tmp_path, path=layer, target="sold", split={"val": 0.3})
    assert [item.name for item in spec.classes] == ["False", "True"] and sum(spec.class_rows) == 84
    share = source.split("val").__getitems__(range(36))["target"].mean()
    assert share == pytest.approx(spec.class_rows[1] / 84, abs=0.03)


def test_rasters_distances_coordinates_and_cells_are_columns(layer, tmp_path):
    pytest.importorskip("h3")
    dem = write(tmp_path / "dem.tif", np.arange(1600.0).reshape(40, 40))
    roads = tmp_path / "roads.gpkg"
    geopandas.GeoDataFrame({}, geometry=[box(5e5, 4e6 - 1, 5e5 + 400, 4e6)], crs="EPSG:32633").to_file(roads)
    source, spec = prepared(
        tmp_path, path=layer, rasters={"height": dem}, distances={"road": str(roads)}, coordinates=True, h3=9
    )
    assert spec.around.names == ("height", "road", "x_coordinate", "y_coordinate", "h3_9")
    assert set(spec.around.names) <= {column.name for column in spec.columns}
    row = source.frame.iloc[3]
    col, line = (row["x_coordinate"] - 5e5) // 10, (4e6 - row["y_coordinate"]) // 10
    assert row["height"] == line * 40 + col
    assert row["road"] == pytest.approx(max(4e6 - 1 - row["y_coordinate"], 0))


def test_a_sample_brings_its_layers_and_a_table_of_ones_own_does_not(layer, tmp_path):
    given = {"sample": "house_prices", "target": "price"}
    with_sample = Table(**given)
    assert [name for name, _ in with_sample.distances] == ["schools"]
    assert Path(with_sample.distances[0][1]).is_file()
    assert Table(**given, path=layer).distances == ()


def test_fields_of_a_csv_are_places(layer, tmp_path):
    frame = make_frame()
    plain = pandas.DataFrame(frame.drop(columns="geometry"))
    plain["lon"], plain["lat"] = frame.geometry.x, frame.geometry.y
    plain.to_csv(tmp_path / "homes.csv", index=False)
    options = {"path": str(tmp_path / "homes.csv"), "xy": ["lon", "lat"], "crs": "EPSG:32633"}
    source, spec = prepared(tmp_path, coordinates=True, split={"by": "block", "val": 0.3}, **options)
    assert "lon" not in [c.name for c in spec.columns] and spec.around.xy == ("lon", "lat")
    assert np.allclose(source.frame["x_coordinate"], plain["lon"])
    with pytest.raises(DataError, match="has no geometries"):
        prepared(tmp_path, path=options["path"], coordinates=True)


@pytest.mark.parametrize("way, column", [("column", "group"), ("block", None), ("time", "day")])
def test_a_split_keeps_what_belongs_together(layer, tmp_path, way, column):
    source, _ = prepared(tmp_path, path=layer, split={"by": way, "column": column, "val": 0.3, "test": 0.2})
    rows = {name: source.split(name).rows for name in ("train", "val", "test")}
    assert sum(map(len, rows.values())) == 120 and all(len(part) > 5 for part in rows.values())
    if way == "column":
        groups = [set(source.frame[column].iloc[part]) for part in rows.values()]
        assert not groups[0] & groups[1] and not groups[1] & groups[2]
    if way == "time":
        assert source.frame[column].iloc[rows["train"]].max() < source.frame[column].iloc[rows["val"]].min()


def test_folds_test_every_row_once(layer, tmp_path):
    tested = np.zeros(120, int)
    for fold in range(4):
        source, _ = prepared(tmp_path, path=layer, folds=4, fold=fold)
        tested[source.split("test").rows] += 1
        assert len(source.split("val")) == 18
    assert (tested == 1).all()


@pytest.mark.parametrize(
    "options, error, said",
    [
        ({"target": "prize"}, ConfigError, "target: the table has no column 'prize'; did you mean 'price'"),
        ({"fields": ["sise"]}, ConfigError, "dataset.fields.*did you mean 'size'"),
        ({"types": {"size": "real"}}, ConfigError, "types.size: found 'real'"),
        ({"transform": "logg"}, ConfigError, "did you mean 'log'"),
        ({"kind": "classification", "target": ["price", "size"]}, ConfigError, "one target"),
        ({"target": "kind", "kind": "regression"}, DataError, "expected a number"),
        ({"rasters": "none.tif"}, DataError, "none.tif"),
        ({"split": {"by": "time"}}, ConfigError, "split.column"),
        ({"path": "nothing.gpkg"}, DataError, "nothing.gpkg"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(layer, tmp_path, options, error, said):
    with pytest.raises(error, match=said):
        prepared(tmp_path, **{"path": layer, **options})


@pytest.mark.parametrize(
    "change, said",
    [
        ({"price": 5.0}, "target 'price' is constant"),
        ({"price": np.inf}, "infinite"),
        ({"price": None}, "'price' is empty in every row"),
        ({"size": np.inf}, "column 'size' has infinite values in"),
    ],
)
def test_bad_values_are_named(tmp_path, change, said):
    frame = pandas.DataFrame(make_frame().drop(columns="geometry")).assign(**change)
    if change == {"size": np.inf}:
        frame.loc[5:, "size"] = 1.5
    frame.to_parquet(tmp_path / "bad.parquet")
    with pytest.raises(DataError, match=said):
        prepared(tmp_path, path=str(tmp_path / "bad.parquet"), kind="regression")


def test_an_infinite_value_is_named_by_its_row_in_the_table(tmp_path):
    frame = pandas.DataFrame(make_frame().drop(columns="geometry"))
    frame.loc[:2, "price"] = np.nan
    frame.loc[50:, "size"] = np.inf
    frame.loc[52:, "size"] = 1.5
    frame.to_parquet(tmp_path / "bad.parquet")
    with pytest.raises(DataError, match=r"'size' has infinite values in 2 rows \(the first is row 51 of"):
        prepared(tmp_path, path=str(tmp_path / "bad.parquet"), split={"by": "time", "column": "day"})


def test_one_class_only_is_named(tmp_path):
    frame = pandas.DataFrame(make_frame().drop(columns="geometry")).assign(kind="flat")
    frame.to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(DataError, match="'kind' has one class only"):
        prepared(tmp_path, path=str(tmp_path / "bad.csv"), target="kind")


def test_a_layer_without_crs_over_a_raster_with_one_is_an_error(tmp_path):
    dem = write(tmp_path / "dem.tif", np.ones((4, 4)))
    make_frame().set_crs(None, allow_override=True).to_file(tmp_path / "bare.gpkg")
    with pytest.raises(MissingCRSError, match=r"the table has no CRS, and \S*dem.tif has one"):
        prepared(tmp_path, path=str(tmp_path / "bare.gpkg"), rasters=dem)
    assert prepared(tmp_path, path=str(tmp_path / "bare.gpkg"), rasters=dem, crs="EPSG:32633")
