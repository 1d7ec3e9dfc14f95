"""Maps from rasters: every pixel has the value that its row in a table would have."""

import dataclasses

import numpy as np
import pytest
import rasterio
import torch

from geomm.errors import ConfigError, DataError
from geomm.inference.tables.options import TabularOptions
from geomm.inference.tables.rasters import are_rasters, pixel_score, predict_stack
from geomm.models.tables.fully_connected import FullyConnected
from geomm.models.tables.sklearn_model import SklearnModel
from geomm.structures import make_classes
from geomm.transforms.columns import Column
from geomm.transforms.table import RasterVariable, Surroundings, TableSpec, Target
from tests.io.test_raster_samples import write

COLUMNS = (
    Column("dem", "number", missing=True, means=(3.0,), stds=(2.0,)),
    Column("x_coordinate", "number", means=(5e5,), stds=(300.0,)),
    Column("use", "category", categories=("3", "1", "12")),
    Column("y_coordinate", "number", means=(4e6,), stds=(300.0,)),
)
AROUND = Surroundings(
    (RasterVariable("dem", "dem.tif"), RasterVariable("use", "use.tif")), coordinates=True, crs="EPSG:32633"
)
REGRESSION = TableSpec(COLUMNS, (Target("t", "log", 0.2, 0.5),), around=AROUND)
CLASSES = TableSpec(COLUMNS, (Target("t"),), make_classes(["no", "yes"]), (5, 5), AROUND)


@pytest.fixture
def rasters(tmp_path):
    rng = np.random.default_rng(0)
    dem = rng.normal(3, 2, (37, 61))
    dem[5:9, 20:30] = -1
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "dem.tif", dem)
    write(tmp_path / "in" / "use.tif", rng.choice([1, 3, 12, 7], (37, 61)))
    return tmp_path / "in"


def models(spec):
    torch.manual_seed(1)
    yield FullyConnected(spec=spec, layers=[6]).eval()
    from geomm.datasets.tables.source import TableRows
    from geomm.transforms.table import Encoded

    rng = np.random.default_rng(2)
    encoded = Encoded(rng.normal(size=(80, 4)).astype(np.float32), rng.integers(0, 5, (80, 1)))
    target = rng.integers(0, 2, 80) if spec.classes else rng.normal(size=(80, 1)).astype(np.float32)
    kind = "Classifier" if spec.classes else "Regressor"
    model = SklearnModel(spec=spec, estimator=f"sklearn.tree.DecisionTree{kind}")
    model.fit_at_once(TableRows(encoded, target, np.arange(80)))
    yield model


def rows_of(folder):
    """Return the table that the rasters are, read by plain rasterio, and where it has values."""
    with rasterio.open(folder / "dem.tif") as dem, rasterio.open(folder / "use.tif") as use:
        values, uses = dem.read(1).astype(float), use.read(1).astype(float)
    y, x = np.mgrid[: values.shape[0], : values.shape[1]]
    table = {
        "dem": values.ravel(), "use": uses.ravel(),
        "x_coordinate": 5e5 + 10.0 * (x.ravel() + 0.5), "y_coordinate": 4e6 - 10.0 * (y.ravel() + 0.5),
    }  # fmt: skip
    return table, values != -1


def predict(model, spec, folder, output, **options):
    chosen = TabularOptions(
        **{"device": "cpu", "preview": False, "on_error": "raise", "tile_px": 16, **options}
    )
    return predict_stack(str(folder), output, model=model, spec=spec, options=chosen, model_id="m").outputs


