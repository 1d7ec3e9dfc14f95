"""Texts to tokens and back, offsets kept exactly; long documents to windows."""

from __future__ import annotations

import functools
import pkgutil
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from geomm.errors import ConfigError, DependencyError, did_you_mean
from geomm.text import Document, Entity

#: A tokenizer sees this many characters at once, cut at white space.
_CHUNK_CHARS = 20_000
_SENTENCE_ENDS = frozenset(".!?…。\uff01\uff1f\u061f\u0964")
#: Marks that no space follows.
_TIGHT_ENDS = frozenset("。\uff01\uff1f")


@functools.lru_cache(maxsize=4)
def load_tokenizer(language: str) -> Any:
    """Return spaCy's rule-based tokenizer of a language.

    Raises:
      ConfigError: spaCy has no such language, or its tokenizer needs a package that is not installed.
      DependencyError: spaCy is not installed.
    """
    try:
        import spacy
        import spacy.lang
    except ImportError as error:
        raise DependencyError("text needs spaCy's tokenizers; pip install 'geomm[text]'") from error
    try:
        return spacy.blank(language).tokenizer
    except ImportError as error:
        known = [module.name for module in pkgutil.iter_modules(spacy.lang.__path__) if module.ispkg]
        if language not in known:
            raise ConfigError(
                f"dataset.language: unknown {language!r}; {did_you_mean(language, known)}"
            ) from error
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"dataset.language={language}: spaCy cannot make its tokenizer ({reason})"
        ) from error


def tokenize(text: str, language: str) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...]]:
    """Return tokens as offsets, and which of them begin a sentence or line.

    White space is in no token, and all else is in just one.

    Args:
      text: of any length.
      language: code of spaCy's tokenizer.
    """
    tokenizer = load_tokenizer(language)
    offsets: list[tuple[int, int]] = []
    for start, end in _chunks(text):
        for token in tokenizer(text[start:end]):
            if not token.is_space:
                offsets += _bare(text, start + token.idx, start + token.idx + len(token.text))
    return tuple(offsets), find_breaks(text, offsets)


def _bare(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Return the stretches of a token that are not white space; nearly always all of it."""
    return [(start + m.start(), start + m.end()) for m in re.finditer(r"\S+", text[start:end])]


def _chunks(text: str) -> Iterator[tuple[int, int]]:
    """Cut a text at white space; where there is none for long, anywhere."""
    start = 0
    while len(text) - start > _CHUNK_CHARS:
        end = start + _CHUNK_CHARS
        space = max(text.rfind(mark, start, end) for mark in " \n\t")
        end = space if space > start else end
        yield start, end
        start = end
    yield start, len(text)


def find_breaks(text: str, offsets: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """Return the positions of tokens, the first left out, that begin a sentence or line."""
    breaks = []
    for at in range(1, len(offsets)):
        before, here = offsets[at - 1], offsets[at]
        gap = text[before[1] : here[0]]
        ended = text[before[0] : before[1]] in _SENTENCE_ENDS and not text[here[0]].islower()
        if "\n" in gap or (ended and (gap or text[before[0]] in _TIGHT_ENDS)):
            breaks.append(at)
    return tuple(breaks)


def split_tokens(
    offsets: Sequence[tuple[int, int]], entities: Sequence[Entity]
) -> tuple[tuple[tuple[int, int], ...], int]:
    """Cut tokens where an entity begins or ends inside them; return the offsets and how many were cut."""
    borders = sorted({edge for entity in entities for edge in (entity.start, entity.end)})
    out: list[tuple[int, int]] = []
    at = cuts = 0
    for start, end in offsets:
        while at < len(borders) and borders[at] <= start:
            at += 1
        pieces = [start]
        while at < len(borders) and borders[at] < end:
            pieces.append(borders[at])
            at += 1
        cuts += len(pieces) > 1
        out += zip(pieces, [*pieces[1:], end], strict=True)
    return tuple(out), cuts


def align(offsets: Sequence[tuple[int, int]], entities: Sequence[Entity]) -> list[tuple[int, int, str]]:
    """Return entities as (first token, last token, label); their borders are borders of tokens."""
    starts = {start: position for position, (start, _) in enumerate(offsets)}
    ends = {end: position for position, (_, end) in enumerate(offsets)}
    return [(starts[entity.start], ends[entity.end], entity.label) for entity in sorted(entities)]


@dataclass(frozen=True)
class TokenWindow:
    """A part of a document that a model reads at once.

    Attributes:
      first: its first token.
      last: behind its last token.
      core: tokens from and up to which the window decides; every token is in the core of one window.
    """

    first: int
    last: int
    core: tuple[int, int]


def overlapping_windows(document: Document, window_tokens: int) -> list[TokenWindow]:
    """Cover a document with windows that share tokens, cores cut at sentences where there are some."""
    count = len(document.offsets)
    if count <= window_tokens:
        return [TokenWindow(0, count, (0, count))] if count else []
    margin = min(16, window_tokens // 4)
    cores = pack(count, document.breaks, max(window_tokens - 2 * margin, 1))
    return [TokenWindow(max(a - margin, 0), min(b + margin, count), (a, b)) for a, b in cores]


def training_windows(document: Document, window_tokens: int) -> list[Document]:
    """Cut a labelled document into pieces of whole sentences; a longer sentence is cut between entities."""
    tags = document.tags or ()
    inner = {at for at, tag in enumerate(tags) if tag[0] in "IL"}
    pieces = pack(len(document.offsets), document.breaks, window_tokens, forbidden=inner)
    return [document.piece(first, last) for first, last in pieces]


def pack(
    count: int, breaks: Sequence[int], most: int, *, forbidden: set[int] | frozenset[int] = frozenset()
) -> list[tuple[int, int]]:
    """Cut ``count`` tokens into stretches of at most ``most``, at the last break that fits.

    Args:
      count: of tokens.
      breaks: where a cut is best, ascending.
      most: tokens a stretch; one with an entity longer than this is longer.
      forbidden: positions before which there is no cut.
    """
    stretches = []
    start = 0
    allowed = [at for at in breaks if at not in forbidden]
    position = 0
    while count - start > most:
        end = start
        while position < len(allowed) and allowed[position] <= start + most:
            end = max(end, allowed[position])
            position += 1
        if end == start:
            end = next((at for at in range(start + most, start, -1) if at not in forbidden), start)
        if end == start:
            end = next((at for at in range(start + most, count) if at not in forbidden), count)
        stretches.append((start, end))
        start = end
    if start < count:
        stretches.append((start, count))
    return stretches
