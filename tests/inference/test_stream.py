"""The loop keeps order, bounds what waits, and raises each error once."""

import threading
import time

import pytest

from geomm.inference.stream import WriteBehind, read_ahead, stream


def test_all_pieces_arrive_in_order():
    written = []
    stream(range(50), lambda b: b * 2, lambda b, p: [(b, p), (b, -p)], written.append)
    assert written == [item for b in range(50) for item in ((b, b * 2), (b, -b * 2))]


def test_the_reader_runs_no_further_ahead_than_allowed():
    made = []

    def source():
        for number in range(20):
            made.append(number)
            yield number

    batches = read_ahead(source(), depth=2)
    assert next(batches) == 0
    time.sleep(0.2)
    assert len(made) <= 4
    batches.close()


@pytest.mark.parametrize("stage", ["read", "predict", "merge", "write"])
def test_an_error_in_any_stage_is_raised_once_and_threads_end(stage):
    def fail(*_):
        raise ValueError(stage)

    def source():
        for number in range(30):
            if stage == "read" and number == 5:
                fail()
            yield number

    before = threading.active_count()
    with pytest.raises(ValueError, match=stage):
        stream(
            source(),
            fail if stage == "predict" else lambda b: b,
            fail if stage == "merge" else lambda b, p: [p],
            fail if stage == "write" else lambda piece: None,
        )
    assert threading.active_count() == before


def test_writing_happens_beside_the_producer():
    names = set()
    with WriteBehind(lambda piece: names.add(threading.current_thread().name)) as write:
        write(1)
    assert names == {"geomm-writer"}
