"""Writing a cloud again with other classification codes and nothing else changed.

Header, VLRs and EVLRs are copied as bytes; of each point's record only the classification is
touched.
"""

from __future__ import annotations

import datetime
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from geomm.errors import DataError
from geomm.io.las_layout import (
    COMPRESSED_BIT,
    EVLRS_AT,
    VLR_BYTES,
    WAVEFORMS_AT,
    Evlr,
    Layout,
    find_evlrs,
    read_layout,
)

#: Name of the extra dimension that holds the share of votes for the class.
CONFIDENCE = "confidence"
_SOFTWARE = b"geomm"
_KEEP = -1
_LASZIP = ("laszip encoded", 22204)
_EXTRA_BYTES = ("LASF_Spec", 4)
_FLOAT32 = 9
_COPY_BYTES = 1 << 24
#: Bytes of a record of each point format, without extra bytes.
_RECORD_BYTES = (20, 28, 26, 34, 57, 63, 30, 36, 38, 59, 67)


@dataclass(frozen=True)
class PointCodes:
    """What consecutive points become.

    Attributes:
      codes: (n,) int16 classification codes; -1 keeps what the point has.
      confidence: (n,) float32, 0 to 1, None where it is not written.
    """

    codes: NDArray[np.int16]
    confidence: NDArray[np.float32] | None = None


def written_by_geomm(path: str | Path) -> bool:
    """Tell whether a cloud's header names geomm as what wrote it."""
    with open(path, "rb") as file:
        return file.read(90)[58:90].rstrip(b"\0") == _SOFTWARE


def code_limit(point_format: int) -> int:
    """Return the highest classification code that a point format holds."""
    return 31 if point_format < 6 else 255


def write_codes(
    source: str | Path, target: Path, pieces: Iterable[PointCodes], *, confidence: bool = False
) -> Path:
    """Write ``source`` as ``target`` with other classification codes.

    Every other byte of every point, their order, the header, VLRs and EVLRs stay as they are. A
    header's creation date and generating software are the exception: they say when and by what the
    file was written. With ``confidence`` an extra dimension of that name is added (or filled anew).

    Args:
      source: LAS, LAZ or COPC. A COPC's chunks are written anew, so the result is a plain LAZ without
        COPC's index.
      target: LAS or LAZ by its ending; appears only when complete.
      pieces: codes of all points, in the file's order.
      confidence: whether the pieces bring it.

    Raises:
      DataError: a code that the point format cannot hold, a damaged file.
    """
    temporary = target.with_name(f".{target.name}.part")
    try:
        with open(source, "rb") as read, open(temporary, "wb+") as write:
            _rewrite(str(source), read, write, pieces, confidence, _is_laz(target))
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _is_laz(path: Path) -> bool:
    return path.suffix.lower() == ".laz"


def _rewrite(
    name: str,
    read: BinaryIO,
    write: BinaryIO,
    pieces: Iterable[PointCodes],
    confidence: bool,
    compress: bool,
) -> None:
    layout = read_layout(name, read)
    take = _record_reader(name, read, layout)
    evlrs = find_evlrs(read, layout)
    place = _add_confidence(layout) if confidence else None
    vlr = _set_compression(layout, compress)
    start = _write_front(write, layout, evlrs)
    write.seek(start)
    compressor = _compressor(write, vlr) if vlr is not None else None
    limit = code_limit(layout.point_format)
    for piece in pieces:
        _check_codes(name, piece.codes, limit)
        edited = _edit(take(len(piece.codes)), piece, layout, place)
        if compressor is None:
            write.write(edited.tobytes())
        elif edited.size:
            compressor.compress_many(edited.reshape(-1))
    if compressor is not None:
        compressor.done()
    _write_evlrs(read, write, layout, evlrs)


