"""Tables end to end: trained by steps and at once, packaged, and predicted from the package alone."""

import json
import zipfile

import geopandas
import numpy as np
import pandas
import pytest
import torch
from shapely import Point

import geomm
from geomm.errors import ConfigError

BASE = ["task=tabular", "runtime.workers=0", "tracking=none", "schedule.batch_size=32", "schedule.epochs=6"]


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    rng = np.random.default_rng(8)
    size, kind = rng.normal(100, 25, 240), rng.choice(["flat", "house", "villa"], 240)
    lift = np.select([kind == "flat", kind == "house"], [0.0, 40.0], 90.0)
    size[rng.random(240) < 0.05] = np.nan
    price = np.nan_to_num(size, nan=100) * 2 + lift + rng.normal(0, 5, 240) + 60
    frame = geopandas.GeoDataFrame(
        {"size": size, "kind": kind, "price": price, "dear": np.where(price > 310, "yes, dear", "no")},
        geometry=[Point(*p) for p in rng.uniform(4e5, 4.1e5, (240, 2))],
        crs="EPSG:32633",
    )
    path = tmp_path_factory.mktemp("homes") / "homes.gpkg"
    frame.to_file(path)
    return str(path)


def run(homes, folder, *more):
    return geomm.train([*BASE, f"dataset.path={homes}", f"work_dir={folder}", *more])


@pytest.mark.parametrize(
    "head", [["schedule.lr=1e-2"], ["head=sklearn", "head.estimator=sklearn.linear_model.Ridge"]]
)
def test_a_quantity_from_training_to_the_layer(homes, tmp_path, head):
    package = run(homes, tmp_path / "run", "dataset.target=price", "dataset.exclude=[dear]", *head)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["val"]["R2"] > 0.8 and metrics["monitor"]["name"] == "RMSE"
    figures = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert {"actual_predicted_val.png", "importance.png", "residuals_val.png"} <= figures
    report = geomm.load(package.path).predict(homes, output=tmp_path / "out", interval=0.9, device="cpu")
    assert report.failed == [] and report.amount == 240 and report.unit == "rows"
    assert [path.name for path in report.outputs] == ["homes.gpkg", "homes_preview.png"]
    rows = geopandas.read_file(report.outputs[0])
    assert rows.crs == "EPSG:32633" and list(rows.columns[-4:-1]) == ["prediction", "lower", "upper"]
    held = ((rows.price >= rows.lower) & (rows.price <= rows.upper)).mean()
    assert held > 0.8 and np.corrcoef(rows.price, rows.prediction)[0, 1] > 0.9


@pytest.mark.parametrize(
    "head, probable",
    [
        (["schedule.lr=1e-2", "head.class_weight=auto"], True),
        (["head=sklearn", "head.estimator=sklearn.ensemble.RandomForestClassifier"], True),
        (["head=sklearn", "head.estimator=sklearn.svm.LinearSVC"], False),
    ],
)
def test_classes_from_training_to_the_table(homes, tmp_path, head, probable):
    package = run(homes, tmp_path / "run", "dataset.target=dear", "dataset.exclude=[price]", *head)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["val"]["accuracy"] > 0.8
    assert metrics["monitor"]["name"] == ("log_loss" if probable else "F1")
    report = package.predict(homes, output=tmp_path / "out", format="csv", device="cpu")
    rows = pandas.read_csv(report.outputs[0])
    assert set(rows["prediction"]) == {"no", "yes, dear"} and rows["geometry"][0].startswith("POINT (4")
    assert ("probability_no" in rows) == probable
    if probable:
        np.testing.assert_allclose(rows["probability_no"] + rows["probability_yes, dear"], 1, rtol=1e-5)


