"""The indexed ways to suppress boxes equal their plain definitions, and bands of rows change nothing."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomm.inference.objects.candidates import Candidates, load
from geomm.inference.objects.merge import ObjectMerger
from geomm.inference.objects.suppression import MERGE_FUNCTIONS, overlap, touching


def some(count, seed, size=60):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, size, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 25, (count, 2))], axis=1)
    scores = rng.choice(np.linspace(0.3, 1, 29), count).astype(np.float32)
    windows = np.tile([0.0, 0, 1e6, 1e6], (count, 1))
    labels = rng.integers(0, 2, count).astype(np.int32)
    return Candidates(boxes, labels, scores, windows, np.zeros((count, 4), bool), np.zeros(count, np.int32))


def rows(found):
    columns = zip(found.boxes.round(9).tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
    return sorted((tuple(box), label, round(score, 5)) for box, label, score in columns)


def iou(found, one, other):
    if found.labels[one] != found.labels[other]:
        return 0.0
    return float(overlap(found.boxes[[one]], found.boxes[[other]])[0])


def plain_nms(found, threshold, least):
    kept = []
    for index in found.order():
        if all(iou(found, index, other) <= threshold for other in kept):
            kept.append(index)
    return found[np.array(kept, int)]


def plain_soft(found, threshold, least):
    scores = found.scores.astype(float)
    left = set(range(len(found)))
    place = {int(index): rank for rank, index in enumerate(found.order())}
    while left:
        best = min(left, key=lambda index: (-scores[index], place[index]))
        left.remove(best)
        for index in left:
            value = iou(found, best, index)
            if value > threshold:
                scores[index] *= 1 - value
    lowered = Candidates(
        found.boxes, found.labels, scores.astype(np.float32), found.windows, found.cut, found.sources
    )
    return lowered[lowered.scores >= least]


def plain_fusion(found, threshold, least):
    survivors, members = [], {}
    for index in found.order():
        owner = next((other for other in survivors if iou(found, index, other) > threshold), None)
        if owner is None:
            survivors.append(index)
        members.setdefault(index if owner is None else owner, []).append(index)
    made = found[np.array(survivors, int)]
    for at, index in enumerate(survivors):
        group = members[index]
        if len(group) > 1:
            made.boxes[at] = np.average(found.boxes[group], axis=0, weights=found.scores[group])
        made.scores[at] = found.scores[group].mean()
    return made[made.scores >= least]


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(0, 40), seed=st.integers(0, 999), threshold=st.floats(0.05, 0.9),
    merge=st.sampled_from(["nms", "soft", "wbf"]),
)  # fmt: skip
def test_each_equals_its_definition(count, seed, threshold, merge):
    found = some(count, seed)
    pairs = touching(found.boxes, found.labels, found.boxes)
    made = MERGE_FUNCTIONS[merge](found, pairs[pairs.iou > threshold], 0.3)
    plain = {"nms": plain_nms, "soft": plain_soft, "wbf": plain_fusion}[merge](found, threshold, 0.3)
    assert len(made) == len(plain)
    for one, other in zip(rows(made), rows(plain), strict=True):
        assert one[1] == other[1]
        np.testing.assert_allclose(one[0], other[0], atol=1e-6)
        assert one[2] == pytest.approx(other[2], abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 999), bands=st.lists(st.integers(0, 90), max_size=6),
    merge=st.sampled_from(["nms", "soft", "wbf"]),
)  # fmt: skip
def test_bands_and_order_change_nothing(seed, bands, merge):
    found = some(60, seed)
    at_once = ObjectMerger(merge, 0.4, 0.3).add(found, np.inf)
    merger, parts = ObjectMerger(merge, 0.4, 0.3), []
    shuffled = found[np.random.default_rng(seed).permutation(len(found))]
    edges = [-np.inf, *sorted(bands), np.inf]
    for first, last in pairwise(edges):
        top = shuffled.boxes[:, 1]
        parts.append(merger.add(shuffled[(top >= first) & (top < last)], last))
    assert sorted(row for part in parts for row in rows(part)) == rows(at_once)
    assert len(merger.finish()) == 0


def test_what_is_finished_is_let_go():
    merger = ObjectMerger("nms", 0.5, 0.0)
    for band in range(20):
        found = some(50, band)
        found.boxes[:, [1, 3]] += band * 1000
        assert len(merger.add(found, (band + 1) * 1000))
        assert len(merger._waiting) == 0


def test_candidates_come_back_from_their_file(tmp_path):
    for found in (Candidates.none(), some(7, 1), some(7, 1).with_shapes()):
        found.save(tmp_path / "c.npz")
        back = load(tmp_path / "c.npz")
        assert rows(back) == rows(found)
        assert (back.shapes is None) == (found.shapes is None)
        if found.shapes is not None:
            assert all(a.equals(b) for a, b in zip(back.shapes, found.shapes, strict=True))
