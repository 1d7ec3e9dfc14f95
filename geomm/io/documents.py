"""Unstructured files to texts: plain, Markdown, HTML, Word, PDF, and rows of csv and JSON lines."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from geomm.errors import DataError, did_you_mean
from geomm.io.text_bytes import read_text

DOCUMENT_ENDINGS = (
    ".txt", ".text", ".md", ".markdown", ".html", ".htm", ".csv", ".jsonl", ".ndjson", ".docx", ".pdf",
)  # fmt: skip
#: Elements of HTML that stand on lines of their own.
_BLOCKS = (
    "p", "div", "br", "li", "tr", "td", "th", "title", "section", "h1", "h2", "h3", "h4", "h5", "h6",
)  # fmt: skip


@dataclass(frozen=True)
class RawText:
    """The text of one document.

    Attributes:
      part: which of its file's documents it is, such as ``row 3``; empty for a file that is one.
      text: without markup.
      problem: why this one of a file's documents cannot be read; empty where it can.
    """

    part: str
    text: str
    problem: str = ""


def read_documents(
    path: str | Path, *, text_field: str = "text", encoding: str = "auto"
) -> Iterator[RawText]:
    """Yield the documents of a file.

    Args:
      path: a file whose ending says what it is; one without an ending is plain text.
      text_field: column or key of the text, in csv and JSON lines.
      encoding: of text files, ``auto`` to find it out.

    Raises:
      DataError: the file cannot be read, or is not what its ending says.
    """
    file = Path(path)
    ending = file.suffix.lower()
    if ending in (".csv", ".jsonl", ".ndjson"):
        rows = _csv_rows if ending == ".csv" else _json_rows
        yield from rows(file, text_field, encoding)
        return
    readers: dict[str, Callable[[Path, str], str]] = {
        ".md": _markdown, ".markdown": _markdown, ".html": _html, ".htm": _html, ".docx": _docx, ".pdf": _pdf,
        ".txt": read_text, ".text": read_text, "": read_text,
    }  # fmt: skip
    if ending not in readers:
        raise DataError(f"{file}: {ending} is no kind of document; expected {', '.join(DOCUMENT_ENDINGS)}")
    yield RawText("", readers[ending](file, encoding))


def _markdown(file: Path, encoding: str) -> str:
    """Return Markdown's words: headings, emphasis, links, tables and code fences lose their marks."""
    text = read_text(file, encoding)
    text = re.sub(r"!?\[([^\]\n]*)\]\([^)\n]*\)", r"\1", text)
    text = re.sub(r"^(\s*)(?:#{1,6}\s+|[-*+]\s+|>\s?|```.*$)", r"\1", text, flags=re.MULTILINE)
    text = re.sub(r"^[ \t]*\|?(?:[ \t]*:?-+:?[ \t]*\|)+[-: \t]*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^[ \t]*\|(.*)\|[ \t]*$", lambda row: row[1].replace("|", "\t"), text, flags=re.MULTILINE)
    text = re.sub(r"(\*\*|__|`)(.+?)\1", r"\2", text)
    return re.sub(r"(?<![\w*])([*_])(?=\S)([^*_\n]+?)(?<=\S)\1(?![\w*])", r"\2", text)


def _html(file: Path, encoding: str) -> str:
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(read_text(file, encoding), "html.parser")
    for part in soup(["script", "style", "template", "noscript"]):
        part.decompose()
    for block in soup.find_all(_BLOCKS):
        block.insert_before("\n")
        block.append("\n")
    lines = (" ".join(line.split()) for line in soup.get_text().split("\n"))
    return "\n".join(line for line in lines if line)


def _docx(file: Path, encoding: str) -> str:
    import docx

    try:
        document = docx.Document(str(file))
        lines = []
        for block in document.iter_inner_content():
            if hasattr(block, "rows"):
                lines += ["\t".join(cell.text for cell in row.cells) for row in block.rows]
            else:
                lines.append(block.text)
    except Exception as error:  # the library lets through whatever zipfile and lxml raise
        raise DataError(f"{file} cannot be read as a Word document ({_first_line(error)})") from error
    return "\n".join(lines)


def _pdf(file: Path, encoding: str) -> str:
    import pypdf

    # Its own remarks name no file; what matters of them comes as an error.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader = pypdf.PdfReader(str(file))
            if reader.is_encrypted and not reader.decrypt(""):
                raise DataError(f"{file} is encrypted; save it without its password")
            pages = [page.extract_text() for page in reader.pages]
    except DataError:
        raise
    except Exception as error:  # a damaged file breaks pypdf in many ways
        raise DataError(f"{file} cannot be read as a PDF ({_first_line(error)})") from error
    if pages and not any(page.strip() for page in pages):
        raise DataError(f"{file} holds {len(pages)} pages without text, a scan perhaps; run it through OCR")
    return "\n".join(pages)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:150]


def _csv_rows(file: Path, text_field: str, encoding: str) -> Iterator[RawText]:
    csv.field_size_limit(sys.maxsize)
    try:
        rows = csv.DictReader(io.StringIO(read_text(file, encoding)))
        header = [name.strip() for name in rows.fieldnames or []]
        rows.fieldnames = header
        if text_field not in header:
            hint = did_you_mean(text_field, header)
            raise DataError(f"{file}: no column {text_field!r}; {hint} (inference.text_field=…)")
        for number, row in enumerate(rows, 2):
            yield RawText(f"row {number}", row[text_field] or "")
    except csv.Error as error:
        raise DataError(f"{file} is no csv ({error})") from error


def _json_rows(file: Path, text_field: str, encoding: str) -> Iterator[RawText]:
    for number, line in enumerate(read_text(file, encoding).split("\n"), 1):
        if not line.strip():
            continue
        try:
            text = json.loads(line)[text_field]
        except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            reason = f"expected a JSON object with the key {text_field!r} ({type(error).__name__})"
            yield RawText(f"line {number}", "", f"{file}, line {number}: {reason}")
            continue
        if text is None or isinstance(text, str):
            yield RawText(f"line {number}", text or "")
        else:
            reason = f"found {json.dumps(text)[:40]} for {text_field!r}, expected a text in quotes"
            yield RawText(f"line {number}", "", f"{file}, line {number}: {reason}")
