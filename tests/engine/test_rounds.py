"""Rounds beside a run: which there are, their mean and spread, and that a resumed run keeps those done."""

import json

import pytest

from geomm.engine.rounds import beside_text, plan_rounds, run_rounds, scores_text, spread_text
from geomm.engine.run_folder import write_config
from geomm.errors import ConfigError


def config(**dataset):
    return {"dataset": dataset, "resume": False}


def test_no_rounds_where_none_are_asked_for():
    assert plan_rounds({}) == [] and plan_rounds({"split": {"by": "random", "beside": None}}) == []
    assert plan_rounds({"folds": 5, "fold": 2, "split": {"by": "random"}}) == []


def test_folds_of_both_ways():
    rounds = plan_rounds({"folds": 2, "split": {"by": "random", "beside": "block"}})
    assert [(r.way, r.fold) for r in rounds] == [("random", 0), ("random", 1), ("block", 0), ("block", 1)]
    assert len({r.name for r in rounds}) == 4
    (alone,) = plan_rounds({"split": {"by": "random", "beside": "block"}})
    assert (alone.way, alone.fold) == ("block", None)


def test_mean_and_spread_of_the_tested_part(tmp_path):
    seen = []

    def run(changed, folder):
        seen.append((changed["dataset"]["split"]["by"], changed["dataset"]["fold"], folder.name))
        fold = changed["dataset"]["fold"] or 0
        return {"val": {"RMSE": 99.0}, "test": {"RMSE": 1.0 + 2 * fold, "RMSE/price": 7.0}}

    found = run_rounds(config(folds=2, split={"by": "random", "beside": "block"}), tmp_path, run)
    assert found["folds"]["mean"] == {"RMSE": 2.0} and found["folds"]["std"]["RMSE"] == pytest.approx(2**0.5)
    assert found["beside"]["by"] == "block" and seen[2] == ("block", 0, "block_fold_1")
    assert spread_text(found["folds"]) == "RMSE 2.0000 ± 1.4142"


def test_the_errors_of_two_splits_stand_side_by_side():
    own = {"val": {"RMSE": 9.0}, "test": {"RMSE": 2.0, "RMSE/price": 7.0}}
    beside = {"beside": {"by": "random", "mean": {"RMSE": 1.5}}}
    assert beside_text("block", {**own, **beside}) == "split by block beside random: RMSE 2.0000 and 1.5000"
    folds = {"folds": {"mean": {"RMSE": 3.0}}}
    assert beside_text("block", {**own, **beside, **folds}).endswith("RMSE 3.0000 and 1.5000")
    assert scores_text(own["test"]) == "RMSE 2.0000"
    assert scores_text({"F1": 0.99997, "threshold": 0.99997}) == "F1 1.0000, threshold 0.99997"


def test_a_resumed_run_keeps_the_rounds_that_are_done_as_it_would_have_them(tmp_path):
    ran = []

    def run(changed, folder):
        ran.append(folder.name)
        write_config(folder, changed)
        found = {"val": {"RMSE": 3.0}, "monitor": {"name": "RMSE", "value": 3.0}}
        (folder / "metrics.json").write_text(json.dumps(found))
        (folder / "model.dlpk").touch()
        return found

    wanted = {**config(folds=2, split={"by": "time"}), "resume": True, "schedule": {"epochs": 2}}
    for name in ("fold_1", "fold_2"):
        (tmp_path / name).mkdir()
    assert run_rounds(wanted, tmp_path, run)["folds"]["mean"] == {"RMSE": 3.0} and ran == ["fold_1", "fold_2"]
    ran.clear()
    (tmp_path / "fold_2" / "metrics.json").unlink()
    done = tmp_path / "fold_1" / "metrics.json"
    done.write_text(done.read_text().replace("3.0", "5.0"))
    assert run_rounds(wanted, tmp_path, run)["folds"]["mean"] == {"RMSE": 4.0} and ran == ["fold_2"]
    ran.clear()
    run_rounds({**wanted, "schedule": {"epochs": 5}}, tmp_path, run)
    assert ran == ["fold_1", "fold_2"]


@pytest.mark.parametrize("dataset", [{"folds": 1}, {"split": {"by": "block", "beside": "block"}}])
def test_rounds_that_make_no_sense_are_named(dataset):
    with pytest.raises(ConfigError, match=r"dataset\.(folds|split\.beside)"):
        plan_rounds(dataset)
