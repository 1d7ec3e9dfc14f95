"""External networks over the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from geomm.models.external import build_external, check_scores, has_own_loss, named_losses
from geomm.models.tables.network import TableNetwork
from geomm.registry import MODELS
from geomm.transforms.table import TableSpec


@MODELS.register_module()
class ExternalTable(TableNetwork):
    """A network registered by ``geomm.extend`` for tables.

    Args:
      head: its config.
      spec: what the rows are.

    Attributes:
      network: the external one.
    """

    network: Any

    def __init__(self, *, head: Mapping[str, Any], spec: TableSpec) -> None:
        super().__init__(spec)
        self.network = build_external(head, spec)
        self.own_loss = has_own_loss(self.network, 0.0)

    def scores(self, numbers: Tensor, categories: Tensor) -> Tensor:
        scores = self.network(numbers, categories)
        return check_scores(scores, (None, self.spec.outputs), self.network)

    def losses(self, scores: Tensor, target: Tensor) -> dict[str, Tensor]:
        if self.own_loss:
            return named_losses(self.network.loss(scores, target), self.network)
        plain = F.cross_entropy if self.spec.classes else F.mse_loss
        return {"loss": plain(scores, target)}
