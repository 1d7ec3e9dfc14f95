"""Inputs are known as videos or scenes."""

import pytest

from geomm.errors import DataError
from geomm.io.video_files import are_videos, find_videos, is_video


def test_folders_of_videos(tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mov").touch()
    assert are_videos(tmp_path / "clips") and are_videos([tmp_path / "clips", "b.mp4"])
    assert are_videos("clips/*.mp4") and not are_videos(tmp_path / "none") and not are_videos([])


def test_videos_beside_scenes_are_named(tmp_path, caplog):
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("a.mp4", "b.mp4", "a.csv", "thumb.png"):
        (clips / name).touch()
    assert not are_videos(clips)
    assert f"{clips} holds scenes too (thumb.png): its videos are left out (a.mp4, b.mp4)" in caplog.text
    assert f"input='{clips}/*.mp4'" in caplog.text
    for mixed in (clips / "*", [clips / "a.mp4", clips / "thumb.png"], ["b.mp4", "s.tif"]):
        with pytest.raises(DataError, match="videos and scenes; give one kind at a time"):
            are_videos(mixed)
    assert are_videos(clips / "*.mp4") and not are_videos(clips / "*.png")
    (clips / "thumb.png").unlink()
    (clips / "empty").mkdir()
    assert are_videos(clips / "*") and are_videos(clips)
    assert find_videos(clips / "*") == [str(clips / "a.mp4"), str(clips / "b.mp4")]
    assert find_videos([clips / "b.mp4", clips]) == [str(clips / "b.mp4"), str(clips / "a.mp4")]
    with pytest.raises(DataError, match="no match ends in"):
        find_videos(clips / "*.csv")


def test_endings_of_videos():
    assert is_video("a/b.MP4") and is_video("x.mkv") and not is_video("scene.tif")
