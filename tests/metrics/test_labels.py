"""The metric of pictures that are named whole."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from geomm.metrics.labels import LabelMetric

NAMES = ["roof", "pool", "lawn", "road"]


def judge(found, truth, **options):
    metric = LabelMetric(NAMES[: len(found[0])], **options)
    pairs = zip(found, truth, strict=True)
    items = [{"prediction": f, "labels": t, "name": str(i)} for i, (f, t) in enumerate(pairs)]
    metric.process(None, items)
    return metric.compute_metrics(metric.results)


def one_of(numbers, count=3):
    return np.eye(count, dtype=np.float32)[numbers]


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_class_that_is_only_predicted_counts_in_every_mean(multi_label):
    """Three roofs, one of them taken for a pool; there is neither pool nor lawn."""
    result = judge(one_of([0, 0, 1]), one_of([0, 0, 0]), multi_label=multi_label)
    assert [result[f"recall/{name}"] for name in NAMES[:2]] == [pytest.approx(2 / 3), 0]
    assert result["mrecall"] == pytest.approx(1 / 3)
    assert result["mprecision"] == 0.5 and result["mF1"] == pytest.approx(0.4)
    assert np.isnan([result[f"{kind}/lawn"] for kind in ("recall", "precision", "F1")]).all()


@pytest.mark.parametrize("seed", range(8))
def test_several_labels_are_judged_as_scikit_learn_does(seed):
    rng = np.random.default_rng(seed)
    found = rng.random((12, 4), np.float32)
    truth = (rng.random((12, 4)) < 0.3).astype(np.float32)
    found[:, 3], truth[:, 2] = 0.1, 0  # never said, never true
    result = judge(found, truth, multi_label=True)
    scores = precision_recall_fscore_support(truth > 0, found >= 0.5, average=None, zero_division=0)
    for kind, values in zip(("precision", "recall", "F1"), scores, strict=False):
        known = ((truth > 0) | (found >= 0.5)).any(0)
        assert result[f"m{kind}"] == pytest.approx(values[known].mean(), abs=1e-12)
