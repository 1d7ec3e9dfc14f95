"""What moves the weights: the optimizer, its precision, and the course of its rate, from a schedule."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler.momentum_scheduler import MomentumSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler
from mmengine.registry import OPTIMIZERS
from torch import nn

from geomm.models.precision import computes_in_bf16

_LOG = logging.getLogger("geomm")

#: The momentum that one cycle runs through, falling while the learning rate rises.
_HIGH_MOMENTUM, _LOW_MOMENTUM = 0.95, 0.85
#: Adam's second beta.
_BETA_OF_SQUARES = 0.999


class CpuAmpOptimWrapper(OptimWrapper):
    """Runs the forward pass in bfloat16 on a CPU; mmengine's ``AmpOptimWrapper`` wants a GPU."""

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        with super().optim_context(model), torch.autocast("cpu", dtype=torch.bfloat16):
            yield


def optim_wrapper(schedule: dict[str, Any], runtime: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Return mmengine's config of a schedule's optimizer, with its precision and its bound of gradients.

    Args:
      schedule: resolved; ``lr`` a number.
      runtime: ``amp`` and ``shard`` count here.
      device: that it runs on.
    """
    optimizer = {**schedule["optimizer"], "lr": float(schedule["lr"])}
    if schedule["policy"] == "one_cycle" and _cycles_momentum(optimizer):
        optimizer["betas"] = (_HIGH_MOMENTUM, _BETA_OF_SQUARES)
    if {"betas", "fused"} <= _arguments(optimizer) and not runtime.get("shard"):
        # Adam's step as one pass over the parameters, on a CPU too, rather than one an operation.
        optimizer.setdefault("fused", True)
    wrapper: dict[str, Any] = {
        "type": "OptimWrapper",
        "optimizer": optimizer,
        "accumulative_counts": schedule["accumulate"],
    }
    if schedule["clip_grad_norm"]:
        wrapper["clip_grad"] = {"max_norm": float(schedule["clip_grad_norm"])}
    if device.type == "cpu" and runtime["amp"] == "bf16":
        wrapper["type"] = CpuAmpOptimWrapper
        if not computes_in_bf16(device):
            _LOG.warning(
                "runtime.amp=bf16: this processor has no bfloat16 instructions and emulates them, "
                "many times slower than runtime.amp=false"
            )
    elif device.type == "cuda" and runtime["amp"] is not False:
        bf16 = runtime["amp"] == "bf16" or (runtime["amp"] == "auto" and computes_in_bf16(device))
        wrapper |= {"type": "AmpOptimWrapper", "dtype": "bfloat16" if bf16 else "float16"}
        wrapper |= {} if bf16 else {"loss_scale": "dynamic"}
    return wrapper


def param_scheduler(schedule: dict[str, Any], steps_an_epoch: int) -> list[dict[str, Any]]:
    """Return mmengine's configs of the learning rate's course, and of the momentum's, in steps."""
    total = max(schedule["epochs"] * steps_an_epoch, 1)
    warm = min(round(schedule["warmup"] * total), total - 1)
    lr = float(schedule["lr"])
    if schedule["policy"] == "one_cycle":
        return _one_cycle(schedule["optimizer"], lr, total, float(schedule["warmup"]))
    course: list[dict[str, Any]] = []
    if warm:
        course.append({"type": "LinearLR", "start_factor": 0.01, "end": warm, "by_epoch": False})
    if schedule["policy"] == "cosine":
        course.append(
            {
                "type": "CosineAnnealingLR",
                "T_max": max(total - warm, 1),
                "eta_min": lr * 1e-3,
                "begin": warm,
                "end": total,
                "by_epoch": False,
            }
        )
    return course


def _one_cycle(optimizer: dict[str, Any], lr: float, total: int, warmup: float) -> list[dict[str, Any]]:
    """Return one cycle of the rate and, against it, of the momentum (Smith 2018, arXiv:1803.09820)."""
    if total < 4:  # too short for a cycle
        return []
    rise = min(max(warmup, 2.0 / total), 1.0 - 1.0 / total)
    course: list[dict[str, Any]] = [
        {
            "type": "OneCycleLR",
            "eta_max": lr,
            "total_steps": total,
            "pct_start": rise,
            "by_epoch": False,
        }
    ]
    if not _cycles_momentum(optimizer):
        return course
    return [
        *course,
        {"type": OneCycleMomentum, "turn": rise * total - 1, "last": total - 1, "by_epoch": False},
    ]


class _MomentumCycle(_ParamScheduler):
    """Lets a parameter of the optimizer fall to a turning point and rise again, along cosines."""

    def __init__(self, optimizer: Any, param_name: str, *, turn: float, last: float, **kwargs: Any) -> None:
        self.turn, self.last = turn, last
        super().__init__(optimizer, param_name, **kwargs)

    def _get_value(self) -> list[float]:
        if self.last_step <= self.turn:
            fallen = self.last_step / self.turn
        else:
            fallen = max(self.last - self.last_step, 0.0) / (self.last - self.turn)
        share = (1.0 - math.cos(math.pi * fallen)) / 2.0
        return [_HIGH_MOMENTUM + (_LOW_MOMENTUM - _HIGH_MOMENTUM) * share] * len(self.optimizer.param_groups)


class OneCycleMomentum(MomentumSchedulerMixin, _MomentumCycle):
    """What ``torch.optim.lr_scheduler.OneCycleLR`` does to the momentum; mmengine's moves the rate alone.

    Args:
      turn: the step, fractions included, at which momentum is lowest.
      last: the step at which it is back.
    """


def _cycles_momentum(optimizer: dict[str, Any]) -> bool:
    """Say whether the one cycle may set the optimizer's first beta: it has one, and the user chose none."""
    return "betas" not in optimizer and "betas" in _arguments(optimizer)


def _arguments(optimizer: dict[str, Any]) -> set[str]:
    """Return what an optimizer's constructor takes; nothing of one that is not known."""
    kind = OPTIMIZERS.get(optimizer["type"])
    return set() if kind is None else set(inspect.signature(kind).parameters)
