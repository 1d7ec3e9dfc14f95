"""Pixels of frames land where the camera saw them."""

import logging

import numpy as np
import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomm.errors import DataError
from geomm.io.frame_places import read_frame_places


def write(path, text):
    path.write_text(text)
    return path


def box_at(x, y):
    return np.array([[x - 2, y - 2, x + 2, y + 2]], float)


CAMERA = "frame,lat,lon,altitude,heading,pitch,fov\n"
CORNERS = "frame,x1,y1,x2,y2,x3,y3,x4,y4,crs\n"
METRES = "500000,5800000,500100,5800000,500100,5799900,500000,5799900"


def test_straight_down_the_middle_is_below_the_camera(tmp_path):
    places = read_frame_places(write(tmp_path / "c.csv", CAMERA + "0,52,13,100,0,-90,90\n"))
    np.testing.assert_allclose(places.points(box_at(320, 240), 0, 0, 640, 480), [[13, 52]], atol=1e-9)
    # At 90 degrees and 100 m, half the width is 100 m; the heading is up in the picture.
    geod = pyproj.Geod(ellps="WGS84")
    east, north = geod.fwd(13, 52, 90, 100)[:2], geod.fwd(13, 52, 0, 50)[:2]
    np.testing.assert_allclose(places.points(box_at(640, 240), 0, 0, 640, 480)[0], east, atol=1e-7)
    np.testing.assert_allclose(places.points(box_at(320, 80), 0, 0, 640, 480)[0], north, atol=1e-7)


@given(heading=st.floats(0, 359), pitch=st.floats(-90, -20), altitude=st.floats(5, 500))
def test_the_middle_is_ahead_by_the_pitch(tmp_path_factory, heading, pitch, altitude):
    row = f"0,52,13,{altitude},{heading},{pitch},60\n"
    places = read_frame_places(write(tmp_path_factory.mktemp("c") / "c.csv", CAMERA + row))
    middle = np.array([[318, 236, 322, 240.0]]) if pitch > -45 else box_at(320, 240)
    lon, lat = places.points(middle, 0, 0, 640, 480)[0]
    azimuth, _, far = pyproj.Geod(ellps="WGS84").inv(13, 52, lon, lat)
    assert far == pytest.approx(altitude / np.tan(np.radians(-pitch)), rel=1e-6, abs=1e-3)
    if far > 0.1:
        assert (azimuth - heading + 180) % 360 - 180 == pytest.approx(0, abs=0.01)


@given(
    aspect=st.sampled_from([4 / 3, 16 / 11, 10 / 11, 3 / 4]),
    pitch=st.floats(-90, -40),
    x=st.floats(0, 1),
    y=st.floats(0, 1),
)
def test_the_shape_of_pixels_changes_no_place(tmp_path_factory, aspect, pitch, x, y):
    row = f"0,52,13,100,30,{pitch},60\n"
    places = read_frame_places(write(tmp_path_factory.mktemp("c") / "c.csv", CAMERA + row))
    at = np.array([[x, y, x, y]])
    stored = places.points(at * [1440, 1080, 1440, 1080], 0, 0, 1440, 1080, pixel_aspect=aspect)
    wide = 1440 * aspect
    shown = places.points(at * [wide, 1080, wide, 1080], 0, 0, wide, 1080)
    np.testing.assert_allclose(stored, shown, atol=1e-7)


def test_the_sky_has_no_place(tmp_path):
    places = read_frame_places(write(tmp_path / "c.csv", CAMERA + "0,52,13,100,0,0,60\n"))
    assert np.isnan(places.points(box_at(320, 100), 0, 0, 640, 480)).all()
    assert np.isfinite(places.points(box_at(320, 400), 0, 0, 640, 480)).all()


def test_headings_are_interpolated_across_north(tmp_path):
    rows = "0,52,13,100,350,-45.1,60\n10,52,13,100,10,-45.1,60\n"
    places = read_frame_places(write(tmp_path / "c.csv", CAMERA + rows))
    lon, lat = places.points(box_at(320, 240), 5, 0, 640, 480)[0]
    assert lon == pytest.approx(13, abs=1e-9) and lat > 52


def apart(first, second):
    """Return degrees between longitudes, the shorter way."""
    return np.abs((np.asarray(first) - second + 180) % 360 - 180)


