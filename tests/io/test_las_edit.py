"""A cloud written with other codes is the same file but for those codes."""

import laspy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomm.errors import DataError
from geomm.io.las import read_chunks
from geomm.io.las_edit import PointCodes, write_codes, written_by_geomm
from tests.io.clouds import add_waveforms, compress_unevenly, write_cloud

#: Bytes of a header that say by what and when a file was written.
STAMPS = slice(58, 94)


def cloud(path, n=400, **options):
    xyz = np.random.default_rng(n).uniform(0, 50, (n, 3)) + [5e5, 5e6, 100]
    return write_cloud(path, xyz, **options)


def pieces(codes, step=150, confidence=None):
    for start in range(0, len(codes), step):
        part = slice(start, start + step)
        yield PointCodes(codes[part], None if confidence is None else confidence[part])


@settings(max_examples=20, deadline=None)
@given(
    point_format=st.integers(0, 10), n=st.integers(1, 300), step=st.integers(1, 200),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_an_uncompressed_file_differs_in_codes_and_stamps_alone(
    tmp_path_factory, point_format, n, step, seed
):
    folder = tmp_path_factory.mktemp("bytes")
    path = cloud(folder / "a.las", n, point_format=point_format, extra={"e": "u2"})
    codes = np.random.default_rng(seed).integers(-1, 32, n).astype(np.int16)
    out = write_codes(path, folder / "b.las", pieces(codes, step))
    before, after = (np.frombuffer(file.read_bytes(), np.uint8).copy() for file in (path, out))
    assert len(before) == len(after)
    header = laspy.open(path).header
    start, width = header.offset_to_point_data, header.point_format.size
    place, flags = (15, 0xE0) if point_format < 6 else (16, 0)
    records = before[start : start + n * width].reshape(n, width)
    changed = codes >= 0
    records[changed, place] = (records[changed, place] & flags) | codes[changed].astype(np.uint8)
    before[STAMPS] = after[STAMPS]
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("point_format", [1, 3, 6, 7, 8, 10])
@pytest.mark.parametrize("ends", [("las", "laz"), ("laz", "laz"), ("laz", "las")])
@pytest.mark.parametrize("confidence", [False, True])
def test_every_dimension_vlr_and_the_header_survive(tmp_path, point_format, ends, confidence):
    path = cloud(tmp_path / f"a.{ends[0]}", point_format=point_format, extra={"e": "f8"})
    codes = np.random.default_rng(1).integers(-1, 32, 400).astype(np.int16)
    shares = np.random.default_rng(2).random(400).astype(np.float32)
    given_confidence = shares if confidence else None
    out = write_codes(
        path, tmp_path / f"b.{ends[1]}", pieces(codes, confidence=given_confidence), confidence=confidence
    )
    before, after = laspy.read(path), laspy.read(out)
    for name in before.point_format.dimension_names:
        if name != "classification":
            np.testing.assert_array_equal(np.asarray(before[name]), np.asarray(after[name]), err_msg=name)
    wanted = np.where(codes >= 0, codes, np.asarray(before.classification))
    np.testing.assert_array_equal(np.asarray(after.classification), wanted)
    if confidence:
        np.testing.assert_array_equal(np.asarray(after["confidence"]), shares)
        again = write_codes(out, tmp_path / "c.laz", pieces(codes, confidence=1 - shares), confidence=True)
        np.testing.assert_array_equal(np.asarray(laspy.read(again)["confidence"]), 1 - shares)
    head, tail = before.header, after.header
    for name in ("version", "uuid", "scales", "offsets", "mins", "maxs", "point_count", "system_identifier"):
        np.testing.assert_array_equal(np.asarray(getattr(head, name)), np.asarray(getattr(tail, name)))
    assert head.parse_crs() == tail.parse_crs()
    assert written_by_geomm(out) and not written_by_geomm(path)


def test_extended_vlrs_survive(tmp_path):
    path = cloud(tmp_path / "a.laz", point_format=6)
    whole = laspy.read(path)
    whole.evlrs = laspy.vlrs.vlrlist.VLRList([laspy.VLR("me", 7, "note", b"x" * 70000)])
    whole.write(str(path))
    for name in ("b.laz", "b.las"):
        out = write_codes(path, tmp_path / name, pieces(np.full(400, 4, np.int16)))
        (block,) = laspy.read(out).evlrs
        assert (block.user_id, block.record_id, block.record_data) == ("me", 7, b"x" * 70000)


@pytest.mark.parametrize("point_format, ends", [(4, "las"), (9, "las"), (10, "laz")])
@pytest.mark.parametrize("listed", [False, True])
def test_waveforms_inside_a_file_are_found_in_its_copy(tmp_path, point_format, ends, listed):
    path = cloud(tmp_path / f"a.{ends}", point_format=point_format)
    content = bytes(range(256)) * 9
    add_waveforms(path, content, listed=listed and point_format > 5)
    codes = pieces(np.full(400, 4, np.int16), confidence=np.ones(400, np.float32))
    out = write_codes(path, tmp_path / f"b.{ends}", codes, confidence=True).read_bytes()
    start = int.from_bytes(out[227:235], "little")
    assert out[start + 2 : start + 11] == b"LASF_Spec" and out[start + 60 :] == content
    evlrs = laspy.read(tmp_path / f"b.{ends}").evlrs or []
    assert len(evlrs) == (listed and point_format > 5)


def test_a_copc_becomes_a_plain_laz(tmp_path):
    """Without COPC's own records: its index would name bytes of another file."""
    path = cloud(tmp_path / "a.laz", point_format=6)
    whole = laspy.read(path)
    whole.vlrs.insert(0, laspy.VLR("copc", 1, "info", b"\0" * 160))
    whole.vlrs.append(laspy.VLR("copc", 10000, "extents", b"\0" * 16))
    whole.evlrs = laspy.vlrs.vlrlist.VLRList(
        [laspy.VLR("copc", 1000, "", b"\0" * 64), laspy.VLR("me", 7, "", b"y")]
    )
    whole.write(str(path))
    out = laspy.read(write_codes(path, tmp_path / "b.laz", pieces(np.full(400, 4, np.int16))))
    assert [block.user_id for block in out.evlrs] == ["me"]
    assert "copc" not in {vlr.user_id for vlr in out.vlrs}
    np.testing.assert_array_equal(out.xyz, whole.xyz)


def test_chunks_of_any_size_are_read_and_written_anew(tmp_path):
    path = cloud(tmp_path / "a.las", point_format=7)
    compress_unevenly(path, tmp_path / "a.copc.laz", ends=(7, 130))
    whole = laspy.read(path)
    chunks = list(read_chunks(tmp_path / "a.copc.laz", ["gps_time"], chunk_points=50))
    np.testing.assert_array_equal(np.concatenate([chunk.xyz for chunk in chunks]), whole.xyz)
    codes = pieces(np.full(400, 4, np.int16))
    out = laspy.read(write_codes(tmp_path / "a.copc.laz", tmp_path / "b.laz", codes))
    np.testing.assert_array_equal(out.xyz, whole.xyz)
    np.testing.assert_array_equal(out.gps_time, whole.gps_time)
    assert (np.asarray(out.classification) == 4).all()


def test_codes_that_do_not_fit_and_damage_leave_no_file(tmp_path):
    path = cloud(tmp_path / "a.las", point_format=3)
    with pytest.raises(DataError, match="codes 0 to 31"):
        write_codes(path, tmp_path / "b.las", pieces(np.full(400, 64, np.int16)))
    content = path.read_bytes()
    path.write_bytes(content[:-200])
    with pytest.raises(DataError, match="cut short"):
        write_codes(path, tmp_path / "b.las", pieces(np.full(400, 4, np.int16)))
    assert [file.name for file in tmp_path.iterdir()] == ["a.las"]
