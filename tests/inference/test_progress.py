"""Progress says a line now and then where there is no terminal, or nothing."""

import logging

import pytest

from geomm.inference import progress


@pytest.mark.parametrize("shown, lines", [(True, 5), (False, 0)])
def test_lines_come_at_intervals(monkeypatch, caplog, shown, lines):
    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False, raising=False)
    with caplog.at_level(logging.INFO, "geomm"), progress.Progress("s.tif", 40, "tiles", shown=shown) as bar:
        for _ in range(10):
            bar.advance(4)
    assert bar.done == 40
    said = [record.message for record in caplog.records]
    assert (len(said) > 2) == shown
    if shown:
        assert said[0].startswith("s.tif: ") and "of 40 tiles" in said[0] and "s left" in said[0]


def test_before_the_first_part_is_done_nothing_is_said_of_the_end(monkeypatch, caplog):
    clock = iter(range(0, 1000, 60))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False, raising=False)
    with caplog.at_level(logging.INFO, "geomm"), progress.Progress("s.tif", 40, "tiles") as bar:
        bar.advance(0)
    assert [record.message for record in caplog.records] == ["s.tif: 0 of 40 tiles, 0.0 tiles/s"]


def test_replayed_tiles_do_not_count_beyond_the_end():
    with progress.Progress("s.tif", 6, "tiles") as bar:
        for _ in range(3):
            bar.advance(4)
    assert bar.done == 6


def test_parts_of_an_unknown_number_are_counted_on(monkeypatch, caplog):
    clock = iter(range(0, 1000, 60))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False, raising=False)
    with caplog.at_level(logging.INFO, "geomm"), progress.Progress("a.mkv", None, "frames") as bar:
        bar.advance(6)
        bar.advance(6)
    assert bar.done == 12
    assert [record.message.split(",")[0] for record in caplog.records] == [
        "a.mkv: 6 frames",
        "a.mkv: 12 frames",
    ]


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    with progress.Progress("s.tif", 8, "tiles") as bar:
        bar.advance(4)
        assert bar._bar is not None
        assert bar._bar.tasks[0].completed == 4