@given(
    lons=st.lists(st.floats(-80, 80), min_size=2, max_size=4),
    shift=st.floats(-180, 180),
    at=st.floats(0, 30),
    by=st.sampled_from(["camera", "corners"]),
)
def test_a_turn_of_the_globe_turns_the_places(tmp_path_factory, lons, shift, at, by):
    def lon_at(shift):
        lines = [CAMERA if by == "camera" else CORNERS]
        for index, lon in enumerate(lons):
            west, east = ((lon + shift + side + 180) % 360 - 180 for side in (0, 0.25))
            camera, corners = f"-17,{west},100,0,-90,60", f"{west},1,{east},1,{east},0,{west},0,"
            lines.append(f"{10 * index},{camera if by == 'camera' else corners}\n")
        places = read_frame_places(write(tmp_path_factory.mktemp("c") / "c.csv", "".join(lines)))
        lon = places.points(box_at(320, 240), at, 0, 640, 480)[0, 0]
        assert -180 <= lon <= 180
        return lon

    assert apart(lon_at(shift), lon_at(0) + shift) < 1e-8


@pytest.mark.parametrize(
    ("west", "east"), [("-180", "180"), ("0", "360"), ("-170", "170"), ("-179.95", "179.95")]
)
def test_a_frame_of_the_whole_globe_is_no_frame_across_180_degrees(tmp_path, west, east):
    text = CORNERS + f"0,{west},90,{east},90,{east},-90,{west},-90,\n"
    places = read_frame_places(write(tmp_path / "c.csv", text))
    placed = places.points(np.concatenate([box_at(90, 90), box_at(270, 90)]), 0, 0, 360, 180)
    extent = float(east) - float(west)
    expected = float(west) + extent * np.array([0.25, 0.75])
    np.testing.assert_allclose(apart(placed[:, 0], expected), 0, atol=1e-9)
    np.testing.assert_allclose(placed[:, 1], 0, atol=1e-9)


corner = st.floats(-3, 3)


@given(shift=st.lists(corner, min_size=8, max_size=8), at=st.floats(0, 10))
def test_corners_go_to_the_corners(tmp_path_factory, shift, at):
    square = np.array([0, 10, 20, 10, 20, 0, 0, 0]) + np.array(shift)
    text = "time_s,lon1,lat1,lon2,lat2,lon3,lat3,lon4,lat4\n" + ",".join(map(str, [0, *square])) + "\n"
    places = read_frame_places(write(tmp_path_factory.mktemp("c") / "c.csv", text))
    for (x, y), expected in zip(((0, 0), (64, 0), (64, 48), (0, 48)), square.reshape(4, 2), strict=True):
        np.testing.assert_allclose(places.points(box_at(x, y), 0, at, 64, 48)[0], expected, atol=1e-6)


def test_corners_of_several_references_go_to_the_first(tmp_path):
    to_west = pyproj.Transformer.from_crs("EPSG:32633", "EPSG:32632", always_xy=True)
    corners = np.array(METRES.split(","), float).reshape(4, 2)
    moved = np.column_stack(to_west.transform(*corners.T)).ravel()
    rows = [[0, *moved, "EPSG:32632"], [10, *corners.ravel(), "epsg:32633"]]
    text = CORNERS + "".join(",".join(map(str, row)) + "\n" for row in rows)
    places = read_frame_places(write(tmp_path / "c.csv", text))
    assert places.crs == "EPSG:32632" and not places.degrees
    for frame in (0, 5, 10):
        placed = places.points(box_at(320, 240), frame, 0, 640, 480)
        np.testing.assert_allclose(placed, [moved.reshape(4, 2).mean(0)], atol=0.01)


def test_rows_that_name_no_reference_have_the_only_one(tmp_path):
    text = CORNERS + f"0,{METRES},\n10,{METRES},EPSG:32633 \n20,,,,,,,,,EPSG:4326\n"
    with pytest.raises(DataError, match="crs is 'EPSG:32633' and 'EPSG:4326', and empty in 1 rows"):
        read_frame_places(write(tmp_path / "c.csv", text))
    places = read_frame_places(write(tmp_path / "c.csv", text.replace("4326", "32633")))
    assert places.crs == "EPSG:32633" and places.at.tolist() == [0, 10]
    text = CORNERS + f"0,{METRES},EPSG:32633\n10,,,,,,,,,\n20,10,1,11,1,11,0,10,0,EPSG:4326\n"
    assert read_frame_places(write(tmp_path / "c.csv", text)).at.tolist() == [0, 20]


