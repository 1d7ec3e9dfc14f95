"""Training end to end: what a run leaves, and that a killed one resumes to the bit."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import geomm
from geomm.errors import ConfigError, GeommError


def weights(folder):
    return torch.load(folder / "last.pth", map_location="cpu", weights_only=False)["state_dict"]


def test_a_run_leaves_metrics_figures_and_a_package(tiny, tmp_path):
    package = geomm.train([*tiny, f"work_dir={tmp_path}", "schedule.epochs=6"])
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["val"]["IoU/feature"] > 0.5
    assert metrics["monitor"]["value"] == metrics["val"]["mIoU"]
    assert {p.name for p in (tmp_path / "figures").iterdir()} == {
        "curves.png",
        "confusion_val.png",
        "samples_val.png",
    }
    assert (tmp_path / "config.yaml").is_file()
    assert package.spec.in_channels == 1
    assert [item.name for item in package.spec.classes] == ["background", "feature"]
    scene = tiny[0].partition("=")[2]
    report = package.predict(scene, output=tmp_path / "map", device="cpu")
    assert [path.name for path in report.outputs] == ["scene.tif", "scene_preview.png"]


def test_the_same_seed_gives_the_same_weights(tiny, tmp_path):
    for name in ("one", "two"):
        geomm.train([*tiny, f"work_dir={tmp_path / name}", "schedule.epochs=1"])
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_going_on_says_nothing_but_geomms_own_lines(tiny, tmp_path, capfd):
    geomm.train([*tiny, f"work_dir={tmp_path}", "schedule.epochs=1"])
    geomm.train([*tiny, f"work_dir={tmp_path}", "schedule.epochs=2", "resume=true"])
    out, errors = capfd.readouterr()
    assert out == "" and "epoch 2/2" in errors and "weights_only" not in errors
    results = {name: (tmp_path / name).read_bytes() for name in ("metrics.json", "config.yaml", "model.dlpk")}
    with pytest.raises(
        GeommError, match=r"last.pth is of another model \(\w.*: found .*, expected .*another wor"
    ):
        geomm.train(
            [
                *tiny,
                f"work_dir={tmp_path}",
                "schedule.epochs=3",
                "resume=true",
                "head.channels=[16,16,16,16,8]",
            ]
        )
    # A mistake costs nothing of what is there.
    with pytest.raises(GeommError):
        geomm.train([*tiny, f"work_dir={tmp_path}", f"dataset.labels={tmp_path / 'config.yaml'}"])
    for name, content in results.items():
        assert (tmp_path / name).read_bytes() == content


def rates(folder):
    """Return the learning rate of every step."""
    state = torch.load(folder / "last.pth", weights_only=False)
    return state["message_hub"]["log_scalars"]["train/lr"].data[0]


@pytest.mark.parametrize("batch_size", [4, 16])  # four steps an epoch, and so few that there is no cycle
def test_a_run_that_is_made_longer_goes_on_at_the_longer_courses_rate(tiny, tmp_path, batch_size):
    arguments = [*tiny, f"schedule.batch_size={batch_size}"]
    geomm.train([*arguments, f"work_dir={tmp_path / 'whole'}", "schedule.epochs=5"])
    for epochs in (2, 5):
        longer = [f"work_dir={tmp_path / 'longer'}", f"schedule.epochs={epochs}", "resume=true"]
        geomm.train([*arguments, *longer])
    steps = 3 * 16 // batch_size
    whole, longer = rates(tmp_path / "whole"), rates(tmp_path / "longer")
    assert len(whole) == len(longer) and longer[-steps:] == pytest.approx(whole[-steps:], rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_run_resumes_to_the_bit(tiny, tmp_path, root, workers):
    arguments = [
        *tiny,
        "schedule.epochs=4",
        f"runtime.workers={workers}",
        "task.mixup=0.2",
        "schedule.ema=0.9",
    ]
    command = [sys.executable, "tools/train.py", *arguments]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*command, f"work_dir={whole}"], cwd=root, check=True)
    process = subprocess.Popen([*command, f"work_dir={killed}"], cwd=root, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (killed / "last.pth").is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.15)  # into the second epoch
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "model.dlpk").exists()
    subprocess.run([*command, f"work_dir={killed}", "resume=true"], cwd=root, check=True)
    one, two = weights(whole), weights(killed)
    assert all(torch.equal(one[key], two[key]) for key in one)
    results = [json.loads((f / "metrics.json").read_text())["val"] for f in (whole, killed)]
    assert results[0] == results[1]


@pytest.mark.parametrize(("monitor", "near"), [("mIuO", "mIoU"), ("IoU/featur", "IoU/feature")])
def test_a_monitor_that_is_not_measured_is_named_after_the_first_validation(tiny, tmp_path, monitor, near):
    with pytest.raises(ConfigError, match=rf"task\.monitor: found '{monitor}'; did you mean '{near}'\?"):
        geomm.train([*tiny, f"work_dir={tmp_path}", "schedule.epochs=9", f"task.monitor={monitor}"])
    assert "epoch 2/9" not in (tmp_path / "train.log").read_text()


def test_the_range_test_chooses_and_explains_a_rate(tiny, tmp_path):
    geomm.train([*tiny, f"work_dir={tmp_path}", "schedule.epochs=1", "schedule.lr=auto"])
    finding = json.loads((tmp_path / "lr_finder.json").read_text())
    assert 1e-6 < finding["lr"] < 1
    assert finding["reason"] in (tmp_path / "train.log").read_text()
    assert (tmp_path / "figures" / "lr_finder.png").is_file()


def test_early_stopping_ends_the_run(tiny, tmp_path):
    # A rate this small changes nothing, so the second validation is no better than the first.
    arguments = ["schedule.epochs=9", "schedule.patience=1", "schedule.lr=1e-12"]
    geomm.train([*tiny, f"work_dir={tmp_path}", *arguments])
    assert json.loads((tmp_path / "metrics.json").read_text())["epochs"] < 9


def test_wrong_arguments_are_all_named_before_any_data_is_read(tiny, tmp_path):
    with pytest.raises(ConfigError) as caught:
        geomm.train(
            [
                *tiny,
                f"work_dir={tmp_path / 'x'}",
                "+head.widht=3",
                "task.augment.flip.type=RandomFlop",
                "schedule.optimizer.type=Adma",
                "+backbone.depht=1",
            ]
        )
    message = str(caught.value)
    assert "head.widht: UNetHead has no argument 'widht'" in message
    assert "task.augment.flip.type: unknown transform 'RandomFlop'; did you mean 'RandomFlip'?" in message
    assert "unknown optimizer 'Adma'; did you mean 'Ada" in message
    assert "backbone.depht: TimmBackbone has no argument 'depht'" in message
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_ctrl_c_leaves_a_usable_package(tiny, tmp_path, root):
    command = [
        sys.executable,
        "tools/train.py",
        *tiny,
        f"work_dir={tmp_path}",
        "schedule.epochs=200",
    ]
    process = subprocess.Popen(
        command,
        cwd=root,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background lets its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "last.pth").is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "resume=true" in errors
    assert geomm.load(tmp_path / "model.dlpk").task.name == "segmentation"


@pytest.mark.slow
def test_a_killed_sweep_goes_on_and_ends_with_a_leaderboard(tiny, tmp_path, root):
    command = [
        sys.executable, "tools/train.py", "-m", *tiny, f"work_dir={tmp_path}", "schedule.epochs=2",
        "schedule.lr=1e-3,1e-2", "loss=cross_entropy,dice",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=root, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / "1" / "last.pth").is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    package = (tmp_path / "0" / "model.dlpk").stat().st_mtime_ns
    assert not (tmp_path / "1" / "metrics.json").exists()
    more = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    done = subprocess.run([*command, *more], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "not trained again" in done.stderr
    assert (tmp_path / "0" / "model.dlpk").stat().st_mtime_ns == package
    log = (tmp_path / "1" / "train.log").read_text()
    assert log.count("epoch 1/2:") == 1 and log.count("epoch 2/2:") == 1  # went on with the second
    import csv

    rows = list(csv.DictReader((tmp_path / "leaderboard.csv").open()))
    assert {(row["schedule.lr"], row["loss"]) for row in rows} == {
        (lr, loss) for lr in ("0.001", "0.01") for loss in ("cross_entropy", "dice")
    }
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert all((tmp_path / row["run"] / "model.dlpk").is_file() for row in rows)
    assert "Leaderboard by mIoU" in done.stderr