def test_a_package_holds_no_pickle_and_says_what_it_is(homes, tmp_path):
    estimator = "head.estimator=sklearn.ensemble.HistGradientBoostingRegressor"
    package = run(
        homes, tmp_path, "dataset.target=price", "head=sklearn", estimator, "head.kwargs.max_iter=9"
    )
    with zipfile.ZipFile(package.path) as archive:
        assert "model/estimator.skops" in archive.namelist()
        emd = json.loads(archive.read("model.emd"))
        item = json.loads(archive.read("mlm.json"))
        card = archive.read("README.md").decode()
    assert emd["ModelType"] == "FullyConnectedNetwork" and emd["PredictionVariables"] == ["price"]
    assert item["properties"]["mlm:tasks"] == ["regression"]
    assert item["properties"]["mlm:name"] == "HistGradientBoostingRegressor"
    assert "input=rows.gpkg" in card and "explained by size (number)" in card and "imagery" not in card
    assert package.model.estimator.max_iter == 9


def test_the_same_seed_gives_the_same_network(homes, tmp_path):
    found = [
        run(homes, tmp_path / name, "dataset.target=price", "schedule.epochs=2").model.state_dict()
        for name in ("one", "two")
    ]
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0] if key != "spread")


def test_a_resumed_run_ends_with_the_same_weights(homes, tmp_path):
    options = [
        "dataset.target=price",
        "schedule.policy=constant",
        "schedule.patience=null",
        "schedule.warmup=0",
    ]
    run(homes, tmp_path / "whole", *options, "schedule.epochs=4")
    run(homes, tmp_path / "parts", *options, "schedule.epochs=2")
    run(homes, tmp_path / "parts", *options, "schedule.epochs=4", "resume=true")
    one, two = (
        torch.load(tmp_path / name / "last.pth", map_location="cpu", weights_only=False)["state_dict"]
        for name in ("whole", "parts")
    )
    assert all(torch.equal(one[key], two[key]) for key in one if key != "spread")


def test_the_learning_rate_can_be_found(homes, tmp_path):
    package = run(homes, tmp_path, "dataset.target=price", "schedule.lr=auto", "schedule.epochs=1")
    assert (tmp_path / "lr_finder.json").is_file() and package.path.is_file()


def test_several_quantities_at_once(homes, tmp_path):
    package = run(homes, tmp_path / "run", "dataset.target=[price,size]", "dataset.exclude=[dear]")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert {"RMSE/price", "RMSE/size"} <= set(metrics["val"])
    report = package.predict(homes, output=tmp_path / "out", format="parquet", device="cpu")
    rows = geopandas.read_parquet(report.outputs[0])
    assert {"prediction_price", "prediction_size"} <= set(rows.columns)


def test_folds_and_another_split_beside(homes, tmp_path):
    options = ["dataset.target=price", "head=sklearn", "head.estimator=sklearn.linear_model.Ridge"]
    split = ["dataset.folds=3", "dataset.split.beside=block"]
    package = run(homes, tmp_path, *options, *split)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["folds"]["by"] == "random" and len(metrics["folds"]["each"]) == 3
    assert metrics["beside"]["by"] == "block" and metrics["beside"]["std"]["RMSE"] > 0
    mean = np.mean([each["RMSE"] for each in metrics["folds"]["each"]])
    assert metrics["monitor"]["value"] == pytest.approx(mean)
    with zipfile.ZipFile(package.path) as archive:
        assert "Split by random, 3 folds" in archive.read("README.md").decode()


@pytest.mark.parametrize(
    "options, said",
    [
        (["head=sklearn", "head.estimator=sklearn.ensemble.RandomForest"], "head.estimator.*did you mean"),
        (["head=sklearn", "head.kwargs.max_itr=3"], "head.kwargs.max_itr.*did you mean 'max_iter'"),
        (["dataset.folds=1"], "dataset.folds"),
        (["dataset.split.beside=random"], "split.beside"),
        (["head=unet"], "serves task segmentation, not tabular"),
        (["dataset.split.by=blok"], "dataset.split.by: found 'blok'; did you mean 'block'"),
        (["dataset.kind=classes"], "dataset.kind"),
        (["dataset.sample=house_price"], "did you mean 'house_prices'"),
    ],
)
def test_a_mistake_in_the_config_is_named(homes, tmp_path, options, said):
    with pytest.raises(ConfigError, match=said):
        more = [] if "sample" in options[0] else [f"dataset.path={homes}"]
        geomm.train([*BASE, "dataset.target=price", f"work_dir={tmp_path}", *more, *options])
