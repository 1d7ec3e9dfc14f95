"""A sweep goes on where it was: done runs stay, begun ones go on, changed ones begin anew."""

import math

import pytest
from omegaconf import OmegaConf

from geomm.engine import training
from geomm.engine.run_folder import read_earlier, write_config
from geomm.engine.sweep_folder import SWEEP_FILE, check_same_sweep, train_once
from geomm.errors import ConfigError, DataError
from tests.engine.test_leaderboard import write_run

CONFIG = {
    "task": {"type": "Segmentation"},
    "seed": 0,
    "resume": False,
    "runtime": {"threads": None},
    "k": (1, 2),
}


@pytest.fixture
def trained(monkeypatch):
    """What training is called with; it does nothing else."""
    calls = []

    def train(config):
        calls.append(config)
        return training.TrainingResult(None, None, 0.25, {})

    monkeypatch.setattr(training, "train", train)
    return calls


def begin(folder, score, **more):
    write_run(folder, score, **more)
    write_config(folder, CONFIG)
    return {**CONFIG, "work_dir": str(folder)}


def test_a_done_run_is_not_trained_again(tmp_path, trained):
    config = begin(tmp_path / "0", 0.75)
    assert train_once({**config, "runtime": {"threads": 1}}) == 0.75  # how it is run is not what it is
    assert not trained
    begin(tmp_path / "1", 0.75)
    (tmp_path / "1" / "model.dlpk").unlink()
    assert train_once({**CONFIG, "work_dir": str(tmp_path / "1")}) == 0.25


def test_a_run_that_was_begun_goes_on(tmp_path, trained):
    fresh = begin(tmp_path / "0", None)
    train_once(fresh)
    (tmp_path / "0" / "last.pth").touch()
    train_once(fresh)
    interrupted = begin(tmp_path / "1", 0.5, interrupted=True)
    (tmp_path / "1" / "last.pth").touch()
    train_once(interrupted)
    assert [config["resume"] for config in trained] == [False, True, True]


def test_a_run_of_another_config_begins_anew(tmp_path, trained, capsys):
    config = begin(tmp_path / "0", 0.5)
    (tmp_path / "0" / "last.pth").touch()
    changed = {**config, "task": {"type": "Segmentation", "mixup": 0.3}}
    assert read_earlier(tmp_path / "0", changed).changed == ("task.mixup",)
    train_once(changed)
    assert trained[0]["resume"] is False and not (tmp_path / "0" / "metrics.json").exists()
    assert "another task.mixup; training it anew" in capsys.readouterr().err


def test_a_run_that_fails_is_kept_and_tried_again(tmp_path, monkeypatch, trained):
    config = begin(tmp_path / "0", None)

    def fail(config):
        raise DataError("no such scene")

    with monkeypatch.context() as broken:
        broken.setattr(training, "train", fail)
        assert math.isnan(train_once(config))
    assert "no such scene" in (tmp_path / "0" / "failed.json").read_text()
    assert train_once(config) == 0.25
    assert not (tmp_path / "0" / "failed.json").exists()


def test_another_sweep_does_not_mix_with_one_that_is_there(tmp_path):
    choices = ["schedule.lr=1e-3,1e-2", f"work_dir={tmp_path}"]
    check_same_sweep(choices)
    OmegaConf.save({"hydra": {"overrides": {"task": ["++" + choices[0], choices[1]]}}}, tmp_path / SWEEP_FILE)
    check_same_sweep([choices[1], choices[0], "hydra/launcher=joblib"])
    with pytest.raises(
        ConfigError, match=r"holds another sweep .not in both: schedule.lr=1e-3,1e-2, schedule.lr=5"
    ):
        check_same_sweep(["schedule.lr=5", choices[1]])
