"""Videos come upright, whole and with the numbers and shapes that their frames have."""

import logging
import struct
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from geomm.io.video import VideoInfo, VideoReader, local_path
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


def encode(path, frames, *, rate=25, size=(WIDTH, HEIGHT), times=None, sound_s=0.0, options=None):
    """Write a clip of moving noise; with times, in ms."""
    import av

    rng = np.random.default_rng(0)
    noise = rng.integers(0, 60, (size[1], size[0], 3)).astype(np.uint8)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "20"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        sound = container.add_stream("aac", rate=44100, layout="mono") if sound_s else None
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, 3 * number, 1), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        for number in range(int(sound_s * 44100 / 1024)):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), "f4"), format="fltp", layout="mono")
            silence.sample_rate, silence.pts = 44100, number * 1024
            container.mux(sound.encode(silence))
        if sound:
            container.mux(sound.encode())
    return path


def read_with_threads(path, threads, monkeypatch):
    opened = VideoReader._open

    def with_threads(self):
        container = opened(self)
        container.streams.video[0].codec_context.thread_count = threads
        return container

    with monkeypatch.context() as patch:
        patch.setattr(VideoReader, "_open", with_threads)
        return [(frame.index, frame.pixels.mean()) for frame in VideoReader(path)]


@pytest.mark.parametrize("broken", [0.25, 0.5, "a packet"])
def test_as_many_frames_are_read_of_a_broken_clip_however_many_threads_there_are(
    tmp_path, monkeypatch, broken
):
    path = encode(tmp_path / "a.mp4", 120, options={"movflags": "+faststart"})
    if broken == "a packet":
        damage(path, [110])
    else:
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * broken)])
    one = read_with_threads(path, 1, monkeypatch)
    assert len(one) > 3 and read_with_threads(path, 16, monkeypatch) == one
    assert broken != "a packet" or len(one) > 110


@pytest.mark.parametrize("ending", ["ts", "mkv"])
def test_times_go_on_in_recordings_that_were_put_together(tmp_path, caplog, ending):
    path = encode(tmp_path / f"a.{ending}", 50)
    path.write_bytes(path.read_bytes() * 2)
    with caplog.at_level(logging.WARNING, "geomm"):
        frames = list(VideoReader(path))
    assert [frame.index for frame in frames] == list(range(len(frames))) and len(frames) >= 98
    np.testing.assert_allclose(np.diff([frame.time_s for frame in frames]), 0.04, atol=0.002)
    assert "times begin anew at frame" in caplog.text


@pytest.mark.parametrize("first", [5, 50])
def test_frames_of_another_size_are_scaled(tmp_path, caplog, first):
    small, large = encode(tmp_path / "a.ts", first), encode(tmp_path / "b.ts", 60, size=(160, 96))
    (tmp_path / "c.ts").write_bytes(small.read_bytes() + large.read_bytes())
    reader = VideoReader(tmp_path / "c.ts")
    with caplog.at_level(logging.WARNING, "geomm"):
        frames = list(reader)
    assert len(frames) == first + 60
    assert {frame.pixels.shape for frame in frames} == {(HEIGHT, WIDTH, 3)}
    assert (reader.info.height, reader.info.width) == (HEIGHT, WIDTH)
    assert "change from 80 x 48 to 160 x 96" in caplog.text


@pytest.mark.parametrize(
    ("ending", "sound_s"), [("mkv", 0.0), ("mkv", 6.0), ("webm", 0.0), ("flv", 0.0), ("wmv", 0.0)]
)
def test_containers_that_declare_their_length_as_a_whole(tmp_path, caplog, ending, sound_s):
    path = tmp_path / f"a.{ending}"
    write_as(path, 100, sound_s)
    reader = VideoReader(path)
    assert reader.info.frames == pytest.approx(max(100, 25 * sound_s), abs=3)
    with caplog.at_level(logging.WARNING, "geomm"):
        assert len(list(reader)) == 100
    assert not caplog.text
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    with caplog.at_level(logging.WARNING, "geomm"):
        frames = list(VideoReader(path))
    assert 30 < len(frames) < 100 or sound_s
    assert "frames could be read" in caplog.text


def write_as(path, frames, sound_s):
    import av

    if path.suffix not in (".webm", ".wmv"):
        encode(path, frames, sound_s=sound_s)
        return
    rng = np.random.default_rng(0)
    codec = {".webm": "libvpx", ".wmv": "wmv2"}[path.suffix]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for _ in range(frames):
            pixels = rng.integers(0, 60, (HEIGHT, WIDTH, 3)).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def test_a_stream_of_varying_rate_is_whole(tmp_path, caplog):
    times = [40 * n + (2000 if n % 30 == 0 else 0) + 2000 * (n // 30) for n in range(120)]
    path = encode(tmp_path / "a.ts", 120, times=sorted(times))
    with caplog.at_level(logging.WARNING, "geomm"):
        assert len(list(VideoReader(path))) == 120
    assert not caplog.text


def test_a_name_with_colons_is_no_address(tmp_path, monkeypatch):
    write(tmp_path / "a.mp4", upright())
    (tmp_path / "a.mp4").rename(tmp_path / "12:30:05.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(list(VideoReader("12:30:05.mp4"))) == 3
    assert local_path("rtsp://host/a") == "rtsp://host/a"
