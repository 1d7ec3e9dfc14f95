"""Small clouds for tests."""

import struct

import laspy
import lazrs
import numpy as np
from pyproj import CRS

UTM = "EPSG:32632"


def write_cloud(path, xyz, *, codes=None, point_format=3, crs=UTM, extra=None, seed=0, scale=0.001):
    """Write points (n, 3) with random values in every dimension of the format."""
    rng = np.random.default_rng(seed)
    xyz = np.asarray(xyz, np.float64).reshape(-1, 3)
    header = laspy.LasHeader(point_format=point_format, version=_version(point_format))
    header.scales = np.full(3, scale)
    header.offsets = np.floor(xyz.min(0)) if len(xyz) else np.zeros(3)
    if crs is not None:
        header.add_crs(CRS.from_user_input(crs))
    for name, kind in (extra or {}).items():
        header.add_extra_dim(laspy.ExtraBytesParams(name, kind))
    las = laspy.LasData(header)
    las.x, las.y, las.z = xyz.T
    n = len(xyz)
    las.intensity = rng.integers(0, 65535, n)
    las.number_of_returns = rng.integers(1, 4, n)
    las.return_number = np.minimum(rng.integers(1, 4, n), np.asarray(las.number_of_returns))
    las.user_data = rng.integers(0, 255, n)
    las.point_source_id = rng.integers(0, 65535, n)
    las.synthetic, las.withheld = rng.integers(0, 2, n), rng.integers(0, 2, n)
    las.classification = rng.integers(0, 20, n) if codes is None else codes
    for name in ("gps_time", "red", "green", "blue", "nir"):
        if name in las.point_format.dimension_names:
            las[name] = rng.integers(0, 65535, n)
    for name, kind in (extra or {}).items():
        las[name] = rng.random(n).astype(kind)
    las.write(str(path))
    return path


def _version(point_format):
    return "1.4" if point_format >= 6 else "1.3" if point_format >= 4 else "1.2"


def compress_unevenly(source, path, ends):
    """Compress a LAS in chunks that end after these numbers of points, as COPC has them."""
    raw, header = source.read_bytes(), laspy.open(source).header
    start, width = header.offset_to_point_data, header.point_format.size
    vlr = lazrs.LazVlr.new_for_compression(header.point_format.id, 0, True)
    data = bytes(vlr.record_data())
    head = bytearray(54)
    head[2:18] = b"laszip encoded".ljust(16, b"\0")
    struct.pack_into("<HH", head, 18, 22204, len(data))
    front = bytearray(raw[:start])
    count = struct.unpack_from("<I", front, 100)[0]
    struct.pack_into("<II", front, 96, start + len(head) + len(data), count + 1)
    front[104] |= 0x80
    points = np.frombuffer(raw, np.uint8, header.point_count * width, start)
    with open(path, "wb+") as file:
        file.write(front + head + data)
        compressor = lazrs.LasZipCompressor(file, vlr)
        for first, last in zip((0, *ends), (*ends, header.point_count), strict=True):
            compressor.compress_many(points[first * width : last * width])
            compressor.finish_current_chunk()
        compressor.done()


def add_waveforms(path, content, *, listed):
    """Put waveform packets behind a cloud, as an extended VLR that the header counts (1.4) or not."""
    raw = bytearray(path.read_bytes())
    head = bytearray(60)
    head[2:18] = b"LASF_Spec".ljust(16, b"\0")
    struct.pack_into("<HQ", head, 18, 65535, len(content))
    raw[6] |= 2
    struct.pack_into("<Q", raw, 227, len(raw))
    if listed:
        struct.pack_into("<QI", raw, 235, len(raw), 1)
    path.write_bytes(bytes(raw) + bytes(head) + content)


def town(seed=0, edge=40.0, density=6.0):
    """Return points (n, 3) and codes: sloping ground (2), a building (6), high vegetation (5)."""
    rng = np.random.default_rng(seed)
    n = int(edge**2 * density)
    xy = rng.uniform(0, edge, (n, 2))
    ground = 100 + 0.05 * xy[:, 0]
    z, codes = ground + rng.normal(0, 0.02, n), np.full(n, 2)
    roof = (abs(xy[:, 0] - edge * 0.3) < edge * 0.15) & (abs(xy[:, 1] - edge * 0.6) < edge * 0.2)
    z[roof], codes[roof] = 108 + rng.normal(0, 0.02, roof.sum()), 6
    tree = (np.hypot(xy[:, 0] - edge * 0.75, xy[:, 1] - edge * 0.4) < edge * 0.15) & (rng.random(n) < 0.8)
    z[tree], codes[tree] = ground[tree] + rng.uniform(2, 5, tree.sum()), 5
    return np.column_stack([xy + [500000, 5000000], z]), codes
