"""What the tests of models share: specs, composed configs, small batches."""

import copy
import functools

import torch
import yaml
from torch import nn

from geomm.config.compose import compose, config_dir, hydra_session, resolve
from geomm.models.maps.segmentor import Segmentor
from geomm.models.wiring import FeatureInfo
from geomm.structures import IGNORE_INDEX, BandStatistics, RasterSpec, make_classes


def make_spec(bands=3, classes=("soil", "water", "tree"), class_pixels=(1, 100, 1000), **changes):
    statistics = BandStatistics((0.0,) * bands, (1.0,) * bands, (0.5,) * bands, (0.25,) * bands, count=9)
    return RasterSpec(
        bands=tuple(range(1, bands + 1)),
        band_names=tuple(f"band_{index + 1}" for index in range(bands)),
        dtype="uint16",
        statistics=changes.pop("statistics", statistics),
        classes=make_classes(classes),
        window_px=changes.pop("window_px", 64),
        class_pixels=class_pixels,
        **changes,
    )


@functools.cache
def _composed(overrides):
    paths = ["work_dir=x", "dataset.images=x", "dataset.labels=x"]
    with hydra_session():
        return resolve(compose("train", [*paths, *overrides]))


def composed(*overrides):
    return copy.deepcopy(_composed(overrides))


def group(name):
    return sorted(path.stem for path in (config_dir() / name).glob("*.yaml"))


def heads_of(task):
    """Return the heads by name that serve a task."""
    files = sorted((config_dir() / "head").glob("*.yaml"))
    return [file.stem for file in files if task in yaml.safe_load(file.read_text()).get("tasks", [])]


def make_segmentor(head="unet", backbone="resnet18", loss="cross_entropy", bands=3, **changes):
    config = composed(f"head={head}", f"backbone={backbone}", f"loss={loss or 'cross_entropy'}")
    torch.manual_seed(0)
    return Segmentor(
        backbone=config["backbone"],
        head=config["head"],
        loss=config["loss"] if loss else None,
        spec=changes.pop("spec", None) or make_spec(bands),
        **changes,
    )


def make_batch(bands=3, count=2, height=64, width=64, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, bands, height, width, generator=generator)
    mask = torch.randint(0, classes, (count, height, width), generator=generator)
    return inputs, mask.to(torch.uint8)


def unlabelled(mask):
    return torch.full_like(mask, IGNORE_INDEX)


class Unpadded(nn.Module):
    """A map of as many cells as are asked for, each holding its own column."""

    def __init__(self, height, width):
        super().__init__()
        self.features, self.size = (FeatureInfo(1, 8),), (height, width)

    def forward(self, inputs):
        height, width = self.size
        return (torch.arange(float(width)).expand(1, 1, height, width),)
