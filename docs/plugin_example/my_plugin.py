"""A plugin: every kind of part that a user may bring, each registered by a decorator.

Train with them: python tools/train.py plugins=[my_plugin] backbone=TinyBackbone head=PixelHead …
"""

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from torch import nn

from geomm.datasets import GeoTiffScenes
from geomm.models import FeatureInfo
from geomm.registry import BACKBONES, DATASETS, HEADS, HOOKS, LOSSES, METRICS, TRANSFORMS
from geomm.structures import IGNORE_INDEX


@BACKBONES.register_module()
class TinyBackbone(nn.Module):
    """Two stages. A backbone says what its maps are, so that any head can sit on it."""

    def __init__(self, *, in_channels: int, width: int = 16) -> None:
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(in_channels, width, 3, 2, 1), nn.ReLU())
        self.coarse = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU())
        self.features = (FeatureInfo(width, stride=2), FeatureInfo(2 * width, stride=4))

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        fine = self.fine(inputs)
        return fine, self.coarse(fine)


@HEADS.register_module()
class PixelHead(nn.Module):
    """A score a class from the finest map; geomm brings it to the input's size."""

    def __init__(self, *, features: tuple[FeatureInfo, ...], num_classes: int) -> None:
        super().__init__()
        self.score = nn.Conv2d(features[0].channels, num_classes, 1)

    def forward(self, features: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return self.score(features[0])


@LOSSES.register_module()
class SquaredErrorLoss(nn.Module):
    """Squared error of the probabilities (Brier score) over labelled pixels."""

    def __init__(self, *, spec: object) -> None:
        super().__init__()

    def forward(self, scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        keep = target != IGNORE_INDEX
        truth = nn.functional.one_hot(target[keep], scores.shape[1]).float()
        return ((scores.softmax(1).permute(0, 2, 3, 1)[keep] - truth) ** 2).sum(1).mean()


@TRANSFORMS.register_module()
class Haze:
    """Brightens a window; the generator makes it the same in a resumed run."""

    def __init__(self, *, most: float = 100.0) -> None:
        self.most = most

    def __call__(self, sample, rng: np.random.Generator):
        sample.image = sample.image.astype(np.float32) + rng.uniform(0, self.most)
        return sample


@DATASETS.register_module()
class HalvedScenes(GeoTiffScenes):
    """A dataset of one's own may build on one of geomm's: here, half the windows an epoch."""

    def prepare(self, cache):
        spec = super().prepare(cache)
        self.split("train").count //= 2
        return spec


@METRICS.register_module()
class ErrorRate(BaseMetric):
    """Share of labelled pixels that are wrong."""

    default_prefix = ""

    def process(self, data_batch, data_samples) -> None:
        for sample in data_samples:
            keep = sample["mask"] != IGNORE_INDEX
            wrong = (sample["prediction"] != sample["mask"])[keep]
            self.results.append((int(wrong.sum()), int(keep.sum())))

    def compute_metrics(self, results):
        wrong, total = np.sum(results, axis=0)
        return {"error_rate": wrong / max(total, 1)}


@HOOKS.register_module()
class EpochCounter(Hook):
    """Writes a line after each epoch."""

    def after_train_epoch(self, runner) -> None:
        runner.logger.info("my_plugin: epoch %d is done", runner.epoch + 1)
