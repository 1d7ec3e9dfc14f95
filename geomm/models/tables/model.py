"""What every model of tables has in common: rows in, values or class probabilities out."""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModel
from numpy.typing import NDArray
from torch import Tensor

from geomm.transforms.table import Encoded, TableSpec

#: Levels at which the sizes of errors are kept, for intervals.
LEVELS = 1001


class TableModel(BaseModel):
    """A model of rows; derived classes say how scores come about.

    Args:
      spec: what the rows are.

    Attributes:
      spread: (T, ``LEVELS``) sizes of the errors on validation rows, as the targets are learnt, by the
        share of rows that err less; NaN until ``learn_spread``.
      judged: rows that ``spread`` comes from.
    """

    spread: Tensor
    judged: Tensor

    def __init__(self, spec: TableSpec) -> None:
        super().__init__()
        self.spec = spec
        shape = (0 if spec.classes else len(spec.targets), LEVELS)
        self.register_buffer("spread", torch.full(shape, float("nan")))
        self.register_buffer("judged", torch.zeros((), dtype=torch.int64))

    @abc.abstractmethod
    def predict_learnt(self, encoded: Encoded) -> NDArray[np.float32]:
        """Return (n, K) class probabilities, or (n, T) values as they were learnt, of prepared rows."""

    @property
    def gives_probabilities(self) -> bool:
        """Whether scores of classes are probabilities rather than a choice."""
        return bool(self.spec.classes)

    def predicted(self, encoded: Encoded, target: Any, row: Any) -> list[dict[str, Any]]:
        """Return what an evaluation takes of a batch: one dict for all of its rows."""
        learnt = self.predict_learnt(encoded)
        truth = np.asarray(target.cpu() if isinstance(target, Tensor) else target)
        if not self.spec.classes:
            own, learnt_truth = self.spec.decode(truth), truth
            errors = np.abs(learnt - learnt_truth)
            return [
                {
                    "prediction": self.spec.decode(learnt),
                    "target": own,
                    "row": np.asarray(row),
                    "errors": errors,
                }
            ]
        return [{"prediction": learnt, "target": truth, "row": np.asarray(row)}]

    def learn_spread(self, errors: NDArray[Any]) -> None:
        """Keep how large the errors on validation rows were.

        Args:
          errors: (n, T) sizes, as the targets are learnt.
        """
        levels = np.quantile(errors, np.linspace(0, 1, LEVELS), axis=0).T
        self.spread.copy_(torch.from_numpy(np.ascontiguousarray(levels, dtype=np.float32)))
        self.judged.fill_(len(errors))

    def interval(
        self, learnt: NDArray[np.float32], coverage: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return lower and upper bounds (n, T) that hold a share of true values.

        Split conformal prediction (Lei et al., "Distribution-Free Predictive Inference for Regression",
        2018): the quantile of the validation rows' errors, corrected for how many there were.

        Args:
          learnt: (n, T), as ``predict_learnt`` returns it.
          coverage: share, between 0 and 1.
        """
        count = max(int(self.judged), 1)
        level = min(np.ceil((count + 1) * coverage) / count, 1.0)
        half = self.spread.cpu().numpy()[:, int(np.ceil(level * (LEVELS - 1)))]
        return self.spec.decode(learnt - half), self.spec.decode(learnt + half)
