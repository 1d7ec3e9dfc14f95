"""A notebook's way through a run: data to look at, fits that follow each other, a package at the end."""

import json

import numpy as np
import pytest
import torch

import geomm
from geomm.errors import ConfigError, DataError, GeommError
from geomm.visualization.notebook import Pictures


@pytest.fixture(scope="module")
def data(tiny, tmp_path_factory):
    return geomm.prepare(tiny, work_dir=str(tmp_path_factory.mktemp("notebook") / "run"))


def options(tiny):
    return {item.partition("=")[0]: item.partition("=")[2] for item in tiny}


def test_keywords_say_what_overrides_say(tiny, tmp_path):
    given = options(tiny)
    data = geomm.prepare(
        ["tracking=none"],
        task="segmentation",
        images=[given["dataset.images"]],
        labels=given["dataset.labels"],
        split={"val": 0.3, "test": 0.0},
        window_px=32,
        label_field=None,
        work_dir=str(tmp_path / "it's here"),
        seed=3,
    )
    assert data.config["seed"] == 3 and data.config["dataset"]["split"]["val"] == 0.3
    assert data.folder.name == "it's here" and (data.folder / "config.yaml").is_file()
    assert data.spec.window_px == 32
    page = data._repr_html_()
    assert f"{len(data)} train" in page and "feature" in page and "window" in page


def test_mistakes_are_said_at_once(tmp_path):
    with pytest.raises(ConfigError) as caught:
        geomm.prepare(["head=unett"], images="no.tif", labels="no.gpkg", windwo_px=3, work_dir=str(tmp_path))
    assert len(caught.value.problems) >= 3


def test_a_batch_is_a_picture(data):
    shown = data.show_batch()
    assert shown._repr_png_()[:4] == b"\x89PNG" and "data:image/png;base64" in shown._repr_html_()
    with pytest.raises(DataError, match="'test' has no samples"):
        data.show_batch("test")


def test_fits_follow_each_other_and_the_best_weights_stay(data, tmp_path):
    model = data.model(["schedule.lr=1e-2"])
    assert model.folder.parent == data.folder
    with pytest.raises(GeommError, match="there are no steps yet; call fit"):
        model.plot_losses()
    model.fit(3)
    first = dict(model._fitted.best)
    kept = {key: value.clone() for key, value in model.model.state_dict().items()}
    steps = {name: len(curve) for name, curve in model._fitted.history().items()}
    model.fit(1, lr=1e-9)  # what it learns from is no better: the weights stay
    assert model._fitted.best["score"] >= first["score"]
    if model._fitted.best == first:
        assert all(torch.equal(value, kept[key]) for key, value in model.model.state_dict().items())
    history = model._fitted.history()
    assert [at for at, _ in history["train/loss"]] == list(range(1, 17))
    assert len(history["val/mIoU"]) == steps["val/mIoU"] + 1 == 4
    assert [at for at, _ in history["val/mIoU"]] == [4, 8, 12, 16]
    assert len(model.plot_losses()) == 1
    (picture,) = model.show_results()
    assert picture.name == "samples_val.png"
    package = model.save(tmp_path / "deep" / "mine.dlpk")
    assert package.path == tmp_path / "deep" / "mine.dlpk"
    metrics = json.loads((model.folder / "metrics.json").read_text())
    assert metrics["epochs"] == 4 and metrics["monitor"]["value"] == pytest.approx(
        model.metrics["val"]["mIoU"]
    )
    assert metrics["best_epoch"] == model._fitted.best["epoch"]
    assert "mIoU" in model._repr_html_() and "segmentation" in package._repr_html_()
    again = geomm.load(package.path)
    pixels, valid = torch.rand(1, 1, 64, 64) * 900, torch.ones(1, 64, 64, dtype=torch.bool)
    torch.testing.assert_close(
        again.model.predict_scores(pixels, valid), model.model.predict_scores(pixels, valid)
    )


def test_the_range_test_says_what_fit_takes(data, tiny):
    model = data.model()
    finding = model.lr_find()
    assert model.run.schedule["lr"] == finding.lr
    assert f"{finding.lr:.1e}" in finding._repr_html_() and "image/png" in finding._repr_html_()
    report = model.predict(options(tiny)["dataset.images"], output=model.folder / "map", device="cpu")
    assert report.failed == [] and "scene.tif" in report._repr_html_() and "base64" in report._repr_html_()


def test_models_share_samples_unless_the_data_differ(data):
    assert data.model().run.source is data.source
    other = data.model(["dataset.window_px=32"])
    assert other.run.source is not data.source and other.run.spec.window_px == 32


def test_a_model_fitted_at_once_has_no_rate(tmp_path):
    data = geomm.prepare(
        task="tabular", sample="house_prices", target="price", transform="log", work_dir=str(tmp_path)
    )
    shown = data.show_batch("val")
    assert shown.paths[0].is_file()
    tree = "head.estimator=sklearn.tree.DecisionTreeRegressor"
    model = data.model(["head=sklearn", tree]).fit()
    with pytest.raises(GeommError, match="has no learning rate"):
        model.lr_find()
    assert np.isfinite(model.metrics["val"]["RMSE"])
    (picture,) = model.show_results()
    assert picture.name == "actual_predicted_val.png"


def test_pictures_are_whole_pages(tmp_path):
    (tmp_path / "page.html").write_text('<p title="a">x</p>')
    page = Pictures((tmp_path / "page.html",))
    assert page._repr_png_() is None and "&lt;p title=&quot;a&quot;&gt;" in page._repr_html_()
    assert Pictures(())._repr_html_() == "<i>no figures</i>"
