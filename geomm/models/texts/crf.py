"""A linear-chain conditional random field, exact and batched.

Lafferty, McCallum and Pereira, "Conditional Random Fields", ICML 2001. The partition function and its
gradient are computed by the forward and backward recursions in float64, as one step of autograd.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class LinearChainCrf(nn.Module):
    """Scores of tag sequences: an emission a token and tag, a weight a pair of neighbouring tags.

    Args:
      legal: (K, K) bool, whether tag j may follow tag i.
      legal_start: (K,) bool, whether a sequence may begin with a tag.
      legal_end: (K,) bool, whether it may end with it.
      scale: what the stored weights are multiplied by, so that they learn this many times faster.
    """

    legal: Tensor
    legal_start: Tensor
    legal_end: Tensor

    def __init__(self, legal: Tensor, legal_start: Tensor, legal_end: Tensor, *, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        count = len(legal)
        self.register_buffer("legal", legal.bool(), persistent=False)
        self.register_buffer("legal_start", legal_start.bool(), persistent=False)
        self.register_buffer("legal_end", legal_end.bool(), persistent=False)
        self.transitions = nn.Parameter(torch.zeros(count, count))
        self.start = nn.Parameter(torch.zeros(count))
        self.end = nn.Parameter(torch.zeros(count))

    def weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return transitions (K, K), start (K,) and end (K,) in float64, -inf where illegal."""
        infinite = float("-inf")
        return (
            (self.scale * self.transitions.double()).masked_fill(~self.legal, infinite),
            (self.scale * self.start.double()).masked_fill(~self.legal_start, infinite),
            (self.scale * self.end.double()).masked_fill(~self.legal_end, infinite),
        )

    def loss(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """Return the negative log-likelihood of each sequence, (B,) float64.

        Args:
          emissions: (B, T, K) of any float type.
          tags: (B, T) int64 of legal sequences; what lies past a length does not count.
          lengths: (B,) int64, from 1 to T.
        """
        wide = emissions.double()
        return log_partition(wide, *self.weights(), lengths) - self.score(wide, tags, lengths)

    def score(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """Return the unnormalised log-score (B,) of tag sequences; -inf for an illegal one."""
        transitions, start, end = self.weights()
        steps = torch.arange(emissions.shape[1], device=emissions.device)
        inside = steps < lengths[:, None]
        own = emissions.gather(2, tags[..., None])[..., 0].masked_fill(~inside, 0.0).sum(1)
        moves = transitions[tags[:, :-1], tags[:, 1:]].masked_fill(~inside[:, 1:], 0.0).sum(1)
        last = tags.gather(1, lengths[:, None] - 1)[:, 0]
        return own + moves + start[tags[:, 0]] + end[last]

    @torch.no_grad()
    def viterbi(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """Return the best legal tag sequences (B, T) int64; 0 past a length."""
        transitions, start, end = self.weights()
        wide = emissions.double()
        steps = wide.shape[1]
        best = start + wide[:, 0]
        came_from = []
        for t in range(1, steps):
            value, index = (best[:, :, None] + transitions).max(1)
            running = (t < lengths)[:, None]
            best = torch.where(running, value + wide[:, t], best)
            came_from.append(index)
        tag = (best + end).argmax(1)
        path = [tag]
        for t in range(steps - 1, 0, -1):
            before = came_from[t - 1].gather(1, tag[:, None])[:, 0]
            tag = torch.where(t < lengths, before, tag)
            path.append(tag)
        tags = torch.stack(path[::-1], 1)
        return tags.masked_fill(torch.arange(steps, device=tags.device) >= lengths[:, None], 0)

    @torch.no_grad()
    def stretches(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Stretches:
        """Return what the probability of any stretch of the tag sequences follows from."""
        transitions, start, end = self.weights()
        wide = emissions.double()
        alpha = _forward(wide, transitions, start, lengths)
        beta = _backward(wide, transitions, end, lengths)
        own = wide.gather(2, tags[..., None])[..., 0]
        moves = torch.zeros_like(own)
        moves[:, 1:] = transitions[tags[:, :-1], tags[:, 1:]].nan_to_num(neginf=0.0)
        at = tags[..., None]
        return Stretches(
            alpha.gather(2, at)[..., 0].cpu(),
            beta.gather(2, at)[..., 0].cpu(),
            (own + moves).cumsum(1).cpu(),
            torch.logsumexp(alpha[:, -1] + end, 1).cpu(),
        )


class Stretches:
    """Probabilities of stretches of decoded sequences, each by one look-up.

    Args:
      alpha: (B, T) log-weight of all ways to reach the decoded tag of each token, its own emission in.
      beta: (B, T) log-weight of all ways to go on from it.
      scores: (B, T) running sum of emissions and transitions along the decoded sequence.
      partition: (B,) log-weight of all sequences.
    """

    def __init__(self, alpha: Tensor, beta: Tensor, scores: Tensor, partition: Tensor) -> None:
        self.alpha, self.beta = alpha.tolist(), beta.tolist()
        self.scores, self.partition = scores.tolist(), partition.tolist()

    def probability(self, row: int, first: int, last: int) -> float:
        """Return the probability that tokens ``first`` to ``last``, both in, have their decoded tags."""
        inner = self.scores[row][last] - self.scores[row][first]
        log = self.alpha[row][first] + inner + self.beta[row][last] - self.partition[row]
        return math.exp(min(log, 0.0))


def log_partition(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor
) -> Tensor:
    """Return the log of the summed weights of all sequences, (B,), differentiable.

    Args:
      emissions: (B, T, K) float64.
      transitions: (K, K) float64, -inf where illegal.
      start: (K,) float64.
      end: (K,) float64.
      lengths: (B,) int64, from 1 to T.
    """
    return _LogPartition.apply(emissions, transitions, start, end, lengths)  # type: ignore[no-any-return]


def _forward(emissions: Tensor, transitions: Tensor, start: Tensor, lengths: Tensor) -> Tensor:
    """Return log-weights (B, T, K) of all ways to each tag, its emission in; held past a length."""
    factors = transitions.exp()
    alpha = start + emissions[:, 0]
    found = [alpha]
    for t in range(1, emissions.shape[1]):
        top = alpha.amax(1, keepdim=True)
        step = ((alpha - top).exp() @ factors).log() + top + emissions[:, t]
        alpha = torch.where((t < lengths)[:, None], step, alpha)
        found.append(alpha)
    return torch.stack(found, 1)


def _backward(emissions: Tensor, transitions: Tensor, end: Tensor, lengths: Tensor) -> Tensor:
    """Return log-weights (B, T, K) of all ways to go on from each tag; ``end`` from the last on."""
    factors = transitions.exp().T
    beta = end.expand(len(emissions), -1)
    found = [beta]
    for t in range(emissions.shape[1] - 1, 0, -1):
        onward = beta + emissions[:, t]
        top = onward.amax(1, keepdim=True)
        step = ((onward - top).exp() @ factors).log() + top
        beta = torch.where((t < lengths)[:, None], step, beta)
        found.append(beta)
    return torch.stack(found[::-1], 1)


class _LogPartition(torch.autograd.Function):
    """The forward recursion; its gradient is the marginals, by the backward recursion."""

    @staticmethod
    def forward(ctx: Any, *args: Tensor) -> Tensor:
        emissions, transitions, start, end, lengths = args
        alpha = _forward(emissions, transitions, start, lengths)
        ctx.save_for_backward(*args, alpha)
        return torch.logsumexp(alpha[:, -1] + end, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        emissions, transitions, _, end, lengths, alpha = ctx.saved_tensors
        (grad,) = grads
        beta = _backward(emissions, transitions, end, lengths)
        steps = torch.arange(emissions.shape[1], device=emissions.device)
        inside = steps < lengths[:, None]
        weight = (grad[:, None] * inside)[..., None]
        marginals = (alpha + beta).softmax(2) * weight
        last = marginals.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, alpha.shape[2]))
        # Each pair of neighbouring tags, as shares that sum to one at every step.
        before = (alpha[:, :-1] - alpha[:, :-1].amax(2, keepdim=True)).exp()
        onward = (beta + emissions)[:, 1:]
        after = (onward - onward.amax(2, keepdim=True)).exp()
        factors = transitions.exp()
        total = ((before @ factors) * after).sum(2, keepdim=True)
        shares = before / total * weight[:, 1:]
        pairs = factors * (shares.flatten(0, 1).T @ after.flatten(0, 1))
        return marginals, pairs, marginals[:, 0].sum(0), last[:, 0].sum(0), None


def biluo_rules(tags: tuple[str, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Return which BILUO tags may follow each other, begin and end: the arguments of the field.

    Args:
      tags: ``O`` and ``B-``, ``I-``, ``L-``, ``U-`` of each label, in the order of the emissions.
    """
    parts = [tag.partition("-")[::2] for tag in tags]
    legal = torch.zeros(len(tags), len(tags), dtype=torch.bool)
    for i, (before, label) in enumerate(parts):
        for j, (after, other) in enumerate(parts):
            if before in "BI":
                legal[i, j] = after in "IL" and label == other
            else:
                legal[i, j] = after in "OBU"
    start = torch.tensor([part in "OBU" for part, _ in parts])
    end = torch.tensor([part in "OLU" for part, _ in parts])
    return legal, start, end
