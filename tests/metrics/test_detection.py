import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from geomm.metrics.detection import DetectionMetric, evaluate_scene
from geomm.structures import NO_CLASS, Objects

NAMES = ["palm", "pool"]


def objects(boxes, labels=None, **more):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    return Objects(boxes, np.zeros(len(boxes), int) if labels is None else np.asarray(labels), **more)


def scored(boxes, scores, labels=None, **more):
    return objects(boxes, labels, scores=np.asarray(scores, np.float32), **more)


def masks_of(boxes, size=64):
    out = np.zeros((len(boxes), size, size), bool)
    for number, (left, top, right, bottom) in enumerate(np.asarray(boxes).round().astype(int)):
        out[number, top:bottom, left:right] = True
        out[number, top : (top + bottom) // 2, left : (left + right) // 2] = False
    return out


def judge(pairs, **options):
    metric = DetectionMetric(NAMES, **options)
    metric.process(None, [{"prediction": p, "objects": t} for p, t in pairs])
    return metric.compute_metrics(metric.results), metric


def made_images(seed, *, masks):
    """Truth, and what a middling detector would find of it: shifted, doubled, missed, made up."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(4):
        corner, edge = rng.uniform(0, 40, (6, 2)), rng.uniform(6, 22, (6, 2))
        boxes = np.hstack([corner, corner + edge]).round()
        labels, ignored = rng.integers(0, 2, 6), rng.random(6) < 0.25
        kept = rng.random(6) < 0.8
        near = (boxes[kept] + rng.normal(0, 1.5, (kept.sum(), 4))).clip(0, 63)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 4)
        corner = rng.uniform(0, 40, (3, 2))
        wrong = np.hstack([corner, corner + rng.uniform(5, 20, (3, 2))])
        found = np.vstack([near, near[:2] + 0.5, wrong]).astype(np.float32)
        kinds = np.concatenate([labels[kept], labels[kept][:2], rng.integers(0, 2, 3)])
        scores = rng.permutation(100)[: len(found)] / 100 + 0.001
        more = (masks_of(found), masks_of(boxes)) if masks else (None, None)
        pairs.append(
            (
                scored(found, scores, kinds, masks=more[0]),
                objects(boxes, labels, ignored=ignored, masks=more[1]),
            )
        )
    return pairs


def by_pycocotools(pairs, *, masks):
    truth, found = [], []
    for number, (prediction, real) in enumerate(pairs, start=1):
        for target, given_objects in ((truth, real), (found, prediction)):
            for index, box in enumerate(given_objects.boxes.astype(float)):
                item = {
                    "id": len(target) + 1,
                    "image_id": number,
                    "category_id": int(given_objects.labels[index]) + 1,
                }
                item["bbox"] = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
                item["area"] = item["bbox"][2] * item["bbox"][3]
                item["iscrowd"] = int(given_objects.ignored[index]) if target is truth else 0
                if masks:
                    code = rle.encode(np.asfortranarray(given_objects.masks[index].astype(np.uint8)))
                    item["segmentation"] = code
                if target is found:
                    item["score"] = float(given_objects.scores[index])
                target.append(item)
    images = [{"id": n + 1, "width": 64, "height": 64} for n in range(len(pairs))]
    categories = [{"id": n + 1, "name": name} for n, name in enumerate(NAMES)]
    with contextlib.redirect_stdout(io.StringIO()):
        both = []
        for annotations in (truth, found):
            coco = COCO()
            coco.dataset = {"images": images, "categories": categories, "annotations": annotations}
            coco.createIndex()
            both.append(coco)
        run = COCOeval(*both, "segm" if masks else "bbox")
        run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ["all"]
        run.params.maxDets = [1000]
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][:, :, :, 0, 0]
    precision = np.where(precision < 0, np.nan, precision)
    return {"AP": np.nanmean(precision), "AP50": np.nanmean(precision[0]), "AP75": np.nanmean(precision[5])}


@pytest.mark.parametrize("masks", [False, True], ids=["boxes", "masks"])
@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000))
def test_average_precision_is_that_of_pycocotools(masks, seed):
    pairs = made_images(seed, masks=masks)
    mine, _ = judge(pairs, masks=masks)
    for name, value in by_pycocotools(pairs, masks=masks).items():
        assert mine[name] == pytest.approx(value, abs=1e-9), name


def test_the_truth_itself_is_perfect():
    truth = objects([[0, 0, 10, 10], [20, 20, 30, 40]], [0, 1])
    result, metric = judge([(scored(truth.boxes, [0.9, 0.4], truth.labels), truth)])
    assert {result[k] for k in ("AP", "AP50", "AP75", "precision", "recall", "F1")} == {1.0}
    assert 0.39 < metric.threshold < 0.4 and result["AP50/pool"] == 1.0


def test_nothing_found_and_nothing_there():
    truth = objects([[0, 0, 10, 10]])
    nothing = scored(np.zeros((0, 4)), [])
    result, metric = judge([(nothing, truth)])
    assert result["AP50"] == 0 and result["recall"] == 0 and result["F1"] == 0 and metric.threshold == 0.5
    assert np.isnan(result["AP50/pool"])
    assert np.isnan(judge([(nothing, objects(np.zeros((0, 4))))])[0]["AP50"])


def test_a_window_without_objects_counts_what_is_found_in_it():
    truth = objects([[0, 0, 10, 10]])
    right, wrong = scored(truth.boxes, [0.8]), scored([[5, 5, 9, 9]], [0.9])
    result, _ = judge([(right, truth), (wrong, objects(np.zeros((0, 4))))])
    assert result["AP50"] == pytest.approx(0.5) and result["precision"] == 0.5


def test_the_threshold_is_that_of_the_best_f1():
    truth = objects([[0, 0, 10, 10], [20, 20, 30, 30]])
    found = scored([*truth.boxes, [40, 40, 50, 50], [0, 40, 9, 50]], [0.9, 0.7, 0.3, 0.2])
    result, metric = judge([(found, truth)])
    assert 0.69 < metric.threshold < 0.7 and result["F1"] == 1.0
    fixed, _ = judge([(found, truth)], score_threshold=0.25)
    assert fixed["precision"] == pytest.approx(2 / 3) and fixed["threshold"] == 0.25


@settings(max_examples=40, deadline=None, derandomize=True)
@given(scores=st.lists(st.floats(2**-10, 1, width=32), min_size=1, max_size=12), data=st.data())
def test_no_other_threshold_has_a_better_f1(scores, data):
    right = data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores)))
    truth = objects([[20 * n, 0, 20 * n + 10, 10] for n in range(len(scores))])
    boxes = truth.boxes + np.where(right, 0, 500)[:, None]
    result, metric = judge([(scored(boxes, scores), truth)])
    assert metric.threshold <= 1
    for score in scores:
        other, _ = judge([(scored(boxes, scores), truth)], score_threshold=score)
        assert other["F1"] <= result["F1"] + 1e-9


@pytest.mark.parametrize("above", [1e-5, 1e-6, 0.0])
@pytest.mark.parametrize("below", [0.35, 0.9998, 0.99997, 1e-6])
def test_the_threshold_tells_scores_apart_as_models_do(below, above):
    """In float32: 0.35 is more than it is there."""
    low = np.float32(below)
    high = max(np.float32(below + above), np.nextafter(low, np.float32(1)))
    truth = objects([[0, 0, 10, 10]])
    found = scored([*truth.boxes, [40, 40, 50, 50]], [high, low])
    result, metric = judge([(found, truth)])
    assert result["F1"] == 1.0 and result["threshold"] == metric.threshold
    assert (found.scores >= metric.threshold).tolist() == [True, False]


def test_another_iou_has_its_own_average_precision():
    found, truth = scored([[0, 0, 10, 10]], [0.9]), objects([[0, 0, 10, 25]])
    result, metric = judge([(found, truth)], iou=0.3)
    assert result["AP30"] == 1.0 and result["AP50"] == 0.0 and result["recall"] == 1.0
    assert metric.curves["palm"].recall.tolist() == [1.0]


def test_what_lies_outside_of_the_counted_part_is_no_mistake():
    counted = np.array([0, 0, 30, 30], np.float32)
    boxes = [[5, 5, 15, 15], [40, 40, 50, 50]]
    truth = objects(boxes, ignored=np.array([False, True]), counted=counted)
    found = scored([*boxes, [50, 5, 60, 15]], [0.9, 0.8, 0.95])
    result, _ = judge([(found, truth)])
    assert result["AP50"] == 1.0 and result["precision"] == 1.0
    inside = scored([*boxes, [15, 18, 25, 28]], [0.9, 0.8, 0.95])
    assert judge([(inside, truth)])[0]["AP50"] == pytest.approx(0.5)


def test_a_scene_is_judged_by_outlines_too():
    from shapely import box

    truth = objects([[0, 0, 10, 10], [100, 100, 120, 120]])
    found = scored([[0, 0, 10, 10], [100, 100, 120, 120]], [0.9, 0.8])
    boxes, curves = evaluate_scene(truth, found, ["palm"])
    assert boxes["AP"] == 1.0 and curves["palm"].truths == 2
    outlines = (
        np.array([box(*b) for b in truth.boxes]),
        np.array([box(0, 0, 10, 10), box(100, 100, 120, 108)]),
    )
    drawn, _ = evaluate_scene(truth, found, ["palm"], outlines=outlines)
    assert drawn["AP50"] == pytest.approx(51 / 101) and drawn["recall"] == 0.5


def test_the_best_of_too_many_are_looked_at():
    truth = objects([[0, 0, 10, 10]])
    found = scored([[20, 20, 30, 30], [0, 0, 10, 10]], [0.9, 0.1])
    assert judge([(found, truth)], max_objects=1)[0]["recall"] == 0
    assert judge([(found, truth)])[0]["recall"] == 1


@pytest.mark.parametrize("kind", [0, 1])
def test_what_lies_on_an_object_of_no_class_is_no_mistake_of_any(kind):
    truth = objects([[0, 0, 10, 10], [30, 30, 50, 50]], [kind, NO_CLASS], ignored=np.array([False, True]))
    found = scored([[0, 0, 10, 10], [32, 32, 48, 48]], [0.9, 0.95], [kind, kind])
    results, _ = judge([(found, truth)])
    assert results["AP50"] == 1 and results["precision"] == 1 and results["recall"] == 1