def test_places_off_the_globe_are_left_out(tmp_path, caplog):
    text = CAMERA + "0,52,1300,100,0,-90,90\n1,52,13,100,0,-90,90\n2,52,373,100,0,-90,90\n"
    assert read_frame_places(write(tmp_path / "c.csv", text)).at.tolist() == [1]
    assert "2 of 3 rows have no usable place" in caplog.text
    text = CORNERS + f"0,{METRES},\n1,350,1,351,1,351,0,350,0,\n"
    places = read_frame_places(write(tmp_path / "c.csv", text))
    assert places.at.tolist() == [1] and "1 of 2 rows have no usable place" in caplog.text
    np.testing.assert_allclose(places.points(box_at(0, 0), 0, 0, 10, 10), [[-10, 1]], atol=1e-9)


@pytest.mark.parametrize("end", [",", ",,", ", "])
def test_commas_at_the_end_of_rows_shift_no_column(tmp_path, end):
    text = CAMERA.replace("fov", "fov,roll") + f"0,10,13,100,90,-45,60,5\n1,10,13,100,90,-45,60,5{end}\n"
    for told in (text, text.replace(",5\n", f",5{end}\n")):
        places = read_frame_places(write(tmp_path / "c.csv", told))
        assert places.at.tolist() == [0, 1]
        np.testing.assert_array_equal(places.values, [[10, 13, 100, 90, -45, 60]] * 2)


@pytest.mark.parametrize(
    "row",
    ["0;52,25;13,5;100;0;-90;90;a,b", '"0";52.25;13,5;1e2;0;-90,0;90;a,b;', "0; 52,25; 13.5;100;0;-90;90;"],
)
def test_semicolons_separate_too(tmp_path, row, caplog):
    head = CAMERA.replace("\n", ",note\n").replace(",", ";")
    with caplog.at_level(logging.WARNING, "geomm"):
        places = read_frame_places(write(tmp_path / "c.csv", head + row + "\n"))
    np.testing.assert_array_equal(places.values, [[52.25, 13.5, 100, 0, -90, 90]])
    assert not caplog.text


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    text = "\ufeff" + CAMERA + "7,52,13,100,0,-90,90\n"
    assert read_frame_places(write(tmp_path / "c.csv", text)).at.tolist() == [7]


@pytest.mark.parametrize(
    ("frames", "by", "at"),
    [(("", ""), "time_s", [0, 1]), (("0", "25"), "frame", [0, 25]), (("", "25"), "frame", [25])],
)
def test_rows_go_by_the_column_that_has_numbers(tmp_path, frames, by, at):
    rows = [f"{frame},{second},52,13,100,0,-90,90\n" for second, frame in enumerate(frames)]
    text = CAMERA.replace("frame", "frame,time_s") + "".join(rows)
    places = read_frame_places(write(tmp_path / "c.csv", text))
    assert places.by == by and places.at.tolist() == at


def test_names_of_other_programs_are_understood(tmp_path):
    names = [
        f"Corner {axis} Point {n} (Decimal Degrees)"
        for n in (1, 2, 3, 4)
        for axis in ("Latitude", "Longitude")
    ]
    text = "Frame," + ",".join(names) + "\n0,1,0,1,1,0,1,0,0\n"
    places = read_frame_places(write(tmp_path / "c.csv", text))
    np.testing.assert_allclose(places.points(box_at(10, 10), 0, 0, 10, 10)[0], [1, 0], atol=1e-9)


def test_rows_without_a_time_or_a_place_are_passed_over(tmp_path, caplog):
    rows = [
        "0,52,13,100,0,-90,90,2026-05-01T09:00:00Z",
        "10,52,13,100,0,-90,90,",
        "15,52,13,-3,0,-90,90,2026-05-01T10:00:00Z",
        "20,52,13,100,0,-90,90,2026-05-01T09:00:04Z",
    ]
    text = CAMERA.replace("fov", "fov,timestamp") + "\n".join(rows) + "\n"
    places = read_frame_places(write(tmp_path / "c.csv", text))
    start = places.clock(0, 0, 5)
    assert [places.clock(frame, 0, 5) - start for frame in (5, 10, 20)] == [1, 2, 4]
    assert "1 of 4 rows have no usable place" in caplog.text
    timeless = CAMERA.replace("fov", "fov,timestamp") + "0,52,13,100,0,-90,90,\n"
    assert read_frame_places(write(tmp_path / "d.csv", timeless)).clock(0, 0, 25) is None


