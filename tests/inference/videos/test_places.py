"""Each video's frames lie where its own csv, or its own rows of one, say."""

import logging
from fractions import Fraction

import geopandas
import numpy as np
import pyproj
import pytest

from geomm.errors import DataError
from geomm.inference.videos.places import VideoPlaces
from geomm.inference.videos.points import PointWriter
from geomm.inference.videos.rows import FrameRows
from geomm.io.video import VideoInfo
from geomm.structures import BandStatistics, RasterSpec, make_classes

HEAD = "frame,lat,lon,altitude,heading,pitch,fov"


def write(path, *rows, head=HEAD):
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def row(lat):
    return f"0,{lat},13,100,0,-90,90"


def lat(places, position):
    return places.of(position).values[0, 0]


def test_a_folder_has_a_csv_for_each(tmp_path):
    write(tmp_path / "a.csv", row(51))
    write(tmp_path / "b.CSV", row(52))
    places = VideoPlaces(tmp_path, ["x/a.mp4", "x/b.mp4", "x/c.mp4"], ["a", "b", "c"])
    assert (lat(places, 0), lat(places, 1)) == (51, 52)
    assert [file.name for file in places.files] == ["a.csv", "b.CSV"]
    with pytest.raises(DataError, match=r"x/c.mp4: .* has no c.csv with its places; found a.csv, b.CSV"):
        places.of(2)


@pytest.mark.parametrize(
    "names", [("a.mp4", "b.mp4"), ("a", "b"), ("x/a.mp4", "x/b"), ("x\\\\a.mp4", "b.mp4 ")]
)
def test_a_column_names_the_video(tmp_path, names):
    rows = [f"{row(lat)},{name}" for lat, name in zip((51, 52), names, strict=True)]
    file = write(tmp_path / "p.csv", *rows, f"{row(53)},other.mp4", f"{row(54)},", head=f"{HEAD},Video")
    places = VideoPlaces(file, ["x/a.mp4", "x/b.mp4", "x/c.mp4"], ["a", "b", "c"])
    assert (lat(places, 0), lat(places, 1)) == (51, 52)
    with pytest.raises(DataError, match=r"x/c.mp4: no row of .* is of it; its column video has "):
        places.of(2)


def test_videos_of_one_name_are_told_apart_by_their_folders(tmp_path):
    videos, names = ["x/0001.mp4", "y/0001.mp4"], ["x_0001", "y_0001"]
    file = write(tmp_path / "p.csv", f"{row(51)},x/0001", f"{row(52)},y/0001", head=f"{HEAD},video")
    places = VideoPlaces(file, videos, names)
    assert (lat(places, 0), lat(places, 1)) == (51, 52)
    write(file, f"{row(51)},0001", head=f"{HEAD},video")
    with pytest.raises(DataError, match="video is '0001', which may be x/0001"):
        VideoPlaces(file, videos, names)
    assert lat(VideoPlaces(file, videos[:1], names[:1]), 0) == 51


def test_one_csv_for_several_videos_is_refused(tmp_path, caplog):
    file = write(tmp_path / "p.csv", row(51))
    with pytest.raises(DataError, match="does not say which of 2 videos its rows are of; add a column video"):
        VideoPlaces(file, ["a.mp4", "b.mp4"], ["a", "b"])
    with caplog.at_level(logging.WARNING, "geomm"):
        assert lat(VideoPlaces(file, ["b.mp4"], ["b"]), 0) == 51
    assert not caplog.text
    with pytest.raises(DataError, match="no such file"):
        VideoPlaces(tmp_path / "none.csv", ["a.mp4"], ["a"])


def test_each_video_has_its_own_reference_and_column_of_times(tmp_path):
    head = "video;frame;time_s;x1;y1;x2;y2;x3;y3;x4;y4;crs"
    degrees, metres = "10,5;1;11;1;11;0;10,5;0", "5e5;100;500100;100;500100;0;5e5;0"
    file = write(tmp_path / "p.csv", f"a;;0,5;{degrees};", f"b;3;;{metres};EPSG:32633;", head=head)
    places = VideoPlaces(file, ["a.mp4", "b.mp4"], ["a", "b"])
    first, second = places.of(0), places.of(1)
    assert (first.by, *first.at, first.crs) == ("time_s", 0.5, "EPSG:4326")
    assert (second.by, *second.at, second.crs) == ("frame", 3, "EPSG:32633")


@pytest.mark.parametrize(("width", "aspect"), [(1920, Fraction(1)), (1440, Fraction(4, 3))])
def test_points_do_not_depend_on_the_shape_of_pixels(tmp_path, width, aspect):
    places = VideoPlaces(write(tmp_path / "p.csv", "0,52,13,100,0,-90,60"), ["a.mp4"], ["a"]).of(0)
    info = VideoInfo("", width, 1080, Fraction(25), 1, Fraction(1, 25), False, pixel_aspect=aspect)
    statistics = BandStatistics((0.0,) * 3, (255.0,) * 3, (100.0,) * 3, (50.0,) * 3, 1)
    classes = make_classes(["fish"])
    spec = RasterSpec((1, 2, 3), ("r", "g", "b"), "uint8", statistics, classes, 64, map_space=False)
    box = np.array([[width / 2 - 5, 1070, width / 2 + 5, 1080]], np.float32)
    one = np.ones(1, np.int64)
    with PointWriter(tmp_path / "a.gpkg", spec, places, info) as writer:
        writer.write(FrameRows(0, 0.0, box, one - 1, one.astype(np.float32), one))
    point = geopandas.read_file(tmp_path / "a.gpkg", layer="a").geometry[0]
    south = pyproj.Geod(ellps="WGS84").inv(13, 52, point.x, point.y)[2]
    assert south == pytest.approx(535 / 960 * 100 * np.tan(np.radians(30)), abs=0.01)
