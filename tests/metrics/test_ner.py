import math

import pytest

from geomm.metrics import NerMetric

ITEMS = [
    # right; right borders, wrong label; missed; wrong border; invented
    ("U-A O B-B L-B", "U-A O B-A L-A"),
    ("B-A L-A O U-B", "U-A O U-B O"),
]


def judged(items):
    metric = NerMetric(labels=["A", "B"])
    samples = [
        {"truth": t.split(), "prediction": p.split(), "words": t.split(), "name": ""} for t, p in items
    ]
    metric.process(None, samples)
    return metric, metric.compute_metrics(metric.results)


def test_only_just_the_borders_and_label_are_right():
    metric, found = judged(ITEMS)
    assert found["precision"] == pytest.approx(1 / 4)
    assert found["recall"] == pytest.approx(1 / 4)
    assert found["F1"] == pytest.approx(1 / 4)
    assert (found["precision/A"], found["recall/A"]) == pytest.approx((1 / 3, 1 / 2))
    assert (found["precision/B"], found["recall/B"]) == (0, 0)
    assert metric.confusion.tolist() == [[1, 0, 1], [1, 0, 1], [1, 1, 0]]
    assert len(metric.examples) == 2


def test_a_perfect_prediction():
    _, found = judged([(t, t) for t, _ in ITEMS])
    assert set(found.values()) == {1.0}


def test_without_true_entities_there_is_no_number():
    _, found = judged([("O O", "U-A O")])
    assert math.isnan(found["F1"])
