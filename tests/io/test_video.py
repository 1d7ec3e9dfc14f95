"""Videos come upright, whole and with the numbers and shapes that their frames have."""

import logging
import struct
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from geomm.io.video import VideoInfo, VideoReader
from geomm.io.video_writer import VideoWriter

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


def damage(path, packets):
    """Put zeros in the place of packets, counted in the order of decoding."""
    import av

    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for number in packets:
        begin, size = places[number]
        data[begin : begin + size] = bytes(size)
    path.write_bytes(data)


def trim(path, first, count, frame_pts=512):
    """Say in the edit list (ISO/IEC 14496-12, 8.6.6) that only some frames are to be shown."""
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12
    scale = struct.unpack(">I", data[(mvhd := data.index(b"mvhd")) + 16 : mvhd + 20])[0]
    begin = struct.unpack(">i", data[at + 4 : at + 8])[0]
    data[at : at + 8] = struct.pack(">Ii", scale * count // 25, begin + first * frame_pts)
    path.write_bytes(data)


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


def write_with_key_frames(path):
    """Write 60 frames, every 15th of which needs no other."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "15", "keyint_min": "15"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(60):
            pixels = np.roll(upright(), number, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


@pytest.mark.parametrize("lost", [range(20, 25), range(3), range(30, 31), range(0, 60, 17), [15]])
@pytest.mark.parametrize("ending", [".mp4", ".mov"])
def test_frames_behind_damaged_ones_keep_their_numbers(tmp_path, caplog, lost, ending):
    path = tmp_path / f"clip{ending}"
    write_with_key_frames(path)
    damage(path, lost)
    frames = list(VideoReader(path))
    assert 10 < len(frames) < 60
    assert [frame.index for frame in frames] == [round(25 * frame.time_s) for frame in frames]
    assert frames[-1].index == 59
    assert f"clip{ending} is damaged: {len(frames)} of 60 frames could be read" in caplog.text


def test_a_sound_clip_is_numbered_without_gaps(tmp_path, caplog):
    path = tmp_path / "clip.mp4"
    write(path, upright(), 60)
    with caplog.at_level(logging.WARNING, "geomm"):
        assert [frame.index for frame in VideoReader(path)] == list(range(60))
    assert not caplog.text


def test_a_stream_that_was_cut_is_numbered_from_its_first_picture(tmp_path):
    path = tmp_path / "clip.mp4"
    write_with_key_frames(path)
    import av

    with av.open(str(path)) as whole, av.open(str(tmp_path / "cut.ts"), "w") as cut:
        stream = cut.add_stream_from_template(whole.streams.video[0])
        for number, packet in enumerate(whole.demux(video=0)):
            if number >= 5 and packet.size:
                packet.stream = stream
                cut.mux(packet)
    frames = list(VideoReader(tmp_path / "cut.ts"))
    assert [frame.index for frame in frames] == list(range(45)) and frames[0].time_s == 0


@pytest.mark.parametrize(("first", "count"), [(15, 45), (0, 30), (20, 25)])
def test_a_trimmed_clip_is_whole(tmp_path, caplog, first, count):
    path = tmp_path / "clip.mp4"
    write(path, upright(), 60)
    trim(path, first, count)
    reader = VideoReader(path)
    with caplog.at_level(logging.WARNING, "geomm"):
        frames = list(reader)
    assert reader.info.frames == len(frames) == count and not caplog.text
    assert [frame.index for frame in frames] == list(range(count)) and frames[0].time_s == 0


@pytest.mark.parametrize("clockwise", [0, 90])
@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(4, 3), Fraction(10, 11)])
def test_the_shape_of_pixels_is_kept(tmp_path, aspect, clockwise):
    path = tmp_path / "clip.mp4"
    info = VideoInfo("", WIDTH, HEIGHT, Fraction(25), None, Fraction(1, 12800), False, pixel_aspect=aspect)
    with VideoWriter(path, info, mark=None) as writer:
        writer.write(upright(), 0)
    if clockwise:
        note_rotation(path, clockwise)
    read = VideoReader(path).info
    assert read.pixel_aspect == (1 / aspect if clockwise else aspect)
    with VideoWriter(tmp_path / "again.mp4", read) as writer:
        writer.write(np.zeros((read.height, read.width, 3), np.uint8), 0)
    assert VideoReader(tmp_path / "again.mp4").info.pixel_aspect == read.pixel_aspect
