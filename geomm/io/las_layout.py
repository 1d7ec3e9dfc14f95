"""How a LAS file is laid out: header, VLRs, points, extended VLRs (LAS 1.4, revision 15, ASPRS)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from geomm.errors import DataError

VLR_BYTES, _EVLR_BYTES = 54, 60
COMPRESSED_BIT = 0x80
#: Bytes of a header that say where waveforms and extended VLRs begin, and the bit that tells of the former.
WAVEFORMS_AT, EVLRS_AT, _WAVEFORMS_INSIDE = 227, 235, 2


@dataclass
class Layout:
    """A LAS file's header and VLRs as bytes, and where its points, EVLRs and waveforms lie, 0 for none."""

    header: bytearray
    vlrs: list[tuple[bytearray, bytes]]
    gap: bytes
    points: int
    point_format: int
    record_bytes: int
    point_offset: int
    compressed: bool
    evlr_start: int
    waveforms: int

    def find(self, key: tuple[str, int]) -> int | None:
        for index, (head, _) in enumerate(self.vlrs):
            user = bytes(head[2:18]).split(b"\0")[0].decode("latin-1")
            if (user, struct.unpack_from("<H", head, 18)[0]) == key:
                return index
        return None


@dataclass(frozen=True)
class Evlr:
    """Where an extended VLR lies, and whether the header counts it among them."""

    start: int
    length: int
    listed: bool


def read_layout(name: str, file: BinaryIO) -> Layout:
    """Read all of a LAS file but its points.

    Args:
      name: of the file, for messages.
      file: at its beginning.

    Raises:
      DataError: it is no LAS file.
    """
    first = file.read(375)
    if len(first) < 227 or first[:4] != b"LASF":
        raise DataError(f"{name} is no LAS file; expected one that begins with LASF")
    size, offset, count = struct.unpack_from("<HII", first, 94)
    raw_format, record_bytes, legacy = struct.unpack_from("<BHI", first, 104)
    file.seek(0)
    header = bytearray(file.read(size))
    points, evlr_start, waveforms = legacy, 0, 0
    if header[25] >= 3 and size >= 235 and header[6] & _WAVEFORMS_INSIDE:
        waveforms = struct.unpack_from("<Q", header, WAVEFORMS_AT)[0]
    if header[25] >= 4 and size >= 375:
        evlr_start = (
            struct.unpack_from("<Q", header, EVLRS_AT)[0] if struct.unpack_from("<I", header, 243)[0] else 0
        )
        points = struct.unpack_from("<Q", header, 247)[0] or legacy
    vlrs: list[tuple[bytearray, bytes]] = []
    for _ in range(count):
        head = bytearray(file.read(VLR_BYTES))
        vlrs.append((head, file.read(struct.unpack_from("<H", head, 20)[0])))
    gap = file.read(max(offset - file.tell(), 0))
    return Layout(
        header, vlrs, gap, points, raw_format & 0x3F, record_bytes, offset,
        bool(raw_format & COMPRESSED_BIT), evlr_start, waveforms,
    )  # fmt: skip


def find_evlrs(file: BinaryIO, layout: Layout) -> list[Evlr]:
    """Return the extended VLRs without COPC's index; waveforms may lie outside of the list."""
    found: list[Evlr] = []
    place = layout.evlr_start
    for _ in range(struct.unpack_from("<I", layout.header, 243)[0] if place else 0):
        block, user = _evlr_at(file, place)
        if block is None:
            break
        if user != b"copc":
            found.append(block)
        place += block.length
    if layout.waveforms and all(block.start != layout.waveforms for block in found):
        block, _ = _evlr_at(file, layout.waveforms, listed=False)
        found += [] if block is None else [block]
    return found


def _evlr_at(file: BinaryIO, place: int, *, listed: bool = True) -> tuple[Evlr | None, bytes]:
    """Return the extended VLR that begins at a byte, and whose it is; the file's position stays."""
    back = file.tell()
    file.seek(place)
    head = file.read(_EVLR_BYTES)
    file.seek(back)
    if len(head) < _EVLR_BYTES:
        return None, b""
    length = _EVLR_BYTES + struct.unpack_from("<Q", head, 20)[0]
    return Evlr(place, length, listed), head[2:18].split(b"\0")[0]