def _record_reader(name: str, file: BinaryIO, layout: Layout) -> Callable[[int], NDArray[np.uint8]]:
    """Return a function from a number of points to the next points' records, (n, bytes)."""
    import lazrs

    width = layout.record_bytes
    file.seek(layout.point_offset)
    decompressor = None
    if layout.compressed and layout.points:
        index = layout.find(_LASZIP)
        if index is None:
            raise DataError(f"{name} says that it is compressed but has no LASzip VLR; export it again")
        decompressor = lazrs.LasZipDecompressor(file, layout.vlrs[index][1])

    def take(count: int) -> NDArray[np.uint8]:
        raw = np.zeros(count * width, np.uint8)
        try:
            if decompressor is not None:
                decompressor.decompress_many(raw)
            elif file.readinto(memoryview(raw)) != raw.size:  # type: ignore[attr-defined, arg-type]
                raise OSError("the file ends too early")
        except (OSError, lazrs.LazrsError) as error:
            raise DataError(f"{name} is damaged or cut short ({error}); copy or export it again") from error
        return raw.reshape(count, width)

    return take


def _check_codes(name: str, codes: NDArray[np.int16], limit: int) -> None:
    if len(codes) and codes.max() > limit:
        raise DataError(
            f"{name}: its point format holds classification codes 0 to {limit}, the model gives "
            f"{int(codes.max())}; write such clouds as point format 6 or above, or train with other codes"
        )


def _edit(raw: NDArray[np.uint8], piece: PointCodes, layout: Layout, place: int | None) -> NDArray[np.uint8]:
    """Return the records with their codes, and their confidence at byte ``place``."""
    width = layout.record_bytes
    if raw.shape[1] != width:
        raw = np.concatenate([raw, np.zeros((len(raw), width - raw.shape[1]), np.uint8)], axis=1)
    changed = piece.codes != _KEEP
    codes = piece.codes[changed].astype(np.uint8)
    if layout.point_format < 6:  # the upper three bits are flags
        raw[changed, 15] = (raw[changed, 15] & 0xE0) | codes
    else:
        raw[changed, 16] = codes
    if place is not None and piece.confidence is not None:
        values = np.ascontiguousarray(piece.confidence, "<f4").view(np.uint8).reshape(-1, 4)
        raw[:, place : place + 4] = values
    return raw


def _add_confidence(layout: Layout) -> int:
    """Describe the extra dimension; return at which byte of a record it lies."""
    index = layout.find(_EXTRA_BYTES)
    place = _RECORD_BYTES[layout.point_format]
    described = layout.vlrs[index][1] if index is not None else b""
    for start in range(0, len(described), 192):
        kind, options = described[start + 2], described[start + 3]
        if described[start + 4 : start + 36].split(b"\0")[0].decode("latin-1") == CONFIDENCE:
            if kind == _FLOAT32:
                return place
            raise DataError(f"it has an extra dimension {CONFIDENCE!r} of another type; drop it first")
        place += _extra_size(kind, options)
    place = layout.record_bytes  # after any bytes that nothing describes
    undescribed = (
        place
        - _RECORD_BYTES[layout.point_format]
        - sum(_extra_size(described[s + 2], described[s + 3]) for s in range(0, len(described), 192))
    )
    if undescribed > 0:
        described += _descriptor(0, "undescribed", "", options=undescribed)
    described += _descriptor(_FLOAT32, CONFIDENCE, "share of votes for the class")
    head = bytearray(VLR_BYTES)
    head[2:18] = _EXTRA_BYTES[0].encode().ljust(16, b"\0")
    struct.pack_into("<HH", head, 18, _EXTRA_BYTES[1], len(described))
    if index is None:
        layout.vlrs.append((head, described))
    else:
        struct.pack_into("<H", layout.vlrs[index][0], 20, len(described))
        layout.vlrs[index] = (layout.vlrs[index][0], described)
    layout.record_bytes += 4
    return place


