"""Frames have the numbers of their packets, whatever of them is lost."""

from hypothesis import given
from hypothesis import strategies as st

from geomm.io.frame_count import FrameCount

TIMES = st.lists(st.integers(-50, 5000), min_size=2, max_size=60, unique=True).map(sorted)


def never():
    raise AssertionError("a sound file is read once")


@given(times=TIMES)
def test_frames_of_a_sound_file_are_counted(times):
    count = FrameCount(never)
    assert [count.number(time, damaged=False) for time in times] == list(range(len(times)))
    assert count.start == times[0]


@given(times=TIMES, data=st.data())
def test_lost_frames_keep_their_numbers(times, data):
    kept = data.draw(st.sets(st.sampled_from(range(len(times))), min_size=1))
    sound = next((place for place in range(len(times)) if place not in kept), len(times))
    count = FrameCount(lambda: times)
    assert [count.number(times[place], damaged=place > sound) for place in sorted(kept)] == sorted(kept)
    assert count.start == times[0]


def test_what_comes_when_its_turn_is_over_is_left_out():
    count = FrameCount(lambda: list(range(10)))
    numbers = [count.number(time, damaged=time > 2) for time in (0, 1, 2, 6, 4, 5, 7)]
    assert numbers == [0, 1, 2, 6, None, None, 7]


def test_packets_that_are_no_frames_are_not_counted():
    hidden = FrameCount(lambda: list(range(20)))
    assert [hidden.number(time, damaged=time > 4) for time in (0, 2, 4, 10, 12)] == [0, 1, 2, 3, 4]
    disordered = FrameCount(lambda: list(range(61)))
    assert [disordered.number(time, damaged=True) for time in (3, 60, 4, 5)] == [3, 60, 61, 62]
