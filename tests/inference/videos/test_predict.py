"""Objects are followed through a video; its frames and times stay what they were."""

import csv
import errno
import itertools
import logging
import time
from dataclasses import replace
from fractions import Fraction

import geopandas
import numpy as np
import pytest
from scipy.ndimage import find_objects, label

from geomm.errors import DataError
from geomm.inference import ObjectOptions, predict_videos
from geomm.io.video import VideoReader
from geomm.io.video_writer import VideoWriter, is_own_video
from geomm.structures import BandStatistics, Objects, RasterSpec, make_classes
from tests.io.test_video import damage

HEIGHT, WIDTH, FRAMES = 96, 160, 300
RATE = Fraction(30000, 1001)


@pytest.fixture
def spec():
    statistics = BandStatistics((0.0,) * 3, (255.0,) * 3, (100.0,) * 3, (50.0,) * 3, 1)
    return RasterSpec(
        (1, 2, 3), ("r", "g", "b"), "uint8", statistics, make_classes(["fish", "ray"]), 64, map_space=False
    )


def squares(frame):
    """Return where two squares are: they go to and fro, each time one behind the other."""
    far = abs((frame * 1.8 + 130) % 260 - 130)
    return (8 + far, 40 + 3 * np.sin(frame / 9)), (138 - far, 46 + 3 * np.cos(frame / 11))


def picture(frame):
    pixels = np.full((HEIGHT, WIDTH, 3), 30, np.uint8)
    for col, row in squares(frame):
        pixels[round(row) : round(row) + 14, round(col) : round(col) + 14] = 220
    return pixels


def write_clip(path, frames=FRAMES, times=None, base=Fraction(1, 30000), rate=RATE):
    import av

    container = av.open(str(path), "w", options={"movflags": "+faststart"})
    stream = container.add_stream("libx264", rate=rate, options={"crf": "12", "preset": "ultrafast"})
    stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    stream.codec_context.time_base = base
    for index in range(frames):
        frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
        frame.pts = round(index / rate / base) if times is None else times[index]
        frame.time_base = base
        container.mux(stream.encode(frame))
    container.mux(stream.encode())
    container.close()
    return path


def by_threshold(inputs, valid):
    """Find bright squares; two that touch are seen as one thing of another shape, and missed."""
    found = []
    for pixels in inputs.numpy():
        spots = find_objects(label(pixels[0] > 130)[0])
        boxes = np.array([(c.start, r.start, c.stop, r.stop) for r, c in spots], np.float32).reshape(-1, 4)
        boxes = boxes[(np.abs(boxes[:, 2:] - boxes[:, :2] - 14) < 4).all(1)]
        found.append(Objects(boxes, np.zeros(len(boxes), np.int64), np.full(len(boxes), 0.9, np.float32)))
    return found


def follow(clip, out, spec, **options):
    chosen = ObjectOptions(**{"device": "cpu", "progress": False, "on_error": "raise", **options})
    return predict_videos(clip, out, detect=by_threshold, spec=spec, options=chosen)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_identities_survive_a_crossing_and_the_clip_stays_what_it_was(tmp_path, spec):
    clip = write_clip(tmp_path / "clip.mp4")
    report = follow(clip, tmp_path / "out", spec)
    assert [path.name for path in report.outputs] == ["clip.mp4", "clip.csv"]
    assert report.amount == FRAMES and report.unit == "frames"
    before, after = VideoReader(clip), VideoReader(tmp_path / "out" / "clip.mp4")
    times = [frame.time_s for frame in before], [frame.time_s for frame in after]
    assert len(times[0]) == len(times[1]) == FRAMES
    np.testing.assert_allclose(*times, atol=1e-4)
    assert float(after.info.rate) == pytest.approx(float(RATE), rel=1e-3)
    found = rows(tmp_path / "out" / "clip.csv")
    assert {row["track"] for row in found} == {"1", "2"}
    owner = {}
    missed = set(range(FRAMES)) - {int(row["frame"]) for row in found}
    assert 20 <= len(missed) <= 60  # four crossings of several frames
    for row in found:
        middle = (float(row["xmin"]) + float(row["xmax"])) / 2
        distances = [abs(col + 7 - middle) for col, _ in squares(int(row["frame"]))]
        if abs(distances[0] - distances[1]) < 4:
            continue  # the moment when one hides the other
        owner.setdefault(row["track"], set()).add(int(np.argmin(distances)))
    assert sorted(map(sorted, owner.values())) == [[0], [1]]
    assert float(found[-1]["time_s"]) == pytest.approx(299 * 1001 / 30000, abs=1e-3)