def _extra_size(kind: int, options: int) -> int:
    sizes = (1, 1, 2, 2, 4, 4, 8, 8, 4, 8)
    if kind == 0:
        return options
    return sizes[(kind - 1) % 10] * ((kind - 1) // 10 + 1)


def _descriptor(kind: int, name: str, text: str, *, options: int = 0) -> bytes:
    record = bytearray(192)
    record[2], record[3] = kind, options & 0xFF
    record[4:36] = name.encode().ljust(32, b"\0")
    record[160:192] = text.encode().ljust(32, b"\0")[:32]
    return bytes(record)


def _set_compression(layout: Layout, compress: bool) -> bytes | None:
    """Give the layout the LASzip VLR that its points are written with; return its data."""
    import lazrs

    # COPC's index names bytes of the other file; its extents are written by some programs only.
    layout.vlrs = [(head, body) for head, body in layout.vlrs if head[2:18].split(b"\0")[0] != b"copc"]
    index = layout.find(_LASZIP)
    extra = layout.record_bytes - _RECORD_BYTES[layout.point_format]
    raw_format = layout.point_format
    if not compress:
        layout.header[104] = raw_format
        if index is not None:
            del layout.vlrs[index]
        return None
    layout.header[104] = raw_format | COMPRESSED_BIT
    if index is not None:
        old = layout.vlrs[index][1]
        vlr = lazrs.LazVlr(old)
        if vlr.item_size() == layout.record_bytes and not vlr.uses_variable_size_chunks():
            return old
    data = bytes(lazrs.LazVlr.new_for_compression(raw_format, extra).record_data())
    head = bytearray(VLR_BYTES)
    head[2:18] = _LASZIP[0].encode().ljust(16, b"\0")
    struct.pack_into("<HH", head, 18, _LASZIP[1], len(data))
    if index is None:
        layout.vlrs.append((head, data))
    else:
        layout.vlrs[index] = (head, data)
    return data


def _compressor(file: BinaryIO, vlr: bytes) -> Any:
    import lazrs

    return lazrs.LasZipCompressor(file, lazrs.LazVlr(vlr))


def _write_front(file: BinaryIO, layout: Layout, evlrs: Sequence[Evlr]) -> int:
    """Write header and VLRs; return where points begin."""
    header = layout.header
    vlr_bytes = sum(len(head) + len(body) for head, body in layout.vlrs)
    start = len(header) + vlr_bytes + len(layout.gap)
    today = datetime.datetime.now(datetime.timezone.utc).date()
    header[58:90] = _SOFTWARE.ljust(32, b"\0")
    struct.pack_into("<HH", header, 90, today.timetuple().tm_yday, today.year)
    struct.pack_into("<II", header, 96, start, len(layout.vlrs))
    struct.pack_into("<H", header, 105, layout.record_bytes)
    if header[25] >= 4 and len(header) >= 375:
        struct.pack_into("<QI", header, EVLRS_AT, 0, sum(block.listed for block in evlrs))
    file.write(header)
    for head, body in layout.vlrs:
        file.write(head + body)
    file.write(layout.gap)
    return start


def _write_evlrs(read: BinaryIO, write: BinaryIO, layout: Layout, evlrs: Sequence[Evlr]) -> None:
    """Copy the extended VLRs behind the points, and say in the header where they are."""
    write.seek(0, os.SEEK_END)
    places = []
    for block in evlrs:
        places.append(write.tell())
        _copy(read, write, block)
    for block, place in zip(evlrs, places, strict=True):
        if block.start == layout.waveforms:
            write.seek(WAVEFORMS_AT)
            write.write(struct.pack("<Q", place))
    if any(block.listed for block in evlrs):  # the listed ones come first
        write.seek(EVLRS_AT)
        write.write(struct.pack("<Q", places[0]))


def _copy(read: BinaryIO, write: BinaryIO, block: Evlr) -> None:
    read.seek(block.start)
    for left in range(block.length, 0, -_COPY_BYTES):
        write.write(read.read(min(left, _COPY_BYTES)))