@pytest.mark.parametrize("which", [0, 1])
def test_a_map_of_values_is_what_a_table_would_say(rasters, tmp_path, which):
    model = list(models(REGRESSION))[which]
    table, seen = rows_of(rasters)
    wanted = REGRESSION.decode(model.predict_learnt(REGRESSION.encode(table))).reshape(seen.shape)
    (path,) = predict(model, REGRESSION, rasters, tmp_path / "out")
    with rasterio.open(path) as found:
        pixels = found.read(1)
        assert found.crs == "EPSG:32633" and found.descriptions == ("t",)
        assert found.transform == rasterio.Affine(10, 0, 5e5, 0, -10, 4e6)
    assert np.array_equal(np.isfinite(pixels), seen)
    np.testing.assert_allclose(pixels[seen], wanted[seen], rtol=2e-4)
    assert [p.name for p in (tmp_path / "out").iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("which", [0, 1])
def test_a_map_of_classes_and_probabilities(rasters, tmp_path, which):
    model = list(models(CLASSES))[which]
    table, seen = rows_of(rasters)
    wanted = model.predict_learnt(CLASSES.encode(table))
    classes, probabilities = predict(model, CLASSES, rasters, tmp_path / "out")
    with rasterio.open(classes) as one, rasterio.open(probabilities) as two:
        np.testing.assert_allclose(two.read()[:, seen].T, wanted[seen.ravel()], atol=1e-4)
        sure = seen & (np.abs(wanted[:, 0] - 0.5).reshape(seen.shape) > 1e-3)
        assert np.array_equal(one.read(1)[sure], wanted.argmax(1).reshape(seen.shape)[sure] + 1)
        assert (one.read(1)[~seen] == 0).all() and two.descriptions == ("no", "yes")


def test_an_interval_is_two_bands_more(rasters, tmp_path):
    model = next(models(REGRESSION))
    model.learn_spread(np.abs(np.random.default_rng(0).normal(size=(200, 1))))
    (path,) = predict(model, REGRESSION, rasters, tmp_path / "out", interval=0.8)
    with rasterio.open(path) as found:
        assert found.descriptions == ("t", "lower_t", "upper_t")
        middle, low, high = found.read()
    there = np.isfinite(middle)
    assert (low[there] < middle[there]).all() and (middle[there] < high[there]).all()


def test_a_grid_of_its_own(rasters, tmp_path):
    write(tmp_path / "coarse.tif", np.zeros((9, 15)), gsd=40.0)
    (path,) = predict(
        next(models(REGRESSION)), REGRESSION, rasters, tmp_path / "out", grid=str(tmp_path / "coarse.tif")
    )
    with rasterio.open(path) as found:
        assert found.shape == (9, 15) and np.isfinite(found.read(1)).mean() > 0.8


def test_what_rasters_cannot_give_is_named(rasters, tmp_path):
    model = next(models(REGRESSION))
    (rasters / "use.tif").unlink()
    with pytest.raises(DataError, match="the folder or list of rasters has no column 'use'"):
        predict(model, REGRESSION, rasters, tmp_path / "out")
    dated = dataclasses.replace(REGRESSION, columns=(Column("sold", "date"),))
    with pytest.raises(ConfigError, match="rasters cannot give 'sold'"):
        predict(model, dated, rasters, tmp_path / "out")
    elsewhere = dataclasses.replace(REGRESSION, around=dataclasses.replace(AROUND, crs="EPSG:32634"))
    write(rasters / "use.tif", np.ones((37, 61)))
    with pytest.raises(ConfigError, match=r"inference.grid: the model knows coordinates in EPSG:32634"):
        predict(model, elsewhere, rasters, tmp_path / "out")


def test_rasters_are_told_from_tables(rasters, tmp_path):
    assert are_rasters(str(rasters)) and are_rasters([str(rasters / "dem.tif")]) and are_rasters("x/*.tif")
    assert not are_rasters("rows.gpkg") and not are_rasters(["a.tif", "b.csv"])
    (rasters / "rows.csv").write_text("a\n1\n")
    assert not are_rasters(str(rasters))


def test_scores_do_not_depend_on_how_pixels_lie_in_memory():
    model = next(models(CLASSES))
    inputs = torch.randn(2, 4, 5, 7)
    inputs[:, 2] = torch.randint(0, 13, (2, 5, 7))
    valid = torch.ones(2, 5, 7, dtype=torch.bool)
    score = pixel_score(model, CLASSES)
    last = inputs.contiguous(memory_format=torch.channels_last)
    assert torch.equal(score(inputs, valid), score(last, valid)) and score(inputs, valid).shape == (
        2,
        2,
        5,
        7,
    )
