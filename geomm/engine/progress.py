"""Progress of a training run: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import psutil
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from geomm.engine.epoch_table import EpochTable
from geomm.registry import HOOKS
from geomm.visualization.notebook import in_notebook

_LOG = logging.getLogger("geomm")
_SECONDS_BETWEEN_LINES = 15.0


@HOOKS.register_module()
class ProgressHook(Hook):
    """Shows epoch, loss, rate, time left and memory while training, and each validation's result.

    Args:
      monitor: the validation metric to show.
      plain: lines even on a terminal.
    """

    priority = "LOW"

    def __init__(self, *, monitor: str, plain: bool = False) -> None:
        self.monitor = monitor
        self.live = not plain and sys.stderr.isatty()
        self._bar: Any = None
        self._page: EpochTable | None = EpochTable(monitor) if in_notebook() and not plain else None
        self._started = self._line_at = 0.0
        self._first_iter = 0
        self._loss = float("nan")

    def before_train(self, runner: Runner) -> None:
        self._started = self._line_at = time.monotonic()
        self._first_iter = runner.iter
        if self._page is not None and is_main_process():
            self._page.show(runner.epoch, runner.max_epochs)
        if not (self.live and is_main_process()):
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            TextColumn("<"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._bar.start()
        self._task = self._bar.add_task("training", total=runner.max_iters, completed=runner.iter, detail="")

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if outputs and "loss" in outputs:
            self._loss = float(torch.as_tensor(outputs["loss"]).detach())
        done = runner.iter + 1
        elapsed = time.monotonic() - self._started
        rate = (done - self._first_iter) / max(elapsed, 1e-9)
        if self._bar is not None:
            detail = f"loss {self._loss:.4f}  {rate:.2f} it/s  {memory()}"
            label = f"epoch {runner.epoch + 1}/{runner.max_epochs}"
            self._bar.update(self._task, completed=done, description=label, detail=detail)
        elif self._page is not None:
            self._page.step(done, runner.max_iters, self._loss, rate)
        elif is_main_process() and time.monotonic() - self._line_at > _SECONDS_BETWEEN_LINES:
            self._line_at = time.monotonic()
            left = (runner.max_iters - done) / max(rate, 1e-9)
            _LOG.info(
                "epoch %d/%d, step %d/%d: loss %.4f, %.2f steps/s, %s left, %s",
                *(runner.epoch + 1, runner.max_epochs, done, runner.max_iters),
                *(self._loss, rate, clock(left), memory()),
            )

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if not (runner.geomm_training and is_main_process()):
            return
        value = (metrics or {}).get(self.monitor, float("nan"))
        text = f"epoch {runner.epoch}/{runner.max_epochs}: loss {self._loss:.4f}, {self.monitor} {value:.4f}"
        if self._page is not None:
            self._page.add(runner.epoch, self._loss, metrics or {}, time.monotonic() - self._started)
        elif self._bar is not None:
            self._bar.console.print(text, highlight=False)
        else:
            _LOG.info(text)

    def after_train(self, runner: Runner) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar off the terminal; safe to call twice."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def memory() -> str:
    """Return the memory in use, the GPU's where there is one."""
    if torch.cuda.is_available():
        return f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GB GPU"
    return f"{psutil.Process().memory_info().rss / 2**30:.1f} GB"


def clock(seconds: float) -> str:
    """Return seconds as ``h:mm:ss`` or ``m:ss``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
