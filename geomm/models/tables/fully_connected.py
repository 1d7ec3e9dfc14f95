"""A fully connected network over the columns of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geomm.errors import ConfigError, Problem, did_you_mean
from geomm.models.tables.network import TableNetwork
from geomm.models.whole_batch import own_share
from geomm.registry import HEADS
from geomm.transforms.table import TableSpec

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}
#: Members of ``auto``, and training rows up to which it takes them.
MEMBERS = 8
LOSSES = {
    "regression": ("mse", "huber", "mae"),
    "classification": ("cross_entropy", "focal"),
}


@HEADS.register_module()
class FullyConnected(TableNetwork):
    """Embeddings of categories and normalised numbers through fully connected layers.

    Args:
      spec: what the rows are.
      layers: widths of the hidden layers.
      dropout: share of activations switched off in training: one number, or one a layer.
      embedding: width of a category's embedding; ``auto`` grows with the number of categories
        (min(50, 1.6 n^0.56), as in fastai), or a number for all, or {column: number}.
      embedding_dropout: share of an embedding's numbers switched off in training.
      activation: ``relu``, ``gelu``, ``silu`` or ``tanh``.
      norm: ``batch`` for batch normalisation after each layer, or None.
      loss: ``auto``, or ``mse``, ``huber``, ``mae``; ``cross_entropy``, ``focal``.
      class_weight: None, ``auto`` (by the inverse root of a class's share) or a number a class.
      members: networks that are trained side by side from weights of their own, and whose answers are
        averaged (deep ensembles, Lakshminarayanan et al., 2017); ``auto`` takes 8 for a table of up to
        20,000 training rows, which vary more than they cost, and one for larger ones.
    """

    class_weight: Tensor | None

    def __init__(
        self,
        *,
        spec: TableSpec,
        layers: Sequence[int] = (200, 100),
        dropout: float | Sequence[float] = 0.0,
        embedding: str | int | dict[str, int] = "auto",
        embedding_dropout: float = 0.0,
        activation: str = "relu",
        norm: str | None = None,
        loss: str = "auto",
        class_weight: str | Sequence[float] | None = None,
        members: int | str = 1,
    ) -> None:
        super().__init__(spec)
        self.members = _members(members, spec)
        if activation not in ACTIVATIONS:
            known = did_you_mean(activation, ACTIVATIONS)
            raise ConfigError([Problem("head.activation", f"found {activation!r}; {known}")])
        if norm not in (None, "batch"):
            raise ConfigError([Problem("head.norm", f"found {norm!r}, expected batch or null")])
        self.loss_name = LOSSES[spec.kind][0] if loss == "auto" else loss
        if self.loss_name not in LOSSES[spec.kind]:
            known = did_you_mean(loss, LOSSES[spec.kind])
            raise ConfigError([Problem("head.loss", f"found {loss!r} for a {spec.kind}; {known}")])
        widths = [_width(embedding, column.name, column.size) for column in spec.category_columns]
        self.embeddings = nn.ModuleList(
            nn.Embedding(column.size, width * self.members)
            for column, width in zip(spec.category_columns, widths, strict=True)
        )
        self.embedding_dropout = nn.Dropout(embedding_dropout)
        if any(width < 1 for width in layers):
            raise ConfigError([Problem("head.layers", f"found {min(layers)}, expected widths of 1 or more")])
        drops = [float(dropout)] * len(layers) if isinstance(dropout, int | float) else list(dropout)
        if len(drops) != len(layers):
            raise ConfigError(
                [Problem("head.dropout", f"{len(drops)} numbers for {len(layers)} layers; give one a layer")]
            )
        parts: list[nn.Module] = []
        size = len(spec.number_names) + sum(widths)
        for width, drop in zip(layers, drops, strict=True):
            parts += [self._linear(size, width), ACTIVATIONS[activation]()]
            parts += [self._norm(width)] if norm else []
            parts += [nn.Dropout(drop)] if drop else []
            size = width
        self.layers = nn.Sequential(*parts, self._linear(size, spec.outputs))
        self.register_buffer("class_weight", _class_weight(class_weight, spec), persistent=False)

    def _linear(self, size: int, width: int) -> nn.Module:
        return nn.Linear(size, width) if self.members == 1 else MemberLinear(self.members, size, width)

    def _norm(self, width: int) -> nn.Module:
        return nn.BatchNorm1d(width) if self.members == 1 else MemberNorm(self.members, width)

    def scores(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """Return logits (B, K), or learnt values (B, T), averaged over the members."""
        scores = self.training_scores(numbers, categories)
        if self.members == 1:
            return scores
        if not self.spec.classes:
            return scores.mean(0)
        return scores.log_softmax(2).logsumexp(0) - math.log(self.members)

    def training_scores(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """Return each member's scores: (B, K), of several (M, B, K)."""
        embedded = [layer(categories[:, i]) for i, layer in enumerate(self.embeddings)]
        if self.members > 1:
            embedded = [one.unflatten(1, (self.members, -1)).transpose(0, 1) for one in embedded]
            numbers = numbers.expand(self.members, *numbers.shape)
        if embedded:
            numbers = torch.cat([numbers, self.embedding_dropout(torch.cat(embedded, -1))], -1)
        return self.layers(numbers)  # type: ignore[no-any-return]

    def losses(self, scores: Tensor, target: Tensor) -> dict[str, Tensor]:
        if self.members == 1:
            return {"loss": self.loss(scores, target)}
        mean = self.loss(scores.flatten(0, 1), target.repeat(self.members, *[1] * (target.dim() - 1)))
        # The mean is shown, and each member learns from its own loss as if it were alone.
        return {"loss": mean + (self.members - 1) * (mean - mean.detach())}

    def loss(self, scores: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        if self.loss_name == "mse":
            return F.mse_loss(scores, target)
        if self.loss_name == "huber":
            return F.smooth_l1_loss(scores, target)
        if self.loss_name == "mae":
            return F.l1_loss(scores, target)
        if self.loss_name == "cross_entropy":
            mean = F.cross_entropy(scores, target, weight=self.class_weight)
            return mean if self.class_weight is None else mean * own_share(self.class_weight[target].sum())
        # Lin et al., "Focal Loss for Dense Object Detection", 2017, with gamma 2.
        log = scores.log_softmax(1).gather(1, target[:, None])[:, 0]
        weight = 1.0 if self.class_weight is None else self.class_weight[target]
        return (-weight * (1 - log.exp()) ** 2 * log).mean()


class MemberLinear(nn.Module):
    """As many linear layers side by side as there are members: (M, B, in) to (M, B, out)."""

    def __init__(self, members: int, size: int, width: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(max(size, 1))  # as torch begins linear layers
        self.weight = nn.Parameter(torch.empty(members, size, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, width).uniform_(-bound, bound))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, inputs, self.weight)


class MemberNorm(nn.Module):
    """Batch normalisation of each member by itself, (M, B, width)."""

    def __init__(self, members: int, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(members * width)

    def forward(self, inputs: Tensor) -> Tensor:
        members, _, width = inputs.shape
        normed: Tensor = self.norm(inputs.transpose(0, 1).flatten(1))
        apart: Tensor = normed.unflatten(1, (members, width))
        return apart.transpose(0, 1)


def _members(given: int | str, spec: TableSpec) -> int:
    if given == "auto":
        return MEMBERS if spec.is_small else 1
    if isinstance(given, int) and not isinstance(given, bool) and given >= 1:
        return given
    raise ConfigError([Problem("head.members", f"found {given!r}, expected auto or a whole number from 1")])


def _width(embedding: str | int | dict[str, int], column: str, size: int) -> int:
    if isinstance(embedding, dict):
        embedding = embedding.get(column, "auto")
    if isinstance(embedding, int) and not isinstance(embedding, bool) and embedding > 0:
        return embedding
    if embedding != "auto":
        raise ConfigError(
            [Problem("head.embedding", f"found {embedding!r}, expected auto, a width or {{column: width}}")]
        )
    width: float = 1.6 * size**0.56
    return min(50, round(width))


def _class_weight(given: str | Sequence[float] | None, spec: TableSpec) -> Tensor | None:
    if given is None or not spec.classes:
        return None
    if isinstance(given, str):
        if given != "auto":
            raise ConfigError([Problem("head.class_weight", f"found {given!r}, expected auto or numbers")])
        share = torch.tensor(spec.class_rows, dtype=torch.float32).clamp(min=1)
        weight = (share.sum() / share).sqrt()
        return weight / weight.mean()
    if len(given) != len(spec.classes):
        raise ConfigError(
            [Problem("head.class_weight", f"{len(given)} numbers for {len(spec.classes)} classes")]
        )
    return torch.tensor([float(item) for item in given])
