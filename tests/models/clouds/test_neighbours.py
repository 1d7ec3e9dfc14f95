"""Pyramids: true neighbours, inside their own sample, on either kind of machine."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geomm.errors import ConfigError
from geomm.models.clouds.neighbours import (
    PyramidPlan,
    Search,
    build_pyramid,
    build_pyramid_on_device,
    representatives,
)


def cloud(n, seed=0):
    return np.random.default_rng(seed).random((n, 3)).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=3), st.integers(1, 9), st.integers(1, 3))
def test_neighbours_are_the_nearest_of_their_own_sample(sizes, k, dilation):
    plan = PyramidPlan((-1, 10), (Search(0, 1, k, dilation), Search(1, 2, k), Search(2, 0, 3)))
    found = build_pyramid([cloud(n, i) for i, n in enumerate(sizes)], plan)
    assert found.counts == [sizes, sizes, [min(n, 10) for n in sizes]]
    for search, neighbours in zip(plan.searches, found.neighbours, strict=True):
        start = first = 0
        for there, asked in zip(found.counts[search.source], found.counts[search.query], strict=True):
            source = found.xyz[search.source][first : first + there]
            query = found.xyz[search.query][start : start + asked]
            mine = neighbours[start : start + asked]
            assert mine.min() >= first and mine.max() < first + there
            away = torch.cdist(query.double(), source.double())
            near = min(search.k * search.dilation, there)
            places = torch.arange(search.k) * search.dilation % near
            expected = away.sort(dim=1).values[:, places]
            torch.testing.assert_close(away.gather(1, mine - first), expected)
            start, first = start + asked, first + there


def test_a_device_finds_the_same_neighbours():
    plan = PyramidPlan((-1,), (Search(0, 1, 5, 2), Search(1, 0, 3)))
    clouds = [cloud(50), cloud(3, 1), cloud(31, 2)]
    ours = build_pyramid(clouds, plan)
    theirs = build_pyramid_on_device(torch.from_numpy(np.concatenate(clouds)), [50, 3, 31], plan)
    for a, b in zip(ours.neighbours, theirs.neighbours, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("sampling", ["random", "farthest"])
def test_levels_are_parts_of_the_one_before(sampling):
    plan = PyramidPlan((20, 5), (Search(0, 1, 3),), sampling)
    on_cpu = build_pyramid([cloud(40), cloud(12, 1)], plan)
    on_device = build_pyramid_on_device(
        torch.from_numpy(np.concatenate([cloud(40), cloud(12, 1)])), [40, 12], plan
    )
    for found in (on_cpu, on_device):
        assert found.counts == [[40, 12], [20, 12], [5, 5]]
        for level, kept in enumerate(found.kept):
            torch.testing.assert_close(found.xyz[level][kept], found.xyz[level + 1])
            assert len(kept.unique()) == len(kept)


def test_farthest_points_cover_better_than_random_ones():
    points = np.concatenate([cloud(500) * 0.05, cloud(20, 1)])
    rng = np.random.default_rng

    def gap(sampling):
        chosen = representatives(points, 30, sampling, rng(0))
        away = np.linalg.norm(points[:, None] - points[chosen], axis=2)
        return away.min(1).max()

    assert gap("farthest") < 0.7 * gap("random")


def test_an_unknown_sampling_is_named():
    with pytest.raises(ConfigError, match="did you mean 'farthest'"):
        PyramidPlan((-1,), (), "farthestt")