def test_boxes_and_labels_are_drawn(tmp_path, spec):
    clip = write_clip(tmp_path / "clip.mp4", 20)
    follow(clip, tmp_path / "a", spec, line_px=2, detect_frames=1)
    follow(clip, tmp_path / "b", spec, line_px=2, draw_labels=False, draw_scores=False, track=False)
    color = np.array(spec.classes[0].color)

    def colored(folder):
        frames = [frame.pixels for frame in VideoReader(tmp_path / folder / "clip.mp4")]
        return [int((np.abs(frame.astype(int) - color).max(2) < 60).sum()) for frame in frames]

    assert min(colored("b")) > 2 * 4 * 10 and min(colored("a")) > 1.5 * max(colored("b"))
    assert {row["track"] for row in rows(tmp_path / "b" / "clip.csv")} == {""}


def test_uneven_times_stay_uneven(tmp_path, spec):
    times = np.cumsum(np.random.default_rng(0).integers(1, 9, 40)) - 1
    clip = write_clip(tmp_path / "clip.mp4", 40, [int(t) for t in times], Fraction(1, 90), Fraction(20))
    follow(clip, tmp_path / "out", spec, batch_size=7)
    one, other = ([f.time_s for f in VideoReader(p / "clip.mp4")] for p in (tmp_path, tmp_path / "out"))
    assert len(one) == len(other) == 40
    np.testing.assert_allclose(one, other, atol=1e-4)
    assert np.ptp(np.diff(one)) > 0.05


def test_a_truncated_clip_gives_what_can_be_read(tmp_path, spec, caplog):
    whole = write_clip(tmp_path / "whole.mp4", 120).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    with caplog.at_level(logging.WARNING, "geomm"):
        report = follow(tmp_path / "cut.mp4", tmp_path / "out", spec)
    made = VideoReader(tmp_path / "out" / "cut.mp4")
    count = sum(1 for _ in made)
    assert 30 < count < 120 and report.amount == count
    assert f"breaks off: {count} of 120 frames" in caplog.text


def test_what_is_no_video_fails_alone(tmp_path, spec, caplog):
    write_clip(tmp_path / "good.mp4", 12)
    (tmp_path / "bad.mp4").write_bytes(b"no video" * 100)
    (tmp_path / "head.mp4").write_bytes((tmp_path / "good.mp4").read_bytes()[:200])
    report = follow(tmp_path, tmp_path / "out", spec, on_error="skip")
    assert {name.rsplit("/")[-1] for name, _ in report.failed} == {"bad.mp4", "head.mp4"}
    assert all("Traceback" not in reason for _, reason in report.failed)
    assert (tmp_path / "out" / "good.mp4").is_file()
    assert not list((tmp_path / "out").glob(".*"))


def test_results_are_known_again(tmp_path, spec):
    clip = write_clip(tmp_path / "clip.mp4", 12)
    out = tmp_path / "out"
    follow(clip, out, spec)
    assert is_own_video(out / "clip.mp4") and not is_own_video(clip)
    assert follow(tmp_path, out, spec).amount == 12  # the folder holds the results too
    assert follow(clip, out, spec, skip_existing=True).skipped == [str(clip)]
    with pytest.raises(DataError, match="take its own place"):
        follow(clip, tmp_path, spec)
    other = write_clip(tmp_path / "out" / "other.mp4", 12)
    other.rename(tmp_path / "out" / "clip.mp4")
    with pytest.raises(DataError, match="is no video that geomm wrote"):
        follow(clip, out, spec)


def test_more_bands_than_a_video_has_are_refused(tmp_path, spec):
    clip = write_clip(tmp_path / "clip.mp4", 3)
    with pytest.raises(DataError, match="the model reads bands 1, 5"):
        follow(clip, tmp_path / "o", replace(spec, bands=(1, 5), band_names=("r", "nir")))


