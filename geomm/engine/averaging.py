"""A moving average of the weights beside training."""

from __future__ import annotations

import torch
from mmengine.model import BaseAveragedModel
from torch import Tensor, nn

from geomm.registry import MODELS


@MODELS.register_module()
class MovingAverage(BaseAveragedModel):
    """Exponential moving average of the weights over the steps (Polyak and Juditsky, 1992).

    Of the first steps n it is over fewer, with a decay of (1 + n) / (10 + n), so that the weights that
    chance gave are soon forgotten.

    Args:
      model: what is averaged; statistics of normalisations are taken as they are.
      decay: share of the average that stays in a step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model)
        self.decay = decay

    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps: int) -> None:
        averaged_param.lerp_(source_param, self._weight(steps))

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        averaged: list[Tensor] = list(self.module.parameters())
        source: list[Tensor] = list(model.parameters())
        torch._foreach_lerp_(averaged, source, self._weight(int(self.steps)))
        for average, own in zip(self.module.buffers(), model.buffers(), strict=True):
            average.copy_(own)
        self.steps += 1

    def _weight(self, steps: int) -> float:
        return 1 - min(self.decay, (1 + steps) / (10 + steps))
