"""A bidirectional LSTM over what words look like, with a conditional random field on top.

Huang, Xu and Yu, "Bidirectional LSTM-CRF Models for Sequence Tagging", 2015; characters by convolution
as Ma and Hovy, "End-to-end Sequence Labeling via Bi-directional LSTM-CNNs-CRF", ACL 2016; hashed tables
in place of a vocabulary as Serrà and Karatzoglou, "Getting Deep Recommenders Fit", RecSys 2017.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from geomm.models.texts.token_tagger import TokenTagger, lengths_of
from geomm.models.texts.word_features import UNKNOWN, VIEWS, WordFeatures, character_rows
from geomm.registry import HEADS
from geomm.text import TextSpec


@HEADS.register_module()
class BiLstmCrf(TokenTagger):
    """Words by hashed form, affixes, shape and characters; context by a BiLSTM; tags by a CRF.

    Args:
      spec: labels and window.
      rows: rows of the tables of form, prefix, suffix, short suffix and shape.
      widths: their widths.
      char_width: width of a character's vector.
      char_filters: filters of the convolution over characters, 0 for none.
      chars: characters of a word that are looked at.
      hidden: width of the LSTM in each direction.
      layers: of LSTMs.
      dropout: share of the inputs and outputs of the LSTM that training leaves out.
      word_dropout: share of the words whose form training hides, so that affixes and shape are learnt
        for the words that a new text brings.
      decoder: ``crf`` or ``linear``.
    """

    def __init__(
        self,
        *,
        spec: TextSpec,
        rows: Sequence[int] = (16384, 8192, 8192, 2048, 2048),
        widths: Sequence[int] = (64, 32, 32, 16, 32),
        char_width: int = 24,
        char_filters: int = 64,
        chars: int = 16,
        hidden: int = 128,
        layers: int = 1,
        dropout: float = 0.5,
        word_dropout: float = 0.3,
        decoder: str = "crf",
    ) -> None:
        super().__init__(spec=spec, decoder=decoder)
        self.words = WordEncoder(rows, widths, char_width, char_filters, chars, word_dropout)
        width = self.words.width
        self.context = nn.ModuleList(
            BiLstm(width if layer == 0 else 2 * hidden, hidden) for layer in range(layers)
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * hidden, len(self.tags))

    def emissions(self, words: Sequence[Sequence[str]], breaks: Sequence[Sequence[int]]) -> Tensor:
        feats = self.words(words, breaks)
        lengths = lengths_of(words, feats.device)
        for layer in self.context:
            feats = layer(self.dropout(feats), lengths)
        return self.head(self.dropout(feats))  # type: ignore[no-any-return]


class BiLstm(nn.Module):
    """An LSTM in each direction; each text is turned by its own length, so that padding is never read.

    Args:
      width: of the input.
      hidden: width of each direction.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.onward = nn.LSTM(width, hidden, batch_first=True)
        self.backward_ = nn.LSTM(width, hidden, batch_first=True)
        for lstm in (self.onward, self.backward_):
            for name, parameter in lstm.named_parameters():
                if "weight_hh" in name:
                    for part in parameter.data.chunk(4):
                        nn.init.orthogonal_(part)
                elif "bias_ih" in name:  # forget nothing to begin with
                    parameter.data.zero_()[hidden : 2 * hidden] = 1.0

    def forward(self, feats: Tensor, lengths: Tensor) -> Tensor:
        """Map (B, T, width) to (B, T, 2 * hidden)."""
        steps = torch.arange(feats.shape[1], device=feats.device)
        turned = (lengths[:, None] - 1 - steps).where(steps < lengths[:, None], steps)[..., None]
        onward, _ = self.onward(feats)
        back, _ = self.backward_(feats.gather(1, turned.expand_as(feats)))
        return torch.cat([onward, back.gather(1, turned.expand_as(back))], 2)


class WordEncoder(nn.Module):
    """Vectors of words from their looks alone; what training never met shares one row a table.

    Args:
      rows: of each view's table.
      widths: of each view's table.
      char_width: of a character's vector.
      char_filters: of the convolution, 0 for none.
      chars: characters looked at.
      word_dropout: share of words whose form is hidden in training.
    """

    seen: Tensor

    def __init__(
        self,
        rows: Sequence[int],
        widths: Sequence[int],
        char_width: int,
        char_filters: int,
        chars: int,
        word_dropout: float,
    ) -> None:
        super().__init__()
        self.features = WordFeatures(rows, chars)
        self.word_dropout = word_dropout
        self.tables = nn.ModuleList(
            nn.Embedding(count, width) for count, width in zip(rows, widths, strict=True)
        )
        for table in self.tables:
            nn.init.normal_(table.weight, std=0.3)  # type: ignore[arg-type]
        self.register_buffer("seen", torch.zeros(len(VIEWS), max(rows), dtype=torch.bool))
        self.letters = nn.Embedding(character_rows(), char_width, padding_idx=0) if char_filters else None
        self.filters = nn.Conv1d(char_width, char_filters, 3, padding=1) if char_filters else None
        self.breaks = nn.Embedding(2, 8)
        self.width = sum(widths) + char_filters + 8

    def forward(self, words: Sequence[Sequence[str]], breaks: Sequence[Sequence[int]]) -> Tensor:
        """Return (B, T, width); zeros where a text is shorter than the longest."""
        device = self.seen.device
        distinct: dict[str, int] = {}
        flat = torch.tensor([distinct.setdefault(w, len(distinct)) for text in words for w in text])
        views, letters = (torch.from_numpy(part).to(device) for part in self.features.encode([*distinct]))
        flat = flat.to(device)
        rows = self._known(views)[flat]
        if self.training and self.word_dropout:
            hidden = torch.rand(len(rows), device=device) < self.word_dropout
            rows[:, 0] = rows[:, 0].masked_fill(hidden, UNKNOWN)
        parts = [table(rows[:, i]) for i, table in enumerate(self.tables)]
        if self.filters is not None and self.letters is not None:
            looks = self.filters(self.letters(letters).transpose(1, 2))
            parts.append(looks.masked_fill((letters == 0)[:, None], -1e4).amax(2)[flat])
        lengths = [len(text) for text in words]
        begins = torch.zeros(len(words), max(lengths), dtype=torch.int64)
        for row, at in enumerate(breaks):
            begins[row, [0, *at]] = 1
        inside = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).to(device)
        parts.append(self.breaks(begins.to(device)[inside]))
        feats = torch.cat(parts, 1)
        padded = feats.new_zeros(*inside.shape, self.width)
        padded[inside] = feats
        return padded

    def _known(self, views: Tensor) -> Tensor:
        """Return rows with those that training never met replaced by ``UNKNOWN``; note new ones."""
        column = torch.arange(len(VIEWS), device=views.device)
        if self.training:
            self.seen[column, views] = True
        return torch.where(self.seen[column, views], views, UNKNOWN)
