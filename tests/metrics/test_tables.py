"""Metrics of rows against scikit-learn's, over batches of any size."""

import numpy as np
import pytest
import sklearn.metrics as reference

from geomm.metrics.tables import ClassificationMetric, RegressionMetric


def judged(metric, prediction, target, cuts):
    for part in np.split(np.arange(len(target)), cuts):
        metric.process({}, [{"prediction": prediction[part], "target": target[part], "row": part}])
    return metric.evaluate(len(target))


@pytest.mark.parametrize("cuts", [[], [10, 55], [1, 2, 3]])
def test_quantities(cuts):
    rng = np.random.default_rng(0)
    target = rng.uniform(1, 9, (80, 2))
    found = target + rng.normal(size=(80, 2))
    metric = RegressionMetric(["a", "b"])
    scores = judged(metric, found, target, cuts)
    assert scores["R2"] == pytest.approx(reference.r2_score(target, found))
    assert scores["MAE"] == pytest.approx(reference.mean_absolute_error(target, found))
    assert scores["MAPE"] == pytest.approx(reference.mean_absolute_percentage_error(target, found))
    rmse = reference.root_mean_squared_error(target[:, 1], found[:, 1])
    assert scores["RMSE/b"] == pytest.approx(rmse)
    assert metric.rows["row"].tolist() == list(range(80))


def test_what_cannot_be_measured_is_nan():
    scores = RegressionMetric(["a"]).judge(np.ones((3, 1)), np.zeros((3, 1)))
    assert np.isnan(scores["R2"]) and np.isnan(scores["MAPE"]) and scores["RMSE"] == 1


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("cuts", [[], [7, 60]])
def test_classes(classes, cuts):
    rng = np.random.default_rng(classes)
    target = rng.integers(0, classes, 90)
    found = rng.dirichlet(np.ones(classes), 90) + 0.3 * np.eye(classes)[target]
    found /= found.sum(1, keepdims=True)
    metric = ClassificationMetric([f"c{i}" for i in range(classes)])
    scores = judged(metric, found, target, cuts)
    chosen = found.argmax(1)
    assert scores["accuracy"] == pytest.approx(reference.accuracy_score(target, chosen))
    assert scores["F1"] == pytest.approx(reference.f1_score(target, chosen, average="macro"))
    assert scores["log_loss"] == pytest.approx(reference.log_loss(target, found))
    shown = found[:, 1] if classes == 2 else found
    assert scores["ROC_AUC"] == pytest.approx(reference.roc_auc_score(target, shown, multi_class="ovr"))
    assert np.array_equal(metric.confusion, reference.confusion_matrix(target, chosen))
    assert scores["recall/c1"] == pytest.approx(reference.recall_score(target == 1, chosen == 1))


def test_a_choice_has_no_probabilities():
    scores = ClassificationMetric(["a", "b"], probabilities=False).judge(np.eye(2), np.array([0, 1]))
    assert scores["accuracy"] == 1 and np.isnan(scores["log_loss"]) and np.isnan(scores["ROC_AUC"])


def test_a_class_without_rows_does_not_count():
    scores = ClassificationMetric(["a", "b", "c"]).judge(np.eye(3)[[0, 1]], np.array([0, 1]))
    assert scores["F1"] == 1 and np.isnan(scores["F1/c"]) and scores["ROC_AUC"] == 1
