"""What docs/architecture.md says of a newcomer's first parts: one file in the package, one in configs/."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.engine.conftest import tiny  # noqa: F401

PARTS = {
    "geomm/models/stripes.py": """
        from torch import nn
        from geomm.models.wiring import FeatureInfo
        from geomm.registry import BACKBONES

        @BACKBONES.register_module()
        class Stripes(nn.Module):
            def __init__(self, *, in_channels, width=8):
                super().__init__()
                self.conv = nn.Conv2d(in_channels, width, 3, 2, 1)
                self.features = (FeatureInfo(width, stride=2),)

            def forward(self, inputs):
                return (self.conv(inputs).relu(),)
        """,
    "configs/backbone/stripes.yaml": """
        # One layer.
        type: Stripes
        width: 12
        """,
    "geomm/models/heads/dots.py": """
        from torch import nn
        from geomm.registry import HEADS

        @HEADS.register_module()
        class Dots(nn.Module):
            def __init__(self, *, features, num_classes, bias=True):
                super().__init__()
                self.score = nn.Conv2d(features[-1].channels, num_classes, 1, bias=bias)

            def forward(self, maps):
                return self.score(maps[-1])
        """,
    "configs/head/dots.yaml": """
        # A score a pixel.
        type: Dots
        tasks: [segmentation]
        bias: false
        """,
    "geomm/datasets/listed.py": """
        from geomm.datasets.maps.geotiff import GeoTiffScenes
        from geomm.registry import DATASETS

        @DATASETS.register_module()
        class Listed(GeoTiffScenes):
            def __init__(self, *, listing, **options):
                images, labels = open(listing).read().split()
                super().__init__(images=images, labels=labels, **options)
        """,
    "configs/dataset/listed.yaml": """
        # Scenes and labels that a text file names.
        type: Listed
        tasks: [segmentation]
        listing: ???
        window_px: 64
        windows_per_epoch: 16
        """,
    "geomm/metrics/errors.py": """
        from mmengine.evaluator import BaseMetric
        from geomm.registry import METRICS

        @METRICS.register_module()
        class WrongPixels(BaseMetric):
            default_prefix = ""

            def process(self, data_batch, data_samples):
                self.results += [int((s["prediction"] != s["mask"]).sum()) for s in data_samples]

            def compute_metrics(self, results):
                return {"wrong": sum(results)}
        """,
}


def write_parts(root):
    import textwrap

    for path, text in PARTS.items():
        assert not (root / path).exists()
        (root / path).write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    task = root / "configs" / "task" / "segmentation.yaml"
    text = task.read_text(encoding="utf-8")
    assert text.count("metrics: {}") == 1
    task.write_text(text.replace("metrics: {}", "metrics: {wrong: {type: WrongPixels}}"), encoding="utf-8")


@pytest.mark.slow
def test_a_backbone_a_head_a_dataset_and_a_metric_are_a_file_in_the_package_and_one_in_configs(
    root,
    tmp_path,
    tiny,  # noqa: F811
):
    copy = tmp_path / "geomm"
    for folder in ("geomm", "configs", "tools"):
        shutil.copytree(root / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    write_parts(copy)
    given = dict(item.split("=", 1) for item in tiny if item.startswith("dataset."))
    (tmp_path / "list.txt").write_text(f"{given['dataset.images']}\n{given['dataset.labels']}\n")
    command = [
        sys.executable, "tools/train.py", "dataset=listed", f"dataset.listing={tmp_path / 'list.txt'}",
        "backbone=stripes", "backbone.width=8", "head=dots", "schedule.epochs=1", "schedule.lr=1e-3",
        "runtime.workers=0", "tracking=none", f"work_dir={tmp_path / 'run'}",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["val"]["wrong"] > 0
    # A mistake in them is found before anything is loaded, as in geomm's own.
    done = subprocess.run([*command, "head.biass=true"], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 2 and "bias" in done.stderr + done.stdout
