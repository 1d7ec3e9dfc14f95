"""What travels between the stages of text: entities, tokenised documents, and what a model knows of them."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, order=True)
class Entity:
    """A labelled stretch of a text.

    Attributes:
      start: offset of its first character.
      end: offset behind its last character.
      label: its kind.
      confidence: probability from 0 to 1; 1 where a person said so.
    """

    start: int
    end: int
    label: str
    confidence: float = field(default=1.0, compare=False)


@dataclass(frozen=True)
class Document:
    """A text, its tokens and, where it is labelled, a tag a token.

    Attributes:
      text: all of it.
      offsets: (start, end) of each token in ``text``, in order, without overlap.
      tags: a BILUO tag a token; None where the text is not labelled.
      breaks: positions of tokens that begin a sentence or line, ascending; 0 is not listed.
      name: for messages and tables.
    """

    text: str
    offsets: tuple[tuple[int, int], ...]
    tags: tuple[str, ...] | None = None
    breaks: tuple[int, ...] = ()
    name: str = ""

    @property
    def tokens(self) -> list[str]:
        return [self.text[start:end] for start, end in self.offsets]

    def piece(self, first: int, last: int) -> Document:
        """Return the tokens from ``first`` up to ``last``; offsets stay those of the whole text."""
        tags = None if self.tags is None else self.tags[first:last]
        # Long documents have many breaks and many pieces: only a piece's own are looked at.
        own = self.breaks[bisect.bisect_right(self.breaks, first) : bisect.bisect_left(self.breaks, last)]
        breaks = tuple(at - first for at in own)
        return Document(self.text, self.offsets[first:last], tags, breaks, self.name)


@dataclass(frozen=True)
class TextSpec:
    """What a model must know of the texts it was trained on; kept in the model package.

    Attributes:
      labels: kinds of entity, sorted.
      language: code of the spaCy tokenizer, such as ``en``.
      window_tokens: most tokens that the model reads at once.
      address_tag: the label whose entities are placed on the map, None where there is none.
      counts: entities in the training documents by label.
    """

    labels: tuple[str, ...]
    language: str = "en"
    window_tokens: int = 128
    address_tag: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; ``from_dict`` reads them back."""
        return {
            "labels": list(self.labels),
            "language": self.language,
            "window_tokens": self.window_tokens,
            "address_tag": self.address_tag,
            "counts": dict(self.counts),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TextSpec:
        return cls(
            tuple(str(label) for label in data["labels"]),
            str(data["language"]),
            int(data["window_tokens"]),
            data.get("address_tag"),
            {str(k): int(v) for k, v in (data.get("counts") or {}).items()},
        )


def biluo_tags(labels: Sequence[str]) -> tuple[str, ...]:
    """Return every BILUO tag of some labels, ``O`` first."""
    return ("O", *(f"{part}-{label}" for label in labels for part in "BILU"))


def biluo_spans(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """Return the entities of legal BILUO tags as (first, last, label), both tokens in."""
    spans, first = [], 0
    for position, tag in enumerate(tags):
        part = tag[0]
        if part in "BU":
            first = position
        if part in "LU":
            spans.append((first, position, tag[2:]))
    return spans
