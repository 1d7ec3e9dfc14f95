"""Tables of any folder of runs: best first within a task, with what tells runs apart and ways into them."""

import csv
import json
import re
from pathlib import Path

import pytest
import yaml

from geomm.cli import leaderboard
from geomm.engine.leaderboard import build, collect, rows
from geomm.engine.run_folder import record_failure
from geomm.errors import DataError


def write_run(folder, score, *, task="segmentation", rule="greater", choices=None, groups=None, **more):
    """A run's folder as training leaves it, with or without what Hydra keeps of the command line."""
    choices = choices or {}
    folder.mkdir(parents=True)
    config = {"task": {"type": task.title().replace("_", "")}, "seed": 0}
    for key, value in choices.items():
        node = config
        *parents, last = key.split(".")
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    if groups is not None:
        task_overrides = [f"{key}={value}" for key, value in {**choices, **groups}.items()]
        hydra = {"hydra": {"overrides": {"task": task_overrides}, "runtime": {"choices": groups}}}
        (folder / ".hydra").mkdir()
        (folder / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(hydra))
        (folder / ".hydra" / "config.yaml").write_text("{}")
    if score is None:
        return folder
    metrics = {
        "task": task, "monitor": {"name": "score", "rule": rule, "value": score}, "seconds": 12.4,
        "val": {"score": score, "other": 1 - score, "score/roof": 0.1}, "test": {"score": score / 2}, **more,
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "model.dlpk").write_bytes(b"")
    (folder / "figures").mkdir()
    (folder / "figures" / "curves.png").write_bytes(b"")
    return folder


def table(path):
    with (path / "leaderboard.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_sweeps_runs_are_ranked_by_what_they_chose(tmp_path):
    for number, (lr, head, score) in enumerate(
        [(1e-3, "unet", 0.5), (1e-2, "unet", 0.8), (1e-2, "pspnet", 0.7)]
    ):
        write_run(
            tmp_path / str(number), score, choices={"schedule.lr": lr}, groups={"head": head, "loss": "dice"}
        )
    write_run(tmp_path / "3", None, choices={"schedule.lr": 5.0}, groups={"head": "unet", "loss": "dice"})
    record_failure(tmp_path / "3", "the rate is too high")
    write_run(tmp_path / "4", None, choices={"schedule.lr": 0.1}, groups={"head": "unet", "loss": "dice"})
    written = build(tmp_path)
    assert [path.name for path in written] == ["leaderboard.csv", "leaderboard.html"]
    found = table(tmp_path)
    assert [row["run"] for row in found] == ["1", "2", "0", "3", "4"]
    assert [row["status"] for row in found] == ["done"] * 3 + ["failed: the rate is too high", "unfinished"]
    assert (found[0]["schedule.lr"], found[1]["head"]) == ("0.01", "pspnet")
    assert "loss" not in found[0] and "score/roof" not in found[0]
    assert all((tmp_path / row["config"]).is_file() for row in found) and found[0]["figures"] == "1/figures"
    assert found[0]["package"] == "1/model.dlpk" and not found[3]["package"]
    (tmp_path / "3" / "failed.json").write_text('{"err')
    assert "not written whole" in next(run.status for run in collect(tmp_path) if run.name == "3")
    assert float(found[0]["test score"]) == 0.4 and found[0]["seconds"] == "12"


def test_tasks_have_tables_of_their_own_and_errors_rank_upwards(tmp_path):
    write_run(tmp_path / "a" / "roofs", 0.6, choices={"schedule.lr": 0.1})
    write_run(tmp_path / "b" / "prices", 0.9, task="tabular", rule="less", choices={"head.layers": 2})
    write_run(tmp_path / "b" / "cheaper", 0.2, task="tabular", rule="less", choices={"head.layers": 3})
    fold = write_run(tmp_path / "b" / "prices" / "fold_1", 0.1, task="tabular", rule="less")
    assert fold.is_dir()
    runs = collect(tmp_path)
    assert [(run.task, run.name) for run in runs] == [
        ("segmentation", "a/roofs"), ("tabular", "b/cheaper"), ("tabular", "b/prices"),
    ]  # fmt: skip
    assert runs[0].choices == {} and runs[1].choices == {"head.layers": 3}
    assert rows(runs, tmp_path / "a")[2]["package"] == "../b/prices/model.dlpk"


def test_the_page_leads_to_files_that_are_there(tmp_path):
    for number, lr in enumerate((1e-4, 1e-2, 1e-1)):
        write_run(tmp_path / "runs" / f"run {number}", 0.3 * number, choices={"schedule.lr": lr}, groups={})
    output = tmp_path / "report"
    assert leaderboard([f"runs={tmp_path / 'runs'}", f"output={output}"]) == 0
    page = (output / "leaderboard.html").read_text()
    from urllib.parse import unquote

    links = [unquote(link) for link in re.findall(r'href="([^"#]+)"', page)]
    assert sum(link.endswith("model.dlpk") for link in links) == 3
    assert sum(link.endswith("config.yaml") for link in links) == 3
    assert all((output / link).exists() for link in links)
    assert page.count("<svg") == 1 and "run 2</a>" in page
    for text in re.findall(r"<script[^>]*src=|<link|http://|https://", page.split("<svg")[0]):
        raise AssertionError(f"the page needs {text}")


def test_mistakes_are_said_in_one_line(tmp_path, capsys):
    with pytest.raises(DataError, match="found no run"):
        build(tmp_path)
    assert leaderboard([f"runs={tmp_path}"]) == 1
    assert leaderboard(["runs=nowhere"]) == 2
    assert "'nowhere' does not exist" in capsys.readouterr().err
    assert not list(Path(tmp_path).iterdir())