def test_points_with_time_by_corners(tmp_path, spec):
    clip = write_clip(tmp_path / "clip.mp4", 30)
    lines = ["frame,x1,y1,x2,y2,x3,y3,x4,y4,crs,timestamp"]
    for frame, second in ((0, 0), (29, 29)):  # the camera flies 100 m north
        y = 5000 + 100 * frame / 29
        corners = f"1000,{y + HEIGHT / 2},{1000 + WIDTH / 2},{y + HEIGHT / 2},{1000 + WIDTH / 2},{y},1000,{y}"
        lines.append(f"{frame},{corners},EPSG:32633,2024-05-01T10:00:{second:02d}Z")
    (tmp_path / "places.csv").write_text("\n".join(lines))
    report = follow(clip, tmp_path / "o", spec, footprints=str(tmp_path / "places.csv"))
    assert {path.name for path in report.outputs} == {"clip.mp4", "clip.csv", "clip.gpkg", "clip.qml"}
    made = geopandas.read_file(tmp_path / "o" / "clip.gpkg", layer="clip")
    assert made.crs.to_epsg() == 32633
    listed = rows(tmp_path / "o" / "clip.csv")
    assert len(made) == len(listed) == 60
    for (_, point), row in zip(made.iterrows(), listed, strict=True):
        col = (float(row["xmin"]) + float(row["xmax"])) / 2
        line = (float(row["ymin"]) + float(row["ymax"])) / 2
        assert point.geometry.x == pytest.approx(1000 + col / 2, abs=0.01)
        north = 5000 + 100 * int(row["frame"]) / 29 + (HEIGHT - line) / 2
        assert point.geometry.y == pytest.approx(north, abs=0.01)
        assert str(point["track"]) == row["track"]
    assert str(made["time"].iloc[-1]).startswith("2024-05-01 10:00:29")


CAMERA = "frame,lat,lon,altitude,heading,pitch,fov"
FIXED = f"{CAMERA},timestamp\n0,52,13,100,0,-90,90,2024-05-01T10:00:00Z\n"


def test_a_fixed_camera_needs_one_row_and_its_clock_goes_on(tmp_path, spec):
    clip = write_clip(tmp_path / "clip.mp4", 40)
    (tmp_path / "places.csv").write_text(FIXED)
    follow(clip, tmp_path / "o", spec, footprints=str(tmp_path / "places.csv"))
    made = geopandas.read_file(tmp_path / "o" / "clip.gpkg", layer="clip")
    since = (made["time"] - made["time"].iloc[0]).dt.total_seconds()
    np.testing.assert_allclose(since, made["time_s"], atol=2e-3)
    assert made["time_s"].iloc[-1] > 1


@pytest.mark.parametrize("ending", [".csv", ".gpkg", ".qml"])
def test_nothing_but_earlier_results_is_replaced(tmp_path, spec, ending):
    clip, own = write_clip(tmp_path / "clip.mov", 12), tmp_path / f"clip{ending}"
    log = own if ending == ".csv" else tmp_path / "log.csv"
    log.write_text(FIXED)
    if ending != ".csv":
        own.write_text("mine")
    before = own.read_bytes()
    with pytest.raises(DataError, match="give another output folder"):
        follow(clip, tmp_path, spec, footprints=str(log))
    assert own.read_bytes() == before and not (tmp_path / "clip.mp4").exists()


def test_earlier_results_are_replaced(tmp_path, spec):
    clip, log = write_clip(tmp_path / "clip.mov", 12), tmp_path / "log.csv"
    log.write_text(FIXED)
    for _ in range(2):
        report = follow(clip, tmp_path, spec, footprints=str(log))
        assert [path.name for path in report.outputs] == ["clip.mp4", "clip.csv", "clip.gpkg", "clip.qml"]
    (tmp_path / "clip.csv").write_text("frame,note\n0,mine\n")
    with pytest.raises(DataError, match="is there and is no csv of objects that geomm wrote"):
        follow(clip, tmp_path, spec)


def test_results_of_a_run_are_of_it_alone(tmp_path, spec):
    """A layer of points that this run does not write is of other objects."""
    clip, log = write_clip(tmp_path / "clip.mov", 12), tmp_path / "log.csv"
    log.write_text(FIXED)
    follow(clip, tmp_path / "out", spec, footprints=str(log))
    follow(clip, tmp_path / "out", spec)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["clip.csv", "clip.mp4"]
    (tmp_path / "out" / "clip.qml").write_text("mine")
    follow(clip, tmp_path / "out", spec)
    assert (tmp_path / "out" / "clip.qml").read_text() == "mine"


