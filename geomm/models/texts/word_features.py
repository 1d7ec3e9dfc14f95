"""What a word looks like, as numbers: hashed form, affixes and shape, and its characters.

Everything follows from the word's own letters by a fixed hash, so there is no vocabulary to keep.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Hashed views of a word, in the order of ``WordFeatures.encode``'s columns.
VIEWS = ("form", "prefix", "suffix", "suffix_2", "shape")
#: Row of a table that stands for what training never met; 0 of characters is padding.
UNKNOWN = 0
_CACHED_WORDS = 200_000
_CHARACTERS = 512


class WordFeatures:
    """Hashes words into rows of tables, remembering those it met.

    Args:
      rows: rows of each view's table, in the order of ``VIEWS``.
      chars: characters of a word that are looked at, half from each end of a longer one.
    """

    def __init__(self, rows: Sequence[int], chars: int) -> None:
        self.rows, self.chars = tuple(rows), chars
        self._known: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}

    def encode(self, words: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return rows of the views (N, V) and characters (N, chars) of words."""
        found = [self._known.get(word) or self._encode_one(word) for word in words]
        if not found:
            return np.zeros((0, len(VIEWS)), np.int64), np.zeros((0, self.chars), np.int64)
        return np.stack([views for views, _ in found]), np.stack([chars for _, chars in found])

    def _encode_one(self, word: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        views = word_views(word)
        rows = [
            1 + zlib.crc32(f"{name}:{view}".encode("utf-8", "surrogatepass")) % (count - 1)
            for name, view, count in zip(VIEWS, views, self.rows, strict=True)
        ]
        result = np.array(rows, np.int64), self._characters(word)
        if len(self._known) >= _CACHED_WORDS:
            self._known.clear()
        self._known[word] = result
        return result

    def _characters(self, word: str) -> NDArray[np.int64]:
        half = self.chars // 2
        shown = word if len(word) <= self.chars else word[:half] + word[half - self.chars :]
        codes = np.zeros(self.chars, np.int64)
        codes[: len(shown)] = [character_row(letter) for letter in shown]
        return codes


def character_row(letter: str) -> int:
    """Return a character's row: its code below 256, a hash of it above."""
    code = ord(letter)
    return 1 + code if code < 256 else 257 + code % (_CHARACTERS - 257)


def word_views(word: str) -> tuple[str, ...]:
    """Return a word's form, prefix, suffixes and shape, as ``VIEWS`` lists them."""
    lower = word.lower()
    form = "".join("0" if letter.isdigit() else letter for letter in lower)
    return form, lower[:3], lower[-3:], lower[-2:], word_shape(word)


def word_shape(word: str) -> str:
    """Return a word's shape, runs cut at three: ``Xxx``, ``XXX``, ``dd-xxx``."""
    shape: list[str] = []
    for letter in word[:40]:
        mark = letter
        if letter.isalpha():
            mark = "X" if letter.isupper() else "x"
        elif letter.isdigit():
            mark = "d"
        if shape[-3:] != [mark] * 3:
            shape.append(mark)
    return "".join(shape)


def character_rows() -> int:
    """Return how many rows a table of characters has."""
    return _CHARACTERS
