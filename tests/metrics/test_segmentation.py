"""The metric of pixel classification, over whole evaluations."""

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

from geomm.metrics import SegmentationMetric
from geomm.metrics.confusion import summarise
from geomm.registry import METRICS, build
from geomm.structures import IGNORE_INDEX

NAMES = ["soil", "water", "tree"]


def make_samples(count=7, seed=0, size=(12, 9)):
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for _ in range(count):
        mask = torch.randint(0, 3, size, generator=generator, dtype=torch.uint8)
        prediction = torch.where(
            torch.rand(size, generator=generator) < 0.6,
            mask,
            torch.randint(0, 3, size, generator=generator, dtype=torch.uint8),
        )
        mask[torch.rand(size, generator=generator) < 0.2] = IGNORE_INDEX
        samples.append({"prediction": prediction, "mask": mask})
    return samples


def evaluate(samples, batch=None):
    metric = SegmentationMetric(NAMES)
    step = batch or len(samples)
    for start in range(0, len(samples), step):
        metric.process(None, samples[start : start + step])
    return metric, metric.evaluate(len(samples))


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_any_batches_score_as_all_at_once(batch):
    samples = make_samples()
    metric, found = evaluate(samples, batch)
    whole, expected = evaluate(samples)
    assert found == expected
    np.testing.assert_array_equal(metric.confusion, whole.confusion)


def test_the_scores_are_those_of_torchmetrics_over_the_same_batches():
    samples = make_samples()
    theirs = MulticlassJaccardIndex(3, ignore_index=IGNORE_INDEX)
    matrix = MulticlassConfusionMatrix(3, ignore_index=IGNORE_INDEX)
    for sample in samples:
        pair = sample["prediction"].long(), sample["mask"].long()
        theirs.update(*pair)
        matrix.update(*pair)
    metric, found = evaluate(samples, batch=2)
    assert found["mIoU"] == pytest.approx(theirs.compute().item(), rel=1e-6)
    np.testing.assert_array_equal(metric.confusion, matrix.compute())


def test_it_is_no_average_of_batches():
    zeros, ones = torch.zeros(4, 4, dtype=torch.uint8), torch.ones(4, 4, dtype=torch.uint8)
    samples = [{"prediction": zeros, "mask": zeros}, {"prediction": zeros, "mask": ones}]
    _, found = evaluate(samples, batch=1)
    assert found["IoU/soil"] == 0.5
    assert found["mIoU"] == 0.25


def test_samples_may_differ_in_size():
    samples = [*make_samples(2), *make_samples(2, seed=1, size=(5, 5)), *make_samples(1, size=(1, 1))]
    metric, _ = evaluate(samples, batch=5)
    labelled = sum(int((sample["mask"] != IGNORE_INDEX).sum()) for sample in samples)
    assert metric.confusion.sum() == labelled


def test_unlabelled_samples_change_nothing():
    samples = make_samples()
    blank = {
        "prediction": torch.ones(4, 4, dtype=torch.uint8),
        "mask": torch.full((4, 4), IGNORE_INDEX, dtype=torch.uint8),
    }
    assert evaluate([*samples, blank], batch=3)[1] == evaluate(samples)[1]


@pytest.mark.parametrize("count", [0, 2])
def test_an_evaluation_without_a_labelled_pixel_is_nan(count):
    samples = make_samples(count)
    for sample in samples:
        sample["mask"].fill_(IGNORE_INDEX)
    metric, found = evaluate(samples, batch=1)
    assert np.isnan(found["mIoU"]) and np.isnan(found["accuracy"])
    assert metric.confusion.shape == (3, 3) and not metric.confusion.any()


def test_an_empty_batch_changes_nothing():
    metric = SegmentationMetric(NAMES)
    metric.process(None, [])
    metric.process(None, make_samples())
    assert metric.evaluate(7) == evaluate(make_samples())[1]


def test_a_second_evaluation_starts_anew():
    metric, _ = evaluate(make_samples(seed=1))
    metric.process(None, make_samples())
    assert metric.evaluate(7) == evaluate(make_samples())[1]


def test_memory_does_not_grow_with_the_samples():
    metric = SegmentationMetric(NAMES)
    for _ in range(5):
        metric.process(None, make_samples(3))
    assert len(metric.results) == 1 and metric.results[0].shape == (3, 3)


def test_arrays_and_tensors_count_alike():
    samples = make_samples()
    arrays = [{key: value.numpy() for key, value in sample.items()} for sample in samples]
    assert evaluate(arrays)[1] == evaluate(samples)[1]


def test_the_last_confusion_matrix_gives_the_scores():
    metric, found = evaluate(make_samples())
    assert found == summarise(metric.confusion, NAMES)


def test_it_is_registered_under_its_name():
    assert isinstance(build(METRICS, {"type": "SegmentationMetric"}, classes=NAMES), SegmentationMetric)


def test_names_have_no_prefix_and_nothing_is_warned_of(recwarn):
    _, found = evaluate(make_samples())
    assert "mIoU" in found and "IoU/water" in found
    assert not recwarn.list
