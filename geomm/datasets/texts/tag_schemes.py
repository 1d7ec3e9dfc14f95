"""Tag schemes of entities, converted exactly by way of the entities themselves.

IO, IOB1 (Ramshaw and Marcus, 1995), BIO (also IOB2) and BILUO (also BIOES; Ratinov and Roth, 2009).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from geomm.errors import ConfigError, DataError, did_you_mean

#: (first token, last token, label), both tokens in.
Span = tuple[int, int, str]
SCHEMES = ("IO", "IOB1", "BIO", "BILUO")
_ALIASES = {
    "IOB": "BIO", "IOB2": "BIO", "BILOU": "BILUO", "LBIOU": "BILUO", "IOBES": "BILUO", "BIOES": "BILUO",
    "BMEWO": "BILUO",
}  # fmt: skip
_PARTS = {"E": "L", "S": "U", "W": "U", "M": "I"}
_ALLOWED = {"IO": "I", "IOB1": "BI", "BIO": "BI", "BILUO": "BILU"}


def scheme_name(given: str) -> str:
    """Return a scheme's one name, whatever it is called.

    Raises:
      ConfigError: there is no such scheme.
    """
    name = given.upper()
    name = _ALIASES.get(name, name)
    if name not in SCHEMES:
        known = [*SCHEMES, *_ALIASES, "auto"]
        raise ConfigError(f"dataset.scheme: unknown {given!r}; {did_you_mean(given.upper(), known)}")
    return name


def detect_scheme(sequences: Iterable[Sequence[str]]) -> str:
    """Return the scheme that tag sequences are in, as far as they tell.

    L, U, E or S mean BILUO; no B means IO; B only between neighbours of one label means IOB1.
    """
    begins = bare_starts = needless = False
    for tags in sequences:
        before = ("O", "")
        for tag in tags:
            part, label = split_tag(tag)
            if part in ("L", "U"):
                return "BILUO"
            follows = before[0] != "O" and before[1] == label
            begins |= part == "B"
            needless |= part == "B" and not follows
            bare_starts |= part == "I" and not follows
            before = (part, label)
    if not begins:
        return "IO"
    return "IOB1" if bare_starts and not needless else "BIO"


def split_tag(tag: str) -> tuple[str, str]:
    """Split a tag into its part of an entity (``O``, ``B``, ``I``, ``L``, ``U``) and its label.

    An unknown part is returned as it is.
    """
    text = tag.strip()
    if text in ("O", "", "-", "o"):
        return "O", ""
    part, _, label = text.partition("-")
    part = part.upper()
    return _PARTS.get(part, part), label


def tags_to_spans(tags: Sequence[str], scheme: str) -> tuple[list[Span], int]:
    """Return the entities of tags, and how many tags break the scheme.

    A malformed sequence is read as its writer most likely meant it: an entity that is not begun
    begins, one that is not ended ends where its label does, a tag that is none is ``O``.
    """
    scheme = scheme_name(scheme)
    closes = scheme == "BILUO"
    strict = scheme in ("BIO", "BILUO")
    spans: list[Span] = []
    faults = 0
    opened: tuple[int, str] | None = None

    def close(last: int, *, early: bool) -> None:
        nonlocal opened, faults
        if opened is not None:
            spans.append((opened[0], last, opened[1]))
            faults += early and closes
        opened = None

    for at, tag in enumerate(tags):
        part, label = split_tag(tag)
        if part != "O" and (part not in _ALLOWED[scheme] or not label):
            faults += 1
            part = "O" if part not in "BILU" or not label else part
        same = opened is not None and opened[1] == label
        if part == "O":
            close(at - 1, early=True)
        elif part in "BU":
            close(at - 1, early=True)
            opened = (at, label)
            if part == "U":
                close(at, early=False)
        else:
            if not same:
                close(at - 1, early=True)
                faults += strict
                opened = (at, label)
            if part == "L":
                close(at, early=False)
    close(len(tags) - 1, early=True)
    return spans, int(faults)


def spans_to_tags(spans: Sequence[Span], count: int, scheme: str) -> list[str]:
    """Return the tags of entities that do not overlap.

    Args:
      spans: in any order.
      count: of tokens.
      scheme: to write.

    Raises:
      DataError: entities overlap or leave the tokens, or the scheme cannot tell two apart (IO: two of
        one label side by side).
    """
    scheme = scheme_name(scheme)
    tags = ["O"] * count
    before: Span | None = None
    for span in sorted(spans):
        first, last, label = span
        if not 0 <= first <= last < count or (before is not None and first <= before[1]):
            raise DataError(f"entity {span} overlaps another or leaves the {count} tokens")
        touches = before is not None and before[1] == first - 1 and before[2] == label
        if scheme == "IO" and touches:
            raise DataError(f"IO cannot tell the entities {before} and {span} apart; write BIO or BILUO")
        parts = ["I"] * (last - first + 1)
        if scheme == "BIO" or (scheme == "IOB1" and touches):
            parts[0] = "B"
        elif scheme == "BILUO":
            parts[0], parts[-1] = "B", "L"
            parts = ["U"] if len(parts) == 1 else parts
        tags[first : last + 1] = [f"{part}-{label}" for part in parts]
        before = span
    return tags


def convert(tags: Sequence[str], source: str, target: str) -> tuple[list[str], int]:
    """Return tags in another scheme, and how many broke their own."""
    spans, faults = tags_to_spans(tags, source)
    return spans_to_tags(spans, len(tags), target), faults
