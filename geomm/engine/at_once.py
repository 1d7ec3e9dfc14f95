"""Models that are fitted by one call rather than by steps: the part of a Runner that they need."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric
from torch.utils.data import DataLoader

from geomm.engine.runner import evaluate

_LOG = logging.getLogger("geomm")


class AtOnceRunner:
    """Fits a model with ``fit_at_once(dataset)``; the same results as a ``TrainingRunner`` to who asks.

    Args:
      model: with that method.
      rows: the training dataset.
    """

    def __init__(self, model: Any, rows: Any) -> None:
        self.model, self.rows = model, rows
        self.epoch = 0

    def train_interruptibly(self) -> bool:
        """Fit; Ctrl-C ends the run, since half a fit is no model."""
        started = time.monotonic()
        self.model.fit_at_once(self.rows)
        self.epoch = 1
        _LOG.info("fitted to %d samples in %.1f s", len(self.rows), time.monotonic() - started)
        return False

    @property
    def bare_model(self) -> Any:
        """The model."""
        return self.model

    @property
    def best(self) -> dict[str, Any]:
        """There is one epoch, and it is the best."""
        return {"score": None, "epoch": self.epoch, "waited": 0}

    def load_best(self, name: str = "") -> None:
        """Do nothing: there is nothing to choose from."""

    def evaluate(self, loader: DataLoader[Any], metrics: Sequence[BaseMetric]) -> dict[str, float]:
        """Run an evaluation; the metric objects keep what they accumulated."""
        return evaluate(self.model, loader, metrics)

    def history(self) -> dict[str, list[tuple[int, float]]]:
        """There are no steps, so there are no curves."""
        return {}