@given(
    by=st.sampled_from(["frame", "time_s"]),
    rows=st.lists(st.integers(0, 500), min_size=1, max_size=4, unique=True),
    untimed=st.integers(0, 600),
    frame=st.integers(0, 1000),
)
def test_the_clock_goes_on_beyond_the_rows(tmp_path_factory, by, rows, untimed, frame):
    rate = 25.0
    lines = [CAMERA.replace("frame", by).replace("fov", "fov,timestamp")]
    for row in rows:
        at, time = (row if by == "frame" else row / rate), np.datetime64("2026-05-01T09:00:00.000", "ms")
        lines.append(f"{at},52,13,100,0,-90,90,{time + np.timedelta64(round(1000 * row / rate), 'ms')}Z\n")
    lines.append(f"{untimed if by == 'frame' else untimed / rate},52,13,100,0,-90,90,\n")
    places = read_frame_places(write(tmp_path_factory.mktemp("c") / "c.csv", "".join(lines)))
    begin = np.datetime64("2026-05-01T09:00:00", "s").astype(int)
    assert places.clock(frame, frame / rate, rate) - begin == pytest.approx(frame / rate, abs=1e-3)
    held = places.points(box_at(320, 240), frame, frame / rate, 640, 480)
    np.testing.assert_allclose(held, [[13, 52]], atol=1e-9)


@pytest.mark.parametrize(
    ("head", "row", "said"),
    [
        ("altitude,height,heading", "100,340,0", "altitude and height both mean altitude: altitude is taken"),
        ("height,altitude,heading", "340,100,0", "height and altitude both mean altitude: altitude is taken"),
        ("altitude,heading,yaw", "100,0,90", "heading and yaw both mean heading: heading is taken"),
        ("altitude,yaw,azimuth", "100,0,90", "yaw and azimuth both mean heading: yaw is taken"),
    ],
)
def test_one_of_several_columns_is_taken_and_said(tmp_path, caplog, head, row, said):
    text = f"frame,lat,lon,pitch,fov,{head}\n0,52,13,-90,90,{row}\n"
    places = read_frame_places(write(tmp_path / "c.csv", text))
    np.testing.assert_array_equal(places.values, [[52, 13, 100, 0, -90, 90]])
    assert said in caplog.text


def test_a_clock_in_two_columns_is_read_once(tmp_path):
    text = CAMERA.replace("fov", "fov,time,timestamp") + "0,52,13,100,0,-90,90,noon,2026-05-01T09:00:00Z\n"
    assert read_frame_places(write(tmp_path / "c.csv", text)).clock(0, 0, 25) == 1777626000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "expected frame or time_s"),
        ("frame,lat,lon\n0,1,2\n", "lat, lon, altitude"),
        (CAMERA + "0,x,13,100,0,-90,90\n", "no row has numbers"),
        (CAMERA.replace("fov", "fov,timestamp") + "0,1,13,100,0,-90,90,later\n", "not ISO 8601"),
        (CAMERA + "0,1,13,100,0,-90,0\n", "fov from 1 to 179"),
        (CORNERS + "0,0,1,1,1,1,0,0,0,EPSG:none\n", "crs is 'EPSG:none'"),
        (CAMERA + "0,52,1300,100,0,-90,90\n", "lon up to 360"),
        (CORNERS + f"0,{METRES},\n", r"found 500000, 5800000\); if they are metres, add a column crs"),
        (CAMERA + "0,1,13,100,0,-90,90\n1,1,13,100,0,-90,90,,5\n", "row 2 has more values than the header"),
        (CAMERA + "0,1,13,100,0,-90,90,5\n", "row 1 has more values than the header, which has 7"),
        (CAMERA + '0,1,13,100,0,"-\n90",90,5\n', "row 1 has more values"),
        (CAMERA.replace(",", "\t") + "0\t1\n", "separated by commas or semicolons"),
        ("", "cannot be read"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        read_frame_places(write(tmp_path / "c.csv", text))
    with pytest.raises(DataError, match="no such file"):
        read_frame_places(tmp_path / "none.csv")
