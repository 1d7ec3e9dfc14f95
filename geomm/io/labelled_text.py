"""Texts with entities that people marked, in every format that annotation tools write."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geomm.errors import DataError, did_you_mean
from geomm.io.text_bytes import read_text
from geomm.text import Entity

FORMATS = ("conll", "iob", "tokens_csv", "jsonl", "columns_csv", "docbin")
LABELLED_ENDINGS = (
    ".conll", ".bio", ".iob", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".csv", ".spacy",
)  # fmt: skip
_BY_ENDING = {
    ".conll": "conll", ".bio": "conll", ".txt": "conll", ".tsv": "conll", ".iob": "iob", ".jsonl": "jsonl",
    ".ndjson": "jsonl", ".json": "jsonl", ".spacy": "docbin",
}  # fmt: skip
_TOKEN_FILES = ("tokens.csv", "token.csv")
#: What CoNLL-U notes of a sentence: ``# sent_id = 3``.
_COMMENT = re.compile(r"# ?\w+( \w+)? = ")
_LABEL_KEYS = ("labels", "label", "entities", "spans", "ents")


@dataclass(frozen=True)
class TaggedTokens:
    """A document that comes as tokens with tags.

    Attributes:
      name: file and number.
      tokens: none of them empty.
      tags: a tag a token, as the file has them.
      breaks: positions of tokens that begin a sentence; 0 is not listed.
      scheme: of the tags where the format itself says it, else None.
    """

    name: str
    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    breaks: tuple[int, ...] = ()
    scheme: str | None = None


@dataclass(frozen=True)
class MarkedText:
    """A document that comes as text with entities at character offsets.

    Attributes:
      name: file and number.
      text: all of it.
      entities: as the file has them, overlapping and empty ones too.
      lost: values of a csv that its text does not hold.
    """

    name: str
    text: str
    entities: tuple[Entity, ...]
    lost: int = 0


@dataclass(frozen=True)
class BrokenText:
    """A document that cannot be used, and why."""

    name: str
    reason: str


Labelled = TaggedTokens | MarkedText | BrokenText


def read_labelled(
    path: str | Path, *, format: str = "auto", text_field: str = "text", encoding: str = "auto"
) -> Iterator[Labelled]:
    """Yield the documents of a labelled file.

    Args:
      path: a file; for ``tokens_csv`` the file of the tokens, beside which its tags lie.
      format: one of ``FORMATS``, or ``auto``: by the file's ending.
      text_field: column or key of the text, in csv and JSON lines.
      encoding: of the file, ``auto`` to find it out.

    Raises:
      DataError: the file as a whole cannot be used.
    """
    file = Path(path)
    kind = detect_format(file) if format == "auto" else format
    readers: dict[str, Callable[[Path, str, str], Iterator[Labelled]]] = {
        "conll": _read_conll,
        "iob": _read_iob,
        "tokens_csv": _read_tokens_csv,
        "jsonl": _read_json_lines,
        "columns_csv": _read_columns_csv,
        "docbin": _read_docbin,
    }
    if kind not in readers:
        raise DataError(f"dataset.format: unknown {kind!r}; {did_you_mean(kind, [*FORMATS, 'auto'])}")
    yield from readers[kind](file, text_field, encoding)


def detect_format(file: Path) -> str:
    """Return the format that a file's name means.

    Raises:
      DataError: the ending is none of them.
    """
    if file.name.lower() in _TOKEN_FILES:
        return "tokens_csv"
    if file.suffix.lower() == ".csv":
        return "columns_csv"
    try:
        return _BY_ENDING[file.suffix.lower()]
    except KeyError:
        raise DataError(
            f"{file}: its ending is no format of labelled text ({', '.join(LABELLED_ENDINGS)}); "
            f"give dataset.format={'|'.join(FORMATS)}"
        ) from None


def _read_conll(file: Path, text_field: str, encoding: str) -> Iterator[Labelled]:
    """CoNLL columns: token first, tag last; blank lines between sentences, -DOCSTART- between documents."""
    lines = read_text(file, encoding).split("\n")
    whole = any(line.startswith("-DOCSTART-") for line in lines)
    tokens: list[str] = []
    tags: list[str] = []
    breaks: list[int] = []
    problem = ""
    number = 0
    for at, line in enumerate([*lines, "" if not whole else "-DOCSTART-"]):
        ends = line.startswith("-DOCSTART-") if whole else not line.strip()
        if ends and (tokens or problem):
            number += 1
            inner = tuple(place for place in breaks if place < len(tokens))
            whole_one = TaggedTokens(f"{file}#{number}", tuple(tokens), tuple(tags), inner)
            yield BrokenText(str(file), problem) if problem else whole_one
            tokens, tags, breaks, problem = [], [], [], ""
        elif not line.strip():
            if tokens and (not breaks or breaks[-1] != len(tokens)):
                breaks.append(len(tokens))
        elif not ends and not _COMMENT.match(line):
            columns = line.split("\t") if "\t" in line else line.split()
            columns = [column.strip() for column in columns]
            if len(columns) < 2 or not columns[0]:
                found = f"line {at + 1}: found {line[:60]!r}, expected a token and a tag in columns"
                problem = problem or found
                continue
            tokens.append(columns[0])
            tags.append(columns[-1])


def _read_iob(file: Path, text_field: str, encoding: str) -> Iterator[Labelled]:
    """One sentence a line, ``token|tag`` or ``token|part-of-speech|tag`` between spaces; or CoNLL columns."""
    text = read_text(file, encoding)
    first = next((line for line in text.split("\n") if line.strip()), "")
    if "|" not in first.partition(" ")[0]:
        yield from _read_conll(file, text_field, encoding)
        return
    for at, line in enumerate(text.split("\n"), 1):
        cells = [cell.split("|") for cell in line.split()]
        if not cells:
            continue
        name = f"{file}, line {at}"
        if any(len(cell) < 2 or not cell[0] for cell in cells):
            yield BrokenText(name, "expected token|tag between spaces")
            continue
        yield TaggedTokens(name, tuple(cell[0] for cell in cells), tuple(cell[-1] for cell in cells))


def _read_tokens_csv(file: Path, text_field: str, encoding: str) -> Iterator[Labelled]:
    """``tokens.csv`` and ``tags.csv``: one document a row, one token or tag a cell."""
    beside = [file.with_name(name) for name in ("tags.csv", "tag.csv")]
    tags_file = next((path for path in beside if path.is_file()), None)
    if tags_file is None:
        raise DataError(f"{file}: there is no tags.csv beside it")
    tokens, tags = (_rows(path, encoding) for path in (file, tags_file))
    if len(tokens) != len(tags):
        raise DataError(
            f"{file} has {len(tokens)} rows and {tags_file.name} {len(tags)}; expected equally many"
        )
    for at, (words, marks) in enumerate(zip(tokens, tags, strict=True), 1):
        name = f"{file}, row {at}"
        words, marks = _trimmed(words), _trimmed(marks)
        if len(words) != len(marks):
            yield BrokenText(name, f"{len(words)} tokens and {len(marks)} tags; expected equally many")
        elif not all(words):
            yield BrokenText(name, "an empty cell between tokens")
        else:
            yield TaggedTokens(name, tuple(words), tuple(marks))


def _rows(file: Path, encoding: str) -> list[list[str]]:
    csv.field_size_limit(sys.maxsize)
    return list(csv.reader(io.StringIO(read_text(file, encoding))))


def _trimmed(cells: list[str]) -> list[str]:
    """Drop the empty cells that spreadsheets put behind shorter rows."""
    cells = [cell.strip() for cell in cells]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _read_json_lines(file: Path, text_field: str, encoding: str) -> Iterator[Labelled]:
    """JSON objects with ``text`` and ``labels``, [start, end, label] or objects: one a line, or a list."""
    text = read_text(file, encoding)
    lines: Iterable[tuple[str, Any]]
    lines = ((f"line {at}", line) for at, line in enumerate(text.split("\n"), 1) if line.strip())
    if file.suffix.lower() == ".json" and text.lstrip().startswith("["):
        try:
            lines = ((f"entry {at}", item) for at, item in enumerate(json.loads(text), 1))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file}: expected JSON, a list of texts or one a line ({error})") from error
    for at, item in lines:
        name = f"{file}, {at}"
        try:
            yield _from_json(json.loads(item) if isinstance(item, str) else item, name, text_field)
        except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            yield BrokenText(name, f'expected {{"text": …, "labels": [[start, end, label], …]}} ({reason})')


def _from_json(record: Any, name: str, text_field: str) -> MarkedText:
    text = record[text_field]
    if not isinstance(text, str):
        raise TypeError(f"{text_field} is no text")
    found: Any = next((record[key] for key in _LABEL_KEYS if key in record), [])
    entities = [_entity(item) for item in found]
    outside = [entity for entity in entities if not 0 <= entity.start < entity.end <= len(text)]
    if outside:
        raise ValueError(f"entity {outside[0].start} to {outside[0].end} of {len(text)} characters")
    return MarkedText(name, text, tuple(entities))


def _entity(item: Any) -> Entity:
    if not isinstance(item, dict):
        return Entity(int(item[0]), int(item[1]), str(item[2]))
    label = item["label"] if "label" in item else item["type"]
    start = item["start"] if "start" in item else item["start_offset"]
    end = item["end"] if "end" in item else item["end_offset"]
    return Entity(int(start), int(end), str(label))


def _read_columns_csv(file: Path, text_field: str, encoding: str) -> Iterator[Labelled]:
    """A csv with a column of texts and one an entity, several values split by commas."""
    rows = _rows(file, encoding)
    header = [cell.strip() for cell in rows[0]] if rows else []
    if text_field not in header:
        raise DataError(
            f"{file}: no column {text_field!r}; {did_you_mean(text_field, header)} (dataset.text_field=…)"
        )
    column = header.index(text_field)
    for at, row in enumerate(rows[1:], 2):
        if not any(row):
            continue
        text = row[column] if column < len(row) else ""
        entities: list[Entity] = []
        lost = 0
        for label, cell in zip(header, row, strict=False):
            if label and label != text_field:
                found, missing = _find_values(text, cell, label)
                entities += found
                lost += missing
        yield MarkedText(f"{file}, row {at}", text, tuple(entities), lost)


def _find_values(text: str, cell: str, label: str) -> tuple[list[Entity], int]:
    """Find a cell's value in a text, or each of its values where the whole is not there."""
    whole = _occurrences(text, cell.strip())
    if whole:
        return [Entity(a, b, label) for a, b in whole], 0
    values = [value.strip() for value in cell.split(",") if value.strip()]
    places = [_occurrences(text, value) for value in values]
    return [Entity(a, b, label) for found in places for a, b in found], sum(not found for found in places)


def _occurrences(text: str, value: str) -> list[tuple[int, int]]:
    if not value:
        return []
    left = r"(?<!\w)" if value[0].isalnum() else ""
    right = r"(?!\w)" if value[-1].isalnum() else ""
    return [match.span() for match in re.finditer(f"{left}{re.escape(value)}{right}", text)]


def _read_docbin(file: Path, text_field: str, encoding: str) -> Iterator[Labelled]:
    """SpaCy's DocBin; only its tokens and entities are read."""
    import spacy
    from spacy.tokens import DocBin

    try:
        docs = list(DocBin().from_disk(file).get_docs(spacy.blank("xx").vocab))
    except Exception as error:  # whatever msgpack, zlib and spaCy raise
        raise DataError(f"{file} is no DocBin of spaCy ({' '.join(str(error).split())[:120]})") from error
    for at, doc in enumerate(docs, 1):
        entities = tuple(Entity(e.start_char, e.end_char, e.label_) for e in doc.ents)
        yield MarkedText(f"{file}#{at}", doc.text, entities)
