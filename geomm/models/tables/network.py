"""Networks over the columns of a table: everything but the layers."""

from __future__ import annotations

import abc
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomm.models.tables.model import TableModel
from geomm.transforms.table import Encoded

#: Rows a step of prediction: few enough to stay in a CPU's cache.
_CHUNK = {"cpu": 16384, "cuda": 1048576}


class TableNetwork(TableModel):
    """A model of rows that learns by gradients; derived classes bring the layers and the loss.

    Args:
      spec: what the rows are.
    """

    @abc.abstractmethod
    def scores(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """Return logits (B, K), or learnt values (B, T)."""

    def training_scores(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """Return what ``losses`` judges: the scores, unless a model has more of them while it learns."""
        return self.scores(numbers, categories)

    @abc.abstractmethod
    def losses(self, scores: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return a batch's named losses."""

    def forward(
        self,
        numbers: Tensor,
        categories: Tensor,
        target: Tensor | None = None,
        row: Any = None,
        mode: str = "tensor",
    ) -> Any:
        """Run the network on prepared rows.

        Args:
          numbers: (B, F) float32.
          categories: (B, C) int64.
          target: (B, T) float32 as learnt, or (B,) int64 class indices.
          row: (B,) numbers of the rows.
          mode: ``tensor`` for scores (B, K), ``loss`` for named losses, ``predict`` for a list of one
            dict with the whole batch's ``prediction``, ``target`` and ``row``.
        """
        if mode == "loss":
            assert target is not None
            return self.losses(self.training_scores(numbers, categories), target)
        if mode == "tensor":
            return self.scores(numbers, categories)
        return self.predicted(
            Encoded(numbers.cpu().numpy(), categories.cpu().numpy()), target, row.cpu().numpy()
        )

    @torch.inference_mode()
    def score_batch(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """Return (n, K) probabilities or (n, T) learnt values of any number of rows, on its device."""
        device = self.spread.device
        step = _CHUNK.get(device.type, _CHUNK["cpu"])
        found = []
        for first in range(0, max(len(numbers), 1), step):
            part = slice(first, first + step)
            scores = self.scores(numbers[part].to(device), categories[part].to(device)).float()
            found.append(scores.softmax(1) if self.spec.classes else scores)
        return torch.cat(found)

    def predict_learnt(self, encoded: Encoded) -> NDArray[np.float32]:
        with warnings.catch_warnings():  # rows from Arrow may be read-only, and nothing writes to them
            warnings.simplefilter("ignore", UserWarning)
            numbers, categories = torch.from_numpy(encoded.numbers), torch.from_numpy(encoded.categories)
        return np.asarray(self.score_batch(numbers, categories).cpu().numpy())
