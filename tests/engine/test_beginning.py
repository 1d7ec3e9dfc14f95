"""The folder of a run that begins: what an earlier one left there."""

import pytest
import torch

from geomm.engine.beginning import begin, prepare_folder
from geomm.engine.run_folder import read_earlier, write_config
from geomm.errors import GeommError


def test_metrics_of_a_shorter_run_are_not_those_of_a_longer_one(tmp_path):
    """Where the longer one is interrupted, that is, before it has its own."""
    config = {"resume": True, "task": {"type": "A"}, "schedule": {"epochs": 2}}
    torch.save({"state_dict": {}}, tmp_path / "last.pth")
    begin(tmp_path, config, torch.nn.Identity())
    for changed in (config, {**config, "schedule": {"epochs": 5}}):
        for name in ("metrics.json", "model.dlpk"):
            (tmp_path / name).touch()
        begin(tmp_path, changed, torch.nn.Identity())
        assert (tmp_path / "metrics.json").exists() is (changed == config)
        assert (tmp_path / "model.dlpk").exists() and read_earlier(tmp_path, changed).changed == ()


@pytest.mark.parametrize(("resume", "checkpoint"), [(False, True), (True, True), (True, False)])
def test_results_of_an_earlier_run_go_when_another_begins(tmp_path, resume, checkpoint):
    """So that none of them is taken for the new run's, even where it ends before its first epoch."""
    config = {"resume": resume, "task": {"type": "A"}, "schedule": {"epochs": 2}}
    names = ["metrics.json", "model.dlpk", "best.pth", *(["last.pth"] if checkpoint else [])]
    for name in names:
        (tmp_path / name).touch()
    torch.save({"state_dict": {}}, tmp_path / "best.pth")
    if checkpoint:
        torch.save({"state_dict": {}}, tmp_path / "last.pth")
    write_config(tmp_path, config)
    with (tmp_path / "config.yaml").open("a") as file:
        file.write("# the earlier one's\n")
    prepare_folder(tmp_path, config)
    assert "# the" in (tmp_path / "config.yaml").read_text()  # it stays as long as the results do
    begin(tmp_path, config, torch.nn.Identity())
    assert "# the" not in (tmp_path / "config.yaml").read_text()
    assert read_earlier(tmp_path, config).changed == ()
    left = {path.name for path in tmp_path.iterdir()} - {"config.yaml"}
    assert left == (set(names) if resume and checkpoint else set())


def test_a_run_whose_place_another_takes_is_named(tmp_path, caplog):
    config = {"resume": False, "task": {"type": "A"}, "schedule": {"epochs": 2}}
    prepare_folder(tmp_path, config)
    (tmp_path / "metrics.json").write_text('{"monitor": {"name": "AP50", "value": 0.27}}')
    prepare_folder(tmp_path, config)
    with caplog.at_level("WARNING"):
        begin(tmp_path, config, torch.nn.Identity())
    assert "holds an earlier run (AP50 0.27)" in caplog.text and "resume=true" in caplog.text
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [("config.yaml", "a: 1"), ("config.yaml", "\x00"), ("metrics.json", "{}"), ("model.dlpk", "mine")],
)
def test_files_that_no_run_wrote_are_never_replaced(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(GeommError, match=f"work_dir=.*: {name} there is of no run by geomm; give another"):
        prepare_folder(tmp_path, {"resume": False, "task": {}, "schedule": {}})
    assert [path.name for path in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == text
