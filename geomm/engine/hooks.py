"""Hooks of mmengine's Runner that make a run resumable to the bit, and that stop it in time."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from geomm.engine.run_folder import BEST, LAST
from geomm.errors import ConfigError, Problem, did_you_mean
from geomm.registry import HOOKS

__all__ = ["BEST", "LAST", "STATE", "EpochCheckpointHook", "EpochSeedHook", "FreezeHook", "save_checkpoint"]
#: Under which mmengine's message hub keeps the best score.
STATE = "geomm_best"


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seeds every random generator from (seed, epoch) as an epoch begins.

    A resumed run restarts at an epoch's beginning, so it meets the same dropout and mixup draws as
    one that was never interrupted, without any generator's state being stored.
    """

    priority = "VERY_HIGH"

    def __init__(self, *, seed: int) -> None:
        self.seed = seed

    def before_train_epoch(self, runner: Runner) -> None:
        rank = get_rank()  # of several processes each drops other units, of other samples
        state = np.random.SeedSequence([self.seed, runner.epoch, *([rank] if rank else [])]).generate_state(1)
        seed = int(state[0])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)


@HOOKS.register_module()
class EpochCheckpointHook(Hook):
    """Saves ``last.pth`` after each epoch's validation, ``best.pth`` when it is better, and stops early.

    A checkpoint appears by rename, so a kill at any moment leaves a whole one. The best score and
    the epochs without a better one travel inside it, so that a resumed run stops at the same epoch.

    Args:
      monitor: name of the validation metric.
      rule: ``greater`` or ``less``, what is better.
      patience: validations without a better score before training stops, None for never.
    """

    priority = "VERY_LOW"

    def __init__(self, *, monitor: str, rule: str = "greater", patience: int | None = None) -> None:
        self.monitor = monitor
        self.sign = 1.0 if rule == "greater" else -1.0
        self.patience = patience

    def state(self, runner: Runner) -> dict[str, Any]:
        """Best score so far (``score``), its ``epoch``, and ``waited`` validations since."""
        info = runner.message_hub.runtime_info
        return dict(info.get(STATE) or {"score": None, "epoch": 0, "waited": 0})

    def before_train(self, runner: Runner) -> None:
        # A run that was killed after it stopped early has nothing left to train.
        if self.patience is not None and self.state(runner)["waited"] >= self.patience:
            runner.train_loop.stop_training = True

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if not runner.geomm_training:
            return
        self._check_measured(metrics or {})
        value = float((metrics or {}).get(self.monitor, math.nan))
        state = self.state(runner)
        score = state["score"]
        better = not math.isnan(value) and (score is None or self.sign * (value - score) > 0)
        if better:
            state = {"score": value, "epoch": runner.epoch, "waited": 0}
        else:
            state["waited"] += 1
        runner.message_hub.update_info(STATE, state)
        if self.patience is not None and state["waited"] >= self.patience:
            runner.train_loop.stop_training = True
            runner.logger.info("no better %s for %d validations: stopping", self.monitor, self.patience)
        if better:
            save_checkpoint(runner, BEST)
        save_checkpoint(runner, LAST)

    def _check_measured(self, metrics: Mapping[str, float]) -> None:
        """Raise a ConfigError at the first validation rather than let nothing be the best to the end."""
        base = self.monitor.partition("/")[0]
        measured = {name.partition("/")[0] for name in metrics}
        of_classes = {name for name in metrics if name.startswith(f"{base}/")}
        # Where nothing is found yet, a class may have no figure yet.
        if base not in measured or (of_classes and self.monitor not in metrics):
            near = did_you_mean(self.monitor, {base, *of_classes} if of_classes else measured)
            raise ConfigError([Problem("task.monitor", f"found {self.monitor!r}; {near}")])

    def after_train_epoch(self, runner: Runner) -> None:
        # Epochs without validation are saved too; the loop counts this epoch as done right after.
        validates = runner.val_loop is not None and not (runner.epoch + 1) % runner.train_loop.val_interval
        if not validates:
            save_checkpoint(runner, LAST, epoch=runner.epoch + 1)


def save_checkpoint(runner: Runner, name: str, *, epoch: int | None = None) -> None:
    """Save model, optimizer, schedule and messages as ``name`` in the run's folder, atomically.

    Called by all processes, of which the first writes.
    """
    folder = Path(runner.work_dir)
    temporary = f"{name}.tmp"
    meta = {"epoch": runner.epoch if epoch is None else epoch, "iter": runner.iter}
    runner.save_checkpoint(str(folder), temporary, meta=meta, by_epoch=True)
    if is_main_process():
        os.replace(folder / temporary, folder / name)


@HOOKS.register_module()
class FreezeHook(Hook):
    """Keeps parts of the model fixed for the first epochs, to tune a pretrained backbone gently.

    Args:
      epochs: how many epochs the parts stay fixed.
      parts: prefixes of parameter names.
    """

    def __init__(self, *, epochs: int, parts: tuple[str, ...] = ("backbone.",)) -> None:
        self.epochs = epochs
        self.parts = tuple(parts)

    def before_train_epoch(self, runner: Runner) -> None:
        model = runner.model.module if hasattr(runner.model, "module") else runner.model
        frozen = runner.epoch < self.epochs
        for name, parameter in model.named_parameters():
            if name.startswith(self.parts):
                parameter.requires_grad_(not frozen)
        if is_main_process() and runner.epoch in (0, self.epochs):
            runner.logger.info("%s: %s", ", ".join(self.parts), "frozen" if frozen else "trained")
