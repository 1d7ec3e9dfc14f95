"""Reading clouds of every format, and saying what is wrong with those that cannot be read."""

import struct

import laspy
import numpy as np
import pytest
from pyproj import CRS

from geomm.errors import DataError
from geomm.io.las import read_chunks, read_las_info, same_plane
from tests.io.clouds import write_cloud


def points(n=500, seed=0):
    return np.random.default_rng(seed).uniform(0, 50, (n, 3)) + [5e5, 5e6, 100]


@pytest.mark.parametrize("point_format", [0, 1, 2, 3, 6, 7, 8])
@pytest.mark.parametrize("ending", ["las", "laz"])
def test_chunks_join_to_the_whole(tmp_path, point_format, ending):
    path = write_cloud(tmp_path / f"a.{ending}", points(), point_format=point_format, extra={"height": "f4"})
    names = ["intensity", "classification", "scan_angle", "height"]
    chunks = list(read_chunks(path, names, chunk_points=77))
    whole = laspy.read(path)
    np.testing.assert_allclose(np.concatenate([c.xyz for c in chunks]), whole.xyz, atol=1e-6)
    assert [c.start for c in chunks] == list(range(0, 500, 77))
    for name in ("intensity", "classification", "height"):
        np.testing.assert_array_equal(
            np.concatenate([c.values[name] for c in chunks]), np.asarray(whole[name])
        )
    info = read_las_info(path)
    assert (info.points, info.point_format, info.extra_dimensions) == (500, point_format, ("height",))
    assert info.units_m == (1.0, 1.0, 1.0) and "UTM zone 32N" in info.crs


def test_scan_angles_are_degrees_in_every_format(tmp_path):
    for point_format, name, stored in ((1, "scan_angle_rank", 15), (6, "scan_angle", 2500)):
        path = write_cloud(tmp_path / f"{point_format}.las", points(3), point_format=point_format)
        cloud = laspy.read(path)
        cloud[name] = np.full(3, stored)
        cloud.write(str(path))
        (chunk,) = read_chunks(path, ["scan_angle"])
        np.testing.assert_allclose(chunk.values["scan_angle"], 15, atol=1e-4)


def test_feet_are_known_and_degrees_refused(tmp_path):
    feet = write_cloud(tmp_path / "feet.las", points(5), crs="EPSG:2263")
    assert read_las_info(feet).units_m == pytest.approx((0.3048,) * 3, abs=1e-5)
    degrees = write_cloud(tmp_path / "degrees.las", np.random.rand(5, 3), crs="EPSG:4326")
    with pytest.raises(DataError, match=r"in degrees .* reproject it"):
        read_las_info(degrees).units_m  # noqa: B018


@pytest.mark.parametrize("share", [0.3, 0.7, 0.97])
@pytest.mark.parametrize("ending", ["las", "laz"])
def test_a_cut_file_is_named(tmp_path, share, ending):
    path = write_cloud(tmp_path / f"a.{ending}", points(5000))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=rf"a\.{ending} .*export it again"):
        list(read_chunks(path))


def test_what_is_no_cloud_is_named(tmp_path):
    path = tmp_path / "a.las"
    path.write_bytes(b"not a cloud" * 40)
    with pytest.raises(DataError, match="cannot be opened as LAS or LAZ"):
        read_las_info(path)
    with pytest.raises(DataError, match="there is no such file"):
        read_las_info(tmp_path / "b.las")


def test_an_unknown_point_format_is_named(tmp_path):
    path = write_cloud(tmp_path / "a.las", points(5))
    content = bytearray(path.read_bytes())
    content[104] = 42
    path.write_bytes(content)
    with pytest.raises(DataError, match="point format 0 to 10"):
        read_las_info(path)


@pytest.mark.parametrize("value", [float("nan"), 0.0, float("inf")])
def test_scales_that_place_no_point_are_named(tmp_path, value):
    path = write_cloud(tmp_path / "a.las", points(5))
    content = bytearray(path.read_bytes())
    struct.pack_into("<d", content, 131, value)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"scales .* place no point"):
        read_las_info(path)


def test_huge_coordinates_are_named(tmp_path):
    path = write_cloud(tmp_path / "a.las", points(5))
    content = bytearray(path.read_bytes())
    struct.pack_into("<d", content, 131, 1e5)
    path.write_bytes(content)
    with pytest.raises(DataError, match="further than"):
        list(read_chunks(path))


def test_heights_may_have_a_unit_of_their_own(tmp_path):
    path = write_cloud(tmp_path / "a.laz", np.zeros((1, 3)), point_format=6, crs="EPSG:26910+6360")
    assert read_las_info(path).units_m == pytest.approx((1.0, 1.0, 0.3048), abs=1e-5)


@pytest.mark.parametrize(
    "first, second, same",
    [
        ("EPSG:2154", "EPSG:2154+5720", True),
        ("EPSG:32632", "EPSG:32633", False),
        ("EPSG:32632", None, True),
    ],
)
def test_heights_do_not_make_another_map(first, second, same):
    wkts = [None if code is None else CRS.from_user_input(code).to_wkt() for code in (first, second)]
    assert same_plane(*wkts) == same


def test_a_dimension_of_several_numbers_is_no_feature(tmp_path):
    path = write_cloud(tmp_path / "a.laz", np.zeros((4, 3)), point_format=6)
    las = laspy.read(path)
    las.add_extra_dim(laspy.ExtraBytesParams("normal", "3f8"))
    las.write(str(path))
    with pytest.raises(DataError, match="'normal' holds 3 numbers a point, expected one"):
        next(read_chunks(path, ["normal"]))


def test_a_missing_dimension_lists_those_there_are(tmp_path):
    path = write_cloud(tmp_path / "a.las", points(5), point_format=0)
    with pytest.raises(DataError, match="did you mean 'intensity'"):
        list(read_chunks(path, ["intensty"]))
