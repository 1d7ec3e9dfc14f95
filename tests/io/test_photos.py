"""Tags of photos: how they were held, where and when; and files that are cut short."""

import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import IFDRational

from geomm.errors import DataError
from geomm.io import photos
from geomm.io.photos import PhotoTags, check_whole, read_tags, upright


def photo(path, *, orientation=1, place=None, time=None, shape=(40, 60)):
    pixels = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    if place is not None:
        exif.get_ifd(0x8825).update(place)
    if time is not None:
        exif.get_ifd(0x8769)[0x9003] = time
    Image.fromarray(pixels).save(path, exif=exif, quality=95)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_is_what_pillow_says(tmp_path, orientation):
    path = photo(tmp_path / "a.jpg", orientation=orientation)
    assert read_tags(path).orientation == orientation
    with Image.open(path) as image:
        stored = np.asarray(image).transpose(2, 0, 1)
        expected = np.asarray(ImageOps.exif_transpose(image)).transpose(2, 0, 1)
    np.testing.assert_array_equal(upright(stored, orientation), expected)


def test_place_and_time(tmp_path):
    place = {1: "S", 2: (12.0, 30.0, 36.0), 3: "W", 4: (77.0, 0.0, 0.0)}
    tags = read_tags(photo(tmp_path / "a.jpg", place=place, time="2026:05:01 09:30:00"))
    assert tags.latitude == pytest.approx(-12.51) and tags.longitude == -77.0
    assert tags.time == "2026-05-01T09:30:00" and tags.placed


@pytest.mark.parametrize(
    "place",
    [
        {},
        {1: "N", 2: (95.0, 0.0, 0.0), 3: "E", 4: (8.0, 0.0, 0.0)},
        {2: (0.0,) * 3, 4: (0.0,) * 3},
        {4: (8.0,) * 3},
    ],
)
def test_places_that_make_no_sense_are_none(tmp_path, place):
    assert not read_tags(photo(tmp_path / "a.jpg", place=place, time="yesterday")).placed


@pytest.mark.parametrize("south, west", [("S ", "w"), ("S\0", "W\0"), ("South", " West"), (b"S", b"W")])
def test_a_hemisphere_is_its_first_letter(tmp_path, south, west):
    place = {1: south, 2: (12.0, 0.0, 0.0), 3: west, 4: (77.0, 0.0, 0.0)}
    tags = read_tags(photo(tmp_path / "a.jpg", place=place))
    assert (tags.latitude, tags.longitude) == (-12.0, -77.0)


@pytest.mark.parametrize("changed", [{1: None}, {3: None}, {1: "E"}, {3: "?"}, {3: " \0"}])
def test_a_place_without_a_hemisphere_is_none(tmp_path, changed):
    place = {1: "N", 2: (12.0, 0.0, 0.0), 3: "E", 4: (77.0, 0.0, 0.0)} | changed
    place = {key: value for key, value in place.items() if value is not None}
    assert not read_tags(photo(tmp_path / "a.jpg", place=place)).placed


def test_seconds_may_be_missing_where_minutes_have_decimals(tmp_path):
    def parts(degrees, tenths):
        return (IFDRational(degrees, 1), IFDRational(tenths, 10), IFDRational(0, 0))

    place = {1: "N", 2: parts(52, 305), 3: "E", 4: parts(13, 12)}
    tags = read_tags(photo(tmp_path / "a.jpg", place=place))
    assert (tags.latitude, tags.longitude) == pytest.approx((52 + 30.5 / 60, 13.02))
    place[2] = (IFDRational(52, 1), IFDRational(0, 0), IFDRational(0, 0))
    assert not read_tags(photo(tmp_path / "a.jpg", place=place)).placed


@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
@pytest.mark.parametrize("most", [300, 2000])  # PIL refuses twice as many pixels, and warns of one more
def test_photos_of_very_many_pixels_keep_their_tags(tmp_path, monkeypatch, ending, most):
    place = {1: "S", 2: (12.0, 30.0, 36.0), 3: "W", 4: (77.0, 0.0, 0.0)}
    path = photo(tmp_path / f"a.{ending}", orientation=6, place=place, time="2026:05:01 09:30:00")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
    monkeypatch.setattr(photos, "_LARGE_PIXELS", most)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tags = read_tags(path)
    assert tags.orientation == 6
    if ending != "tif":  # Pillow writes none of the rest there
        assert (tags.longitude, tags.time) == (-77.0, "2026-05-01T09:30:00")
    assert most == Image.MAX_IMAGE_PIXELS


def test_a_large_png_is_not_decompressed_for_tags(tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "_LARGE_PIXELS", 2000)
    Image.new("L", (60, 40)).save(tmp_path / "a.png")
    with monkeypatch.context() as patched:
        patched.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda self: pytest.fail("decompressed"))
        assert read_tags(tmp_path / "a.png") == PhotoTags()


def test_a_photo_of_very_many_pixels_with_an_appendix_is_whole(tmp_path, monkeypatch):
    path = photo(tmp_path / "a.jpg")
    whole = path.read_bytes()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    path.write_bytes(whole + b"appended by a camera \xff\xda")
    check_whole(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="is damaged"):
        check_whole(path)


def test_files_without_tags(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no photo")
    assert read_tags(tmp_path / "a.jpg") == PhotoTags() == read_tags(tmp_path / "none.bil")


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_files_cut_short(tmp_path, ending):
    path = photo(tmp_path / f"a.{ending}")
    check_whole(path)
    whole = path.read_bytes()
    path.write_bytes(whole + b"appended by a camera \xff\xda")
    check_whole(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="is damaged"):
        check_whole(path)
