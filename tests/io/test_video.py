"""Videos come upright, whatever way the camera was held."""

import struct
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from geomm.io.video import VideoInfo, VideoReader, VideoWriter

HEIGHT, WIDTH = 48, 80


def upright():
    """A dark picture whose upper left corner is bright."""
    pixels = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
    pixels[:16, :16] = 230
    return pixels


def write(path, pixels, frames=3):
    height, width = pixels.shape[:2]
    info = VideoInfo(str(path), width, height, Fraction(25), frames, Fraction(1, 12800), False)
    with VideoWriter(path, info, mark=None) as writer:
        for number in range(frames):
            writer.write(np.ascontiguousarray(pixels), number * 512)


def note_rotation(path, clockwise):
    """Write the display matrix into the track header (ISO/IEC 14496-12, 8.3.2), as phones do."""
    data = bytearray(path.read_bytes())
    header = data.index(b"tkhd")
    assert data[header + 4] == 0  # version 0: the matrix lies 40 bytes behind the flags
    cos, sin = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[clockwise]
    one = 1 << 16
    matrix = [cos * one, sin * one, 0, -sin * one, cos * one, 0, 0, 0, 1 << 30]
    data[header + 44 : header + 80] = struct.pack(">9i", *matrix)
    path.write_bytes(data)


@pytest.mark.parametrize("clockwise", [90, 180, 270])
def test_frames_are_turned_upright(tmp_path, clockwise):
    path = tmp_path / "held.mp4"
    write(path, np.rot90(upright(), clockwise // 90))  # as the sensor saw it
    note_rotation(path, clockwise)
    reader = VideoReader(path)
    assert (reader.info.height, reader.info.width) == (HEIGHT, WIDTH)
    frames = list(reader)
    assert len(frames) == 3
    for frame in frames:
        bright = frame.pixels.mean(2) > 128
        assert bright.shape == (HEIGHT, WIDTH)
        assert bright[:14, :14].all()
        assert not bright[20:].any()
        assert not bright[:, 20:].any()


def test_what_is_written_of_it_is_upright_by_itself(tmp_path):
    path = tmp_path / "held.mp4"
    write(path, np.rot90(upright()))
    note_rotation(path, 90)
    reader = VideoReader(path)
    with VideoWriter(tmp_path / "out.mp4", reader.info) as writer:
        for frame in reader:
            writer.write(frame.pixels, frame.pts)
    again = VideoReader(tmp_path / "out.mp4").info
    assert replace(again, path="", turns=0) == replace(again, path="")
    assert (again.height, again.width) == (HEIGHT, WIDTH)