@pytest.mark.parametrize("own", [True, False])
def test_a_clip_is_not_taken_for_its_result(tmp_path, spec, own):
    clip, out = write_clip(tmp_path / "clip.mp4", 12), tmp_path / ("." if own else "out")
    if not own:
        out.mkdir()
        write_clip(out / "clip.mp4", 12)
    with pytest.raises(DataError, match="give another output folder"):
        follow(clip, out, spec, skip_existing=True)


def test_what_cannot_be_written_fails_alone(tmp_path, spec, monkeypatch):
    clips = [write_clip(tmp_path / f"{name}.mp4", 12) for name in "ab"]

    def full(self, pixels, pts, write=VideoWriter.write):
        if self.path.name == "a.mp4":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, pixels, pts)

    monkeypatch.setattr(VideoWriter, "write", full)
    report = follow(list(map(str, clips)), tmp_path / "out", spec, on_error="skip")
    ((failed, reason),) = report.failed
    assert failed == str(clips[0])
    assert reason == f"{failed}: No space left on device; free some space or give a folder on another disk"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b.csv", "b.mp4"]


@pytest.mark.parametrize("pause_s", [0, 0.02])
def test_all_rows_of_a_track_have_its_number(tmp_path, spec, pause_s):
    clip, shown = write_clip(tmp_path / "clip.mp4", 120), itertools.count()

    def every_second(inputs, valid):
        """See one thing in every second frame, and another one a few times at the end."""
        time.sleep(pause_s)
        found = []
        for number in itertools.islice(shown, len(inputs)):
            boxes = [(20, 20, 40, 40)] * (number % 2 == 0) + [(100, 60, 120, 80)] * (number > 115)
            boxes = np.array(boxes, np.float32).reshape(-1, 4)
            scores = np.full(len(boxes), 0.9, np.float32)
            found.append(Objects(boxes, np.zeros(len(boxes), np.int64), scores))
        return found

    (tmp_path / "places.csv").write_text(FIXED)
    options = ObjectOptions(
        device="cpu", progress=False, batch_size=2, footprints=str(tmp_path / "places.csv")
    )
    predict_videos(clip, tmp_path / "o", detect=every_second, spec=spec, options=options)
    listed = rows(tmp_path / "o" / "clip.csv")
    assert [row["frame"] for row in listed] == sorted((row["frame"] for row in listed), key=int)
    for row in listed:
        assert row["track"] == ("1" if float(row["xmin"]) < 50 else "")
    made = geopandas.read_file(tmp_path / "o" / "clip.gpkg", layer="clip")
    numbers = ["" if np.isnan(number) else str(int(number)) for number in made["track"]]
    assert numbers == [row["track"] for row in listed]


def test_rows_keep_to_their_frames_behind_a_damaged_part(tmp_path, spec):
    clip = write_clip(tmp_path / "clip.mp4", 60)
    damage(clip, range(20, 25))
    lines = ["frame,x1,y1,x2,y2,x3,y3,x4,y4"]
    lines += [f"{frame},{frame},1,{frame + 1},1,{frame + 1},0,{frame},0" for frame in (0, 59)]
    (tmp_path / "places.csv").write_text("\n".join(lines))
    report = follow(clip, tmp_path / "o", spec, footprints=str(tmp_path / "places.csv"))
    assert report.amount == 55
    made = geopandas.read_file(tmp_path / "o" / "clip.gpkg", layer="clip")
    assert made["frame"].iloc[-1] == 59 and not set(made["frame"]) & set(range(20, 25))
    np.testing.assert_allclose(made["time_s"] * float(RATE), made["frame"], atol=0.01)
    assert ((made.geometry.x - made["frame"]).between(0, 1)).all()


def test_each_clip_lies_where_its_own_rows_say(tmp_path, spec):
    clips = [write_clip(tmp_path / f"{name}.mp4", 12) for name in "ab"]
    log = tmp_path / "log.csv"
    log.write_text(f"video,{CAMERA}\na.mp4,0,52,13,100,0,-90,90\nb.mp4,0,10,13,100,0,-90,90\n")
    follow(clips, tmp_path / "o", spec, footprints=str(log))
    north = [geopandas.read_file(tmp_path / "o" / f"{name}.gpkg", layer=name).geometry.y for name in "ab"]
    assert (north[0].round() == 52).all() and (north[1].round() == 10).all()
    log.write_text(FIXED)
    with pytest.raises(DataError, match="which of 2 videos"):
        follow(clips, tmp_path / "o", spec, footprints=str(log))
