"""Videos are written with the colours and sizes that their frames have."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from geomm.io import video_writer
from geomm.io.video import ColorTags, VideoInfo, VideoReader
from geomm.io.video_writer import VideoWriter

HEIGHT, WIDTH = 48, 80


def test_without_h264_times_are_kept_in_units_that_mpeg4_has(tmp_path, monkeypatch):
    monkeypatch.setattr(video_writer, "_CODECS", {"mpeg4": video_writer._CODECS["mpeg4"]})
    info = VideoInfo("", 32, 32, Fraction(25), None, Fraction(1, 90000), False)
    times = [0, 3600, 9000, 10800]
    with VideoWriter(tmp_path / "a.mp4", info) as writer:
        for pts in times:
            writer.write(np.zeros((32, 32, 3), np.uint8), pts)
    found = [frame.time_s for frame in VideoReader(tmp_path / "a.mp4")]
    np.testing.assert_allclose(found, np.array(times) / 90000, atol=1e-4)


def test_odd_sizes_are_written(tmp_path):
    info = VideoInfo("", 33, 21, Fraction(30000, 1001), None, Fraction(1, 30000), False)
    with VideoWriter(tmp_path / "odd.mp4", info) as writer:
        for index in range(4):
            writer.write(np.full((21, 33, 3), 200, np.uint8), index * 1001)
    frames = list(VideoReader(tmp_path / "odd.mp4"))
    assert len(frames) == 4 and frames[0].pixels.shape == (22, 34, 3)


@pytest.mark.parametrize(
    ("given", "kept"),
    [(1, 1), (2, 2), (5, 5), (6, 6), (7, 7), (9, 1)],  # that of BT.2020 is not written
)
def test_colors_and_what_they_mean_are_kept(tmp_path, given, kept):
    path, tags = tmp_path / "clip.mp4", ColorTags(given, 9, 18)
    info = VideoInfo("", WIDTH, HEIGHT, Fraction(25), None, Fraction(1, 12800), False, colors=tags)
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8) + np.array([10, 200, 40], np.uint8)
    with VideoWriter(path, info) as writer:
        writer.write(pixels, 0)
    reader = VideoReader(path)
    assert reader.info.colors == replace(tags, matrix=kept)
    assert np.abs(next(iter(reader)).pixels.astype(int) - pixels).max() <= 4


def test_green_of_high_definition_is_written_by_its_matrix(tmp_path):
    import av

    path = tmp_path / "clip.mp4"
    colors = ColorTags(1, 1, 1)
    info = VideoInfo("", WIDTH, HEIGHT, Fraction(25), None, Fraction(1, 12800), False, colors=colors)
    with VideoWriter(path, info) as writer:
        writer.write(np.zeros((HEIGHT, WIDTH, 3), np.uint8) + np.array([0, 200, 0], np.uint8), 0)
    with av.open(str(path)) as container:
        luma, blue, red = (bytes(plane)[0] for plane in next(container.decode(video=0)).planes)
    # ITU-R BT.709, 3: luma from 16 to 235 is 0.7152 of green, and chroma its distance from blue and red.
    expected = (16 + 219 * 0.7152 * 200 / 255, 128 - 224 * 0.7152 * 200 / 255 / 1.8556)
    assert luma == pytest.approx(expected[0], abs=2) and blue == pytest.approx(expected[1], abs=2)
    assert red == pytest.approx(128 - 224 * 0.7152 * 200 / 255 / 1.5748, abs=2)
