"""What figures have in common."""

from geomm.visualization.canvas import most_telling, short_name


def test_a_title_is_without_folders():
    assert short_name("/data/scenes/a.tif [596, 0]") == "a.tif [596, 0]"
    assert short_name(r"C:\scenes\a.tif [1, 2]") == "a.tif [1, 2]"
    assert short_name("a.laz at 12, 38 m") == "a.laz at 12, 38 m"


def test_the_most_telling_samples_come_first_and_from_all_over():
    assert most_telling([3, 1, 2], 2, worth=lambda sample: sample) == [3, 2]
    assert most_telling(list(range(100)), 2, worth=lambda sample: sample, looked_at=3) == [99, 79]
    assert most_telling([], 3, worth=lambda sample: sample) == []
