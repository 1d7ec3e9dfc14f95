"""Plugins: the worked example trains and maps, from outside the package."""

import json
import os
import subprocess
import sys

import pytest

from geomm.config.check import check
from geomm.errors import ConfigError
from geomm.plugins import default_options, load_plugins, named_plugins
from tests.engine.conftest import tiny  # noqa: F401

PARTS = [
    "backbone=TinyBackbone",
    "backbone.width=8",
    "head=PixelHead",
    "loss=SquaredErrorLoss",
    "dataset=HalvedScenes",
    "task.augment.haze={type: Haze, most: 50}",
    "task.metrics.wrong={type: ErrorRate}",
    "hooks.count={type: EpochCounter}",
    "schedule.epochs=2",
]


def test_the_worked_example_trains_and_maps(tiny, tmp_path, root):  # noqa: F811
    keep = [item for item in tiny if not item.startswith(("backbone", "head"))]
    plugin = f"{root / 'docs' / 'plugin_example'}"
    environment = {**os.environ, "PYTHONPATH": plugin}
    train = [sys.executable, "tools/train.py", "plugins=[my_plugin]", *keep, *PARTS]
    done = subprocess.run(
        [*train, f"work_dir={tmp_path}"], cwd=root, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["val"]["error_rate"] == pytest.approx(1 - metrics["val"]["accuracy"])
    assert "8 training" in (tmp_path / "train.log").read_text()
    log = next(tmp_path.glob("*/*.log")).read_text()
    assert "my_plugin: epoch 2 is done" in log
    infer = [sys.executable, "tools/infer.py", f"model={tmp_path / 'model.dlpk'}", tiny[0][8:]]
    infer[-1] = f"input={tiny[0].partition('=')[2]}"
    without = subprocess.run([*infer, f"output={tmp_path / 'o'}"], cwd=root, capture_output=True, text=True)
    assert without.returncode == 1
    assert "plugins=['my_plugin']: give the same" in without.stderr
    done = subprocess.run(
        [*infer, f"output={tmp_path / 'o'}", "plugins=[my_plugin]"],
        cwd=root, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "o" / "scene.tif").is_file()


def test_plugins_are_read_from_a_command_line():
    named = named_plugins(["head=unet", "plugins=[one, two.three]"])
    assert named[-2:] == ["one", "two.three"]


def test_a_module_that_is_not_there_is_a_config_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_plugin.py").write_text("")
    with pytest.raises(ConfigError, match=r"no module 'my_plugn'.*did you mean 'my_plugin'"):
        load_plugins(["my_plugn"])


def test_a_package_brings_config_groups_of_its_own(tmp_path, monkeypatch, root):
    package = tmp_path / "brings_configs"
    (package / "configs" / "head").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "configs" / "head" / "odd_unet.yaml").write_text(
        "type: UNetHead\ntasks: [segmentation]\nchannels: [8, 8, 8, 8, 8]\ndropout: 0.0\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    load_plugins(["brings_configs"])
    given = [
        f"dataset.images={root / 'pyproject.toml'}",
        f"dataset.labels={root / 'pyproject.toml'}",
    ]
    assert check("train", [*given, "head=odd_unet"], ["brings_configs"]).problems == ()
    assert check("train", [*given, "head=odd_unet"]).problems != ()


def test_a_class_gives_its_own_options():
    class Part:
        def __init__(self, *, in_channels, width=3, sizes=(1, 2), needed):
            pass

    assert default_options(Part) == {"width": 3, "sizes": [1, 2], "needed": "???"}
