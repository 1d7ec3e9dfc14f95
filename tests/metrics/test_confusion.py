"""Confusion matrices and their scores, against torchmetrics and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support
from torchmetrics.functional.classification import multiclass_f1_score, multiclass_jaccard_index

from geomm.metrics.confusion import class_scores, count_confusion, summarise

IGNORE = 255
NAMES = ["soil", "water", "tree", "road"]


def make_maps(seed=0, classes=4, shape=(3, 17, 11), ignored=0.2, accuracy=0.6):
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, classes, shape).astype(np.uint8)
    guess = generator.integers(0, classes, shape).astype(np.uint8)
    prediction = np.where(generator.random(shape) < accuracy, truth, guess)
    return np.where(generator.random(shape) < ignored, IGNORE, truth).astype(np.uint8), prediction


def drop_class(maps, index):
    truth, prediction = maps
    prediction = np.where(prediction == index, 0, prediction)
    return np.where(truth == index, IGNORE, truth), prediction


def absent_cases():
    truth, prediction = make_maps()
    yield "all present", (truth, prediction)
    yield "in neither", drop_class((truth, prediction), 2)
    yield "never predicted", (truth, np.where(prediction == 2, 0, prediction))
    yield "never true", (np.where(truth == 2, IGNORE, truth), prediction)
    yield "one class only", (np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8))
    yield "all wrong", (np.zeros((4, 4), np.uint8), np.ones((4, 4), np.uint8))


CASES = dict(absent_cases())
each_case = pytest.mark.parametrize("maps", CASES.values(), ids=CASES.keys())


def counted(maps):
    return count_confusion(*maps, 4, IGNORE)


def known(maps):
    truth, prediction = maps
    keep = truth != IGNORE
    return truth[keep], prediction[keep]


@each_case
def test_the_counts_are_those_of_sklearn(maps):
    found = counted(maps)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, confusion_matrix(*known(maps), labels=range(4)))


def test_rows_are_truth_and_columns_prediction():
    assert count_confusion([0, 0, 1], [1, 1, 1], 2, IGNORE).tolist() == [[0, 2], [0, 1]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_the_type_of_the_maps_does_not_matter(dtype):
    truth, prediction = make_maps()
    np.testing.assert_array_equal(counted((truth.astype(dtype), prediction)), counted((truth, prediction)))


def test_two_hundred_classes_fit_maps_of_bytes():
    truth, prediction = make_maps(classes=250)
    found = count_confusion(truth, prediction, 250, IGNORE)
    expected = confusion_matrix(*known((truth, prediction)), labels=range(250))
    np.testing.assert_array_equal(found, expected)


def test_what_is_predicted_where_nothing_is_labelled_does_not_count():
    truth, prediction = make_maps()
    other = np.where(truth == IGNORE, (prediction + 1) % 4, prediction)
    np.testing.assert_array_equal(counted((truth, other)), counted((truth, prediction)))


def test_no_labelled_pixel_is_no_count():
    assert not counted((np.full((3, 3), IGNORE), np.zeros((3, 3), np.uint8))).any()


def test_parts_add_up_to_the_whole():
    truth, prediction = make_maps()
    parts = sum(counted(pair) for pair in zip(truth, prediction, strict=True))
    np.testing.assert_array_equal(parts, counted((truth, prediction)))


@each_case
def test_precision_recall_and_f1_are_those_of_sklearn(maps):
    scores = class_scores(counted(maps))
    truth, prediction = known(maps)
    expected = precision_recall_fscore_support(truth, prediction, labels=range(4), zero_division=0)
    present = np.isin(range(4), np.concatenate([truth, prediction]))
    for name, values in zip(("precision", "recall", "F1"), expected[:3], strict=True):
        np.testing.assert_allclose(scores[name][present], values[present])
        assert np.isnan(scores[name][~present]).all()


@each_case
def test_iou_is_that_of_torchmetrics(maps):
    scores = class_scores(counted(maps))["IoU"]
    truth, prediction = (torch.from_numpy(part.astype(np.int64)) for part in maps)
    expected = multiclass_jaccard_index(prediction, truth, 4, average="none", ignore_index=IGNORE)
    present = ~np.isnan(scores)
    np.testing.assert_allclose(scores[present], expected.numpy()[present], rtol=1e-6)
    assert not expected.numpy()[~present].any()


@each_case
def test_means_over_present_classes_are_those_of_torchmetrics(maps):
    found = summarise(counted(maps), NAMES)
    truth, prediction = (torch.from_numpy(part.astype(np.int64)) for part in maps)
    options = {"num_classes": 4, "average": "macro", "ignore_index": IGNORE}
    iou = multiclass_jaccard_index(prediction, truth, **options)
    assert found["mIoU"] == pytest.approx(iou.item(), rel=1e-6)
    f1 = multiclass_f1_score(prediction, truth, **options)
    assert found["mF1"] == pytest.approx(f1.item(), rel=1e-6)
    assert found["accuracy"] == pytest.approx(accuracy_score(*known(maps)))


def test_a_class_in_neither_truth_nor_prediction_counts_in_no_mean():
    found = summarise(counted(drop_class(make_maps(), 2)), NAMES)
    present = [found[f"IoU/{name}"] for name in NAMES if name != "tree"]
    assert np.isnan(found["IoU/tree"])
    assert found["mIoU"] == pytest.approx(np.mean(present))


def test_a_class_that_is_only_predicted_pulls_the_mean_down():
    found = summarise([[5, 1], [0, 0]], ["a", "b"])
    assert found["IoU/b"] == found["recall/b"] == found["precision/b"] == found["F1/b"] == 0
    assert found["mIoU"] == pytest.approx(5 / 6 / 2)


def test_a_class_that_is_never_predicted_has_a_precision_of_zero():
    found = summarise([[5, 0], [3, 0]], ["a", "b"])
    assert found["precision/b"] == found["recall/b"] == found["IoU/b"] == 0


def test_without_a_labelled_pixel_all_is_nan():
    found = summarise(np.zeros((4, 4), int), NAMES)
    assert all(np.isnan(value) for value in found.values())


def test_a_perfect_map_scores_one():
    found = summarise(np.diag([3, 9, 1, 4]), NAMES)
    assert all(value == 1 for value in found.values())


def test_every_score_is_named_after_its_class_and_a_plain_number():
    found = summarise(counted(make_maps()), NAMES)
    kinds = ("IoU", "precision", "recall", "F1")
    assert set(found) == {"mIoU", "mF1", "accuracy"} | {f"{k}/{n}" for k in kinds for n in NAMES}
    assert all(type(value) is float for value in found.values())


def test_another_number_of_names_than_classes_is_an_error():
    with pytest.raises(ValueError, match="zip"):
        summarise(np.eye(3), NAMES)
