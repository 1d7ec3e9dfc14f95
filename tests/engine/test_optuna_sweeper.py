"""The search proposes from the runs it finds: killed and prolonged, it proposes what it would have."""

import json
import math
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from geomm.engine.optuna_sweeper import TRIAL_FILE, OptunaSearch, _distribution
from geomm.errors import ConfigError, GeommError

pytest.importorskip("optuna")
SPACE = [
    "schedule.lr=tag(log,interval(1e-5,1e-1))",
    "head=unet,pspnet",
    "schedule.epochs=range(2,9,3)",
    "seed=3",
]


class Launcher:
    """Trains nothing: a run's score follows from its values; the run of one number can be made to fail."""

    def __init__(self, folder, dies_at=None, fails=()):
        self.folder, self.dies_at, self.fails, self.seen = folder, dies_at, fails, []

    def launch(self, jobs, initial_job_idx):
        for number, job in enumerate(jobs, start=initial_job_idx):
            if number == self.dies_at:
                raise KeyboardInterrupt
            self.seen.append((number, tuple(job)))
            values = dict(item.split("=") for item in job)
            score = -abs(math.log10(float(values["schedule.lr"])) + 3) - (values["head"] == "unet")
            run = self.folder / str(number)
            if number in self.fails:
                (run / "failed.json").write_text(json.dumps({"error": "no"}))
            else:
                monitor = {"name": "mIoU", "rule": "greater", "value": score}
                (run / "metrics.json").write_text(json.dumps({"monitor": monitor}))
        return [SimpleNamespace(return_value=None)] * len(jobs)


def search(folder, launcher, arguments=SPACE, rule="greater", **options):
    sweeper = OptunaSearch(**{"n_trials": 12, **options})
    sweeper.config = OmegaConf.create(
        {
            "task": {"monitor_rule": rule},
            "hydra": {"job": {"num": "???"}, "sweep": {"dir": str(folder), "subdir": "${hydra.job.num}"}},
        }
    )
    sweeper.hydra_context = SimpleNamespace(config_loader=None)
    sweeper.launcher = launcher
    sweeper.validate_batch_is_legal = lambda batch: None
    sweeper.sweep(list(arguments))


def scores_of(folder, numbers):
    files = [folder / str(number) / "metrics.json" for number in numbers]
    return [json.loads(file.read_text())["monitor"]["value"] for file in files]


def trials(folder):
    files = sorted(folder.glob(f"*/{TRIAL_FILE}"), key=lambda file: int(file.parent.name))
    return [json.loads(file.read_text()) for file in files]


def test_a_killed_and_prolonged_search_is_the_whole_one(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    search(whole, Launcher(whole))
    with pytest.raises(KeyboardInterrupt):
        search(killed, Launcher(killed, dies_at=5))
    again = Launcher(killed)
    search(killed, again, n_trials=9)
    assert [number for number, _ in again.seen] == [5, 6, 7, 8]
    search(killed, Launcher(killed), n_trials=12)
    assert trials(whole) == trials(killed) and len(trials(whole)) == 12
    assert len({json.dumps(values) for values in trials(whole)}) == 12
    best = OmegaConf.load(whole / "optimization_results.yaml")
    scores = [
        json.loads((whole / str(n) / "metrics.json").read_text())["monitor"]["value"] for n in range(12)
    ]
    assert best.best_value == max(scores) and best.best_params.head == "pspnet"


def test_batches_failures_and_the_direction(tmp_path):
    launcher = Launcher(tmp_path, fails=(1,))
    search(tmp_path, launcher, n_trials=5, n_jobs=2, rule="less")
    assert [number for number, _ in launcher.seen] == list(range(5))
    assert all("seed=3" in job for _, job in launcher.seen)
    assert {values["schedule.epochs"] for values in trials(tmp_path)} <= {2, 5, 8}
    best = OmegaConf.load(tmp_path / "optimization_results.yaml")
    assert best.best_value == min(scores_of(tmp_path, (0, 2, 3, 4)))


def test_mistakes_are_said(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="nothing to look for"):
        search(tmp_path, Launcher(tmp_path), ["head=unet"])
    with pytest.raises(ConfigError, match=r"hydra.sweeper.sampler: unknown 'tpee'; did you mean 'tpe'"):
        search(tmp_path, Launcher(tmp_path), sampler="tpee")
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(GeommError, match=r"pip install 'geomm\[sweeps\]'"):
        search(tmp_path, Launcher(tmp_path))


@pytest.mark.parametrize(
    "text, kind, low, high",
    [
        ("int(interval(1,9))", "IntDistribution", 1, 9),
        ("interval(0.5,9)", "FloatDistribution", 0.5, 9.0),
        ("range(0,1,0.25)", "FloatDistribution", 0.0, 0.75),
        ("range(4)", "IntDistribution", 0, 3),
    ],
)
def test_sweeps_become_distributions(text, kind, low, high):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (override,) = OverridesParser.create().parse_overrides([f"x={text}"])
    found = _distribution(override)
    assert (type(found).__name__, found.low, found.high) == (kind, low, high)
