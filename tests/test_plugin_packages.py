"""The worked examples of external models: installed as a user would, trained, mapped, packaged."""

import os
import subprocess
import sys

import geopandas
import pytest
import rasterio

from tests.engine.conftest import tiny  # noqa: F401
from tests.tasks.test_detection import scene  # noqa: F401

PACKAGES = "docs/plugin_packages"
#: Lines of a package, blank ones too: Python, config and pyproject.toml.
MOST_LINES = 60


@pytest.fixture(scope="module")
def site(tmp_path_factory, root):
    """A folder with both packages installed, for PYTHONPATH."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps"]
    packages = [str(path) for path in sorted((root / PACKAGES).iterdir())]
    subprocess.run([*pip, "--no-build-isolation", "--target", str(folder), *packages], check=True)
    return folder


def run(root, site, tool, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, f"tools/{tool}.py", *arguments]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_each_is_short_and_the_docs_say_how_short(root):
    docs = (root / "docs" / "plugins.md").read_text(encoding="utf-8")
    for package in sorted((root / PACKAGES).iterdir()):
        files = [path for path in package.rglob("*") if path.suffix in (".py", ".yaml", ".toml")]
        assert len(files) == 3
        lines = sum(len(path.read_text().splitlines()) for path in files)
        assert lines <= MOST_LINES, package.name
        row = next(line for line in docs.splitlines() if line.startswith(f"| `{PACKAGES}/{package.name}`"))
        assert row.endswith(f" {lines} |")


@pytest.mark.slow
def test_torchvisions_fcos_finds_squares(root, site, scene, tmp_path):  # noqa: F811
    image, labels = scene
    run(
        root, site, "train", "task=detection", "head=torchvision_fcos", f"dataset.images={image}",
        f"dataset.labels={labels}", "dataset.label_field=kind", "dataset.window_px=64",
        "dataset.windows_per_epoch=32", "schedule.epochs=5", "task.monitor=AP", "schedule.batch_size=4",
        "schedule.lr=2e-3", "runtime.workers=0", "runtime.device=cpu", "tracking=none",
        f"work_dir={tmp_path}",
    )  # fmt: skip
    package = f"model={tmp_path / 'model.dlpk'}"
    out = tmp_path / "out"
    shown = "inference.score_threshold=0.4"
    run(root, site, "infer", package, f"input={image}", f"output={out}", "inference.device=cpu", shown)
    found = geopandas.read_file(out / "squares.gpkg", layer="squares")
    truth = geopandas.read_file(labels)
    hit = geopandas.sjoin(truth, found, predicate="intersects")
    assert len(set(hit.index)) > 0.5 * len(truth)


@pytest.mark.slow
def test_smps_network_learns_geomms_loss_goes_on_and_is_exported(root, site, tiny, tmp_path):  # noqa: F811
    data = [item for item in tiny if item.startswith(("dataset", "runtime", "schedule", "tracking"))]
    train = [*data, "head=smp", "head.arch=unet", "loss=focal", f"work_dir={tmp_path}"]
    run(root, site, "train", *train, "schedule.epochs=1")
    said = run(root, site, "train", *train, "schedule.epochs=2", "resume=true")
    assert "epoch 2/2" in said and "epoch 1/2" not in said
    package = f"model={tmp_path / 'model.dlpk'}"
    image = tiny[0].partition("=")[2]
    run(root, site, "infer", package, f"input={image}", f"output={tmp_path / 'out'}")
    with rasterio.open(tmp_path / "out" / "scene.tif") as mapped:
        assert mapped.read(1).max() == 1
    said = run(
        root, site, "package", "export", package, "format=torchscript", f"output={tmp_path / 'export'}"
    )
    assert "differs from torch by at most" in said
