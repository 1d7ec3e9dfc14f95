"""Training again on the validation samples too: what is kept, what judged it, and that it resumes."""

import json
import zipfile

import numpy as np
import pandas
import pytest
import torch

import geomm
from geomm.engine import training
from geomm.errors import ConfigError


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "rows.csv"
    rng = np.random.default_rng(2)
    frame = pandas.DataFrame(rng.normal(size=(160, 3)), columns=["a", "b", "c"])
    frame["y"] = 5 * frame["a"] - 2 * frame["b"] * frame["c"] + rng.normal(0, 0.3, 160)
    frame.to_csv(path, index=False)
    return path


@pytest.fixture
def options(table):
    return [
        "task=tabular",
        f"dataset.path={table}",
        "dataset.target=y",
        "dataset.split.test=0.2",
        "head.layers=[16]",
        "head.members=2",
        "schedule.epochs=8",
        "runtime.workers=0",
        "tracking=none",
    ]


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def weights(file):
    return torch.load(file, map_location="cpu", weights_only=False)["state_dict"]


def same(one, two):
    """Whether states are equal but for the spread of errors, which is learnt when training is over."""
    names = {name for name in {*one, *two} if name not in ("spread", "judged")}
    return all(torch.equal(one[name].cpu(), two[name].cpu()) for name in names)


def test_the_kept_model_learnt_from_the_validation_rows_and_is_judged_by_the_tested_ones(options, tmp_path):
    package = geomm.train([*options, f"work_dir={tmp_path / 'again'}"])
    geomm.train([*options, f"work_dir={tmp_path / 'once'}", "schedule.refit=false"])
    again, once = metrics_of(tmp_path / "again"), metrics_of(tmp_path / "once")
    assert "refit" not in once and again["refit"] == {"epochs": once["best_epoch"], "samples": 128}
    assert again["val"] == once["val"] and again["monitor"] == once["monitor"]
    assert again["test"] != once["test"]
    assert same(weights(tmp_path / "again" / "best.pth"), weights(tmp_path / "once" / "best.pth"))
    last = weights(tmp_path / "again" / "refit" / f"{once['best_epoch']}_epochs" / "last.pth")
    assert same(package.model.state_dict(), last)
    with zipfile.ZipFile(tmp_path / "again" / "model.dlpk") as archive:
        assert "all 128 samples of training and validation" in archive.read("README.md").decode()
    found = {path.name for path in (tmp_path / "again" / "figures").iterdir()}
    assert {"actual_predicted_val.png", "actual_predicted_test.png", "importance.png"} <= found


def test_the_interval_comes_from_rows_that_the_model_was_judged_by(options, tmp_path):
    again = geomm.train([*options, f"work_dir={tmp_path / 'again'}"])
    once = geomm.train([*options, f"work_dir={tmp_path / 'once'}", "schedule.refit=false"])
    torch.testing.assert_close(again.model.spread, once.model.spread)


def test_an_average_of_the_weights_is_kept_here_too(options, tmp_path):
    package = geomm.train([*options, f"work_dir={tmp_path}", "schedule.ema=0.9"])
    (file,) = (tmp_path / "refit").glob("*/last.pth")
    saved = torch.load(file, map_location="cpu", weights_only=False)
    own, kept = saved["ema_state_dict"], package.model.state_dict()
    name = next(key for key in kept if key.endswith("weight"))
    assert torch.equal(kept[name], saved["state_dict"][name])
    assert not torch.equal(kept[name], own[f"module.{name}"])


def test_a_run_that_ended_in_it_goes_on_there(options, tmp_path, monkeypatch):
    whole = geomm.train([*options, f"work_dir={tmp_path / 'whole'}"])
    halves = [*options, f"work_dir={tmp_path / 'halves'}"]
    load_best = training.TrainingRunner.load_best

    def leave(self, *name):
        if name:  # after the last epoch on all rows
            raise KeyboardInterrupt
        load_best(self)

    with monkeypatch.context() as changed:
        changed.setattr(training.TrainingRunner, "load_best", leave)
        with pytest.raises(KeyboardInterrupt):
            geomm.train(halves)
    assert not (tmp_path / "halves" / "metrics.json").exists()
    package = geomm.train([*halves, "resume=true"])
    assert same(package.model.state_dict(), whole.model.state_dict())


def test_an_estimator_is_fitted_to_the_validation_rows_too(options, tmp_path):
    head = [option for option in options if not option.startswith(("head.", "schedule.epochs"))]
    head += ["head=sklearn", "head.estimator=sklearn.neighbors.KNeighborsRegressor"]
    for refit, rows in (("auto", 128), ("false", 96)):
        package = geomm.train([*head, f"work_dir={tmp_path / refit}", f"schedule.refit={refit}"])
        assert package.model.estimator.n_samples_fit_ == rows


def test_large_tables_are_trained_once(options, tmp_path, monkeypatch):
    monkeypatch.setattr("geomm.transforms.table._SMALL", 95)
    geomm.train([*options, f"work_dir={tmp_path}"])
    assert "refit" not in metrics_of(tmp_path)


def test_a_source_that_cannot_join_its_samples_is_named_before_training(options, tmp_path, monkeypatch):
    monkeypatch.delattr("geomm.datasets.tables.source.Table.known")
    with pytest.raises(ConfigError, match=r"schedule\.refit: Table has no method known\(\)"):
        geomm.train([*options, f"work_dir={tmp_path}", "schedule.refit=true"])
    assert not (tmp_path / "last.pth").exists()
    geomm.train([*options, f"work_dir={tmp_path}", "schedule.epochs=1"])
    assert "refit" not in metrics_of(tmp_path)


def test_the_first_run_in_a_folder_leaves_nothing_to_the_next(options, tmp_path):
    geomm.train([*options, f"work_dir={tmp_path}"])
    geomm.train([*options, f"work_dir={tmp_path}", "schedule.refit=false"])
    assert not (tmp_path / "refit").exists()


def test_other_tasks_refuse_it(tiny):
    with pytest.raises(ConfigError, match=r"schedule.refit: true is for task=tabular, .*; leave it at auto"):
        geomm.train([*tiny, "schedule.refit=true"])
