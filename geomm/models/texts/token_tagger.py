"""The model of entities in text: a tag a token, decoded so that every sequence is legal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor, BaseModel
from torch import Tensor

from geomm.models.texts.crf import LinearChainCrf, biluo_rules
from geomm.models.whole_batch import own_share
from geomm.text import TextSpec, biluo_spans, biluo_tags


class TokenPreprocessor(BaseDataPreprocessor):
    """Leaves words as they are: the model itself turns them into numbers, on its own device."""

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        return data


class TokenTagger(BaseModel):
    """Tags tokens with BILUO tags; a subclass says how words become emissions.

    Args:
      spec: labels, and how long a window may be.
      decoder: ``crf`` learns which tags follow each other; ``linear`` judges each token by itself. Both
        decode to the best legal sequence.
      crf_scale: see ``LinearChainCrf``.
    """

    def __init__(self, *, spec: TextSpec, decoder: str = "crf", crf_scale: float = 1.0) -> None:
        super().__init__(data_preprocessor=TokenPreprocessor())
        self.spec = spec
        self.tags = biluo_tags(spec.labels)
        self._index = {tag: index for index, tag in enumerate(self.tags)}
        self.crf = LinearChainCrf(*biluo_rules(self.tags), scale=crf_scale)
        self.decoder = decoder
        if decoder == "linear":
            self.crf.requires_grad_(False)

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.parameters()).device
        return device

    def emissions(self, words: Sequence[Sequence[str]], breaks: Sequence[Sequence[int]]) -> Tensor:
        """Return (B, T, K) scores of the tags, T being the longest sequence's length."""
        raise NotImplementedError

    def forward(
        self,
        words: Sequence[Sequence[str]],
        breaks: Sequence[Sequence[int]],
        tags: Sequence[Sequence[str]] | None = None,
        name: Sequence[str] | None = None,
        mode: str = "tensor",
    ) -> Any:
        """Run the model on tokenised texts.

        Args:
          words: tokens of each text, at least one.
          breaks: positions in each text where a sentence or line begins.
          tags: BILUO tags of each text.
          name: where the texts come from.
          mode: ``tensor`` for emissions (B, T, K), ``loss`` for named losses, ``predict`` for a dict a
            text with ``words``, ``prediction``, ``truth`` (None where unlabelled) and ``name``.
        """
        if mode == "predict":
            found = self.predict_tags(words, breaks)
            names = name or [""] * len(found)
            return [
                {"words": list(w), "prediction": p, "truth": tags and list(tags[i]), "name": names[i]}
                for i, (w, p) in enumerate(zip(words, found, strict=True))
            ]
        emissions = self.emissions(words, breaks)
        if mode == "tensor":
            return emissions
        assert tags is not None
        return {"loss": self._loss(emissions, tags)}

    def _loss(self, emissions: Tensor, tags: Sequence[Sequence[str]]) -> Tensor:
        lengths = lengths_of(tags, emissions.device)
        target = torch.zeros(emissions.shape[:2], dtype=torch.int64)
        for row, sequence in enumerate(tags):
            target[row, : len(sequence)] = torch.tensor([self._index[tag] for tag in sequence])
        target = target.to(emissions.device)
        if self.decoder == "linear":
            inside = torch.arange(emissions.shape[1], device=emissions.device) < lengths[:, None]
            mean = F.cross_entropy(emissions[inside].float(), target[inside])
        else:
            mean = self.crf.loss(emissions, target, lengths).sum() / lengths.sum()
        return mean.float() * own_share(lengths.sum().float())

    @torch.inference_mode()
    def predict_tags(
        self, words: Sequence[Sequence[str]], breaks: Sequence[Sequence[int]]
    ) -> list[list[str]]:
        """Return the best legal tags of each text."""
        emissions = self.emissions(words, breaks)
        best = self.crf.viterbi(emissions, lengths_of(words, emissions.device)).tolist()
        return [[self.tags[i] for i in row[: len(w)]] for row, w in zip(best, words, strict=True)]

    @torch.inference_mode()
    def predict_spans(
        self, words: Sequence[Sequence[str]], breaks: Sequence[Sequence[int]]
    ) -> list[list[tuple[int, int, str, float]]]:
        """Return each text's entities as (first token, last token, label, probability).

        The probability is the exact one of just this entity with just these borders, given the model.
        """
        emissions = self.emissions(words, breaks)
        lengths = lengths_of(words, emissions.device)
        best = self.crf.viterbi(emissions, lengths)
        stretches = self.crf.stretches(emissions, best, lengths)
        found = []
        for row, (indices, text) in enumerate(zip(best.tolist(), words, strict=True)):
            tags = [self.tags[i] for i in indices[: len(text)]]
            found.append(
                [(i, j, label, stretches.probability(row, i, j)) for i, j, label in biluo_spans(tags)]
            )
        return found


def lengths_of(sequences: Sequence[Sequence[Any]], device: torch.device) -> Tensor:
    """Return the lengths of sequences, (B,) int64."""
    return torch.tensor([len(item) for item in sequences], device=device)
