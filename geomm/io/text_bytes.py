"""Bytes to text: the encoding found out, never a crash on a strange byte."""

from __future__ import annotations

import codecs
from pathlib import Path

from geomm.errors import DataError

#: Bytes from which an encoding is guessed.
_LOOKED_AT = 256 * 1024
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: str | Path, encoding: str = "auto") -> str:
    """Return a file's text; every kind of line end becomes a line feed.

    Args:
      path: of the file.
      encoding: a name that Python knows, or ``auto``: a byte order mark, UTF-8, else the most likely.

    Raises:
      DataError: the file cannot be read, holds no text, or is not in the encoding that was named.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
    return decode(raw, str(path), encoding)


def decode(raw: bytes, name: str, encoding: str = "auto") -> str:
    """Return the text that bytes hold; see ``read_text``."""
    if encoding != "auto":
        try:
            text = raw.decode(encoding)
        except LookupError as error:
            raise DataError(f"{name}: Python knows no encoding {encoding!r}; try utf-8 or auto") from error
        except UnicodeDecodeError as error:
            reason = f"byte {raw[error.start]:#04x} at {error.start}"
            raise DataError(f"{name} is not {encoding} ({reason}); try dataset.encoding=auto") from error
    else:
        text = _guess(raw, name)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _guess(raw: bytes, name: str) -> str:
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            return raw.decode(encoding, "replace")
    if _is_binary(raw):
        raise DataError(f"{name} holds binary data, not text; take it out, or let on_error=skip leave it out")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        # Nearly all of it may be UTF-8 with a byte gone wrong.
        lenient = raw.decode("utf-8", "replace")
        wrong, foreign = lenient.count("�"), sum(byte > 127 for byte in raw[:_LOOKED_AT])
        if wrong * 20 < foreign or (error.start >= len(raw) - 4 and error.reason == "unexpected end of data"):
            return lenient
    return raw.decode(_likeliest(raw[:_LOOKED_AT]), "replace")


def _likeliest(raw: bytes) -> str:
    """Return the encoding that makes the tidiest text; of equally tidy ones the most used of old."""
    from charset_normalizer import from_bytes

    found = {match.encoding: match.chaos for match in from_bytes(raw)}
    return "cp1252" if found.get("cp1252", 1.0) <= min(found.values(), default=1.0) else next(iter(found))


def _is_binary(raw: bytes) -> bool:
    head = raw[:8192]
    controls = sum(byte < 32 and byte not in (9, 10, 11, 12, 13, 27) for byte in head)
    return b"\0" in head or controls > max(len(head) // 20, 2)
