"""The wheel: its commands train and map outside the checkout, with the configs it carries."""

import os
import subprocess
import sys

import pytest

from tests.engine.conftest import tiny  # noqa: F401


@pytest.fixture(scope="module")
def installed(tmp_path_factory, root):
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(root)],
        check=True,
    )
    wheel = next(folder.glob("*.whl"))
    site = folder / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    return site


@pytest.mark.slow
def test_the_installed_commands_train_and_map(installed, tiny, tmp_path):  # noqa: F811
    environment = {**os.environ, "PYTHONPATH": str(installed)}

    def run(command, *arguments):
        return subprocess.run(
            [str(installed / "bin" / command), *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True,
        )  # fmt: skip

    where = [sys.executable, "-c", "import geomm; print(geomm.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert str(installed) in found.stdout
    assert "Groups:" in run("geomm-train", "--help").stdout
    done = run("geomm-train", *tiny, "work_dir=run", "schedule.epochs=1")
    assert done.returncode == 0, done.stderr
    scene = tiny[0].partition("=")[2]
    done = run("geomm-infer", "model=run/model.dlpk", f"input={scene}", "output=out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "scene.tif").is_file()
    wrong = run("geomm-infer", "model=run/modl.dlpk", f"input={scene}", "output=out")
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr
