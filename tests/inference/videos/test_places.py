"""Each video's frames lie where its own csv, or its own rows of one, say."""

import logging

import pytest

from geomm.errors import DataError
from geomm.inference.videos.places import VideoPlaces

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
