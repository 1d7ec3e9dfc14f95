"""Representative points and nearest neighbours: a cloud as a pyramid of ever fewer points.

On a CPU they are found by a k-d tree, in the loader's workers beside the model; on a GPU by distances
in chunks, so that a step needs nothing from elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomm.errors import ConfigError, did_you_mean

SAMPLINGS = ("random", "farthest")
#: Distances that a GPU holds at once.
_CHUNK_DISTANCES = 1 << 26


@dataclass(frozen=True)
class Search:
    """One neighbourhood search: for every point of one level, its neighbours in another.

    Attributes:
      source: level that neighbours come from; 0 is the input.
      query: level whose points they are found for.
      k: neighbours a point.
      dilation: every how many-th of the ``k * dilation`` nearest is taken.
    """

    source: int
    query: int
    k: int
    dilation: int = 1


@dataclass(frozen=True)
class PyramidPlan:
    """What a network needs found before it runs.

    Attributes:
      levels: points of each level after the input, -1 for all of the level before.
      searches: in the order in which the network uses them.
      sampling: ``random`` or ``farthest``, how a level's points are chosen from the one before.
    """

    levels: tuple[int, ...]
    searches: tuple[Search, ...]
    sampling: str = "random"

    def __post_init__(self) -> None:
        if self.sampling not in SAMPLINGS:
            raise ConfigError(
                f"head.sampling: found {self.sampling!r}; {did_you_mean(self.sampling, SAMPLINGS)}"
            )


@dataclass
class Pyramid:
    """A batch's points and neighbours, level by level, the samples of a batch one after the other.

    Attributes:
      xyz: a level's coordinates (N_l, 3) float32.
      counts: a level's points of each sample.
      neighbours: of each search (N_query, k) int64, into the source level.
      kept: of each level after the input (N_l,) int64, which points of the level before it has; None
        where it has all.
    """

    xyz: list[Tensor]
    counts: list[list[int]]
    neighbours: list[Tensor]
    kept: list[Tensor | None]

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers, which mmengine moves between devices."""
        return dict(self.__dict__)


def build_pyramid(xyz: Sequence[NDArray[np.float32]], plan: PyramidPlan) -> Pyramid:
    """Find a batch's pyramid with k-d trees.

    Args:
      xyz: a (n, 3) array a sample, n > 0.
      plan: what to find.

    The points of a random level are drawn with a generator of the sample's size, so equal samples
    have equal pyramids.
    """
    parts = [_sample_pyramid(points, plan) for points in xyz]
    levels = len(plan.levels) + 1
    counts = [[len(part[0][level]) for part in parts] for level in range(levels)]
    starts = [np.cumsum([0, *sizes[:-1]]) for sizes in counts]

    def join(arrays: list[NDArray[Any]], shifts: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.concatenate([a + s for a, s in zip(arrays, shifts, strict=True)]))

    return Pyramid(
        xyz=[torch.from_numpy(np.concatenate([part[0][level] for part in parts])) for level in range(levels)],
        counts=counts,
        neighbours=[
            join([part[1][i] for part in parts], starts[search.source])
            for i, search in enumerate(plan.searches)
        ],
        kept=[
            None if wanted < 0 else join([part[2][i] for part in parts], starts[i])
            for i, wanted in enumerate(plan.levels)
        ],
    )


def _sample_pyramid(
    points: NDArray[np.float32], plan: PyramidPlan
) -> tuple[list[NDArray[Any]], list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    from scipy.spatial import cKDTree

    levels = [np.ascontiguousarray(points, np.float32)]
    kept: list[NDArray[np.int64]] = []
    rng = np.random.default_rng(len(points))
    for wanted in plan.levels:
        last = levels[-1]
        if wanted < 0:
            chosen: NDArray[np.int64] = np.arange(len(last), dtype=np.int64)
        else:
            chosen = representatives(last, wanted, plan.sampling, rng)
        kept.append(chosen)
        levels.append(last if wanted < 0 else last[chosen])
    trees: dict[int, Any] = {}
    found: dict[tuple[int, int], tuple[int, NDArray[np.int64]]] = {}
    # Levels that keep all points are one level as far as neighbours go.
    same = [0]
    for index, wanted in enumerate(plan.levels):
        same.append(same[-1] if wanted < 0 else index + 1)
    reach: dict[tuple[int, int], int] = {}
    for search in plan.searches:
        pair = (same[search.source], same[search.query])
        reach[pair] = max(reach.get(pair, 0), search.k * search.dilation)
    for pair, farthest in reach.items():
        source = levels[pair[0]]
        tree = trees.setdefault(
            pair[0], cKDTree(source, leafsize=12, compact_nodes=False, balanced_tree=False)
        )
        near = min(farthest, len(source))
        index = tree.query(levels[pair[1]], k=near, workers=1)[1]
        found[pair] = (near, index.reshape(-1, near).astype(np.int64, copy=False))
    neighbours = []
    for search in plan.searches:
        near, nearest = found[same[search.source], same[search.query]]
        neighbours.append(np.ascontiguousarray(nearest[:, _dilated(search, near)]))
    return levels, neighbours, kept


def _dilated(search: Search, near: int) -> NDArray[np.int64]:
    """Return which of the ``near`` nearest are taken; few points are taken several times."""
    return np.arange(search.k) * search.dilation % min(near, search.k * search.dilation)


def representatives(
    points: NDArray[np.float32], wanted: int, sampling: str, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Choose ``wanted`` of the points, or all where there are no more.

    Args:
      points: (n, 3).
      wanted: how many.
      sampling: ``random``; or ``farthest``, each point the farthest from those chosen before (Eldar et
        al., 1997).
      rng: draws the random ones, and the first of the farthest.
    """
    count = len(points)
    if wanted >= count:
        return np.arange(count)
    if sampling == "random":
        return np.sort(rng.permutation(count)[:wanted])
    chosen = np.empty(wanted, np.int64)
    chosen[0] = rng.integers(count)
    columns = np.ascontiguousarray(points.T)
    nearest = np.full(count, np.inf, np.float32)
    for step in range(1, wanted):
        away = columns - columns[:, chosen[step - 1], None]
        np.minimum(nearest, np.einsum("ij,ij->j", away, away), out=nearest)
        chosen[step] = nearest.argmax()
    return np.sort(chosen)


def build_pyramid_on_device(xyz: Tensor, counts: Sequence[int], plan: PyramidPlan) -> Pyramid:
    """Find a batch's pyramid where its points are, by distances in chunks.

    Args:
      xyz: (N, 3) float32, the samples one after the other.
      counts: points of each sample.
      plan: what to find.
    """
    levels, sizes = [xyz], [list(counts)]
    kept: list[Tensor | None] = []
    for wanted in plan.levels:
        if wanted < 0:
            levels.append(levels[-1])
            sizes.append(sizes[-1])
            kept.append(None)
            continue
        parts, start = [], 0
        for count in sizes[-1]:
            points = levels[-1][start : start + count]
            parts.append(_representatives_on_device(points, wanted, plan.sampling) + start)
            start += count
        sizes.append([len(part) for part in parts])
        chosen = torch.cat(parts)
        kept.append(chosen)
        levels.append(levels[-1][chosen])
    neighbours = [
        _search_on_device(levels[s.source], sizes[s.source], levels[s.query], sizes[s.query], s)
        for s in plan.searches
    ]
    return Pyramid(levels, sizes, neighbours, kept)


def _representatives_on_device(points: Tensor, wanted: int, sampling: str) -> Tensor:
    count = len(points)
    if wanted >= count:
        return torch.arange(count, device=points.device)
    if sampling == "random":
        generator = torch.Generator().manual_seed(count)
        return torch.randperm(count, generator=generator)[:wanted].sort().values.to(points.device)
    chosen = torch.zeros(wanted, dtype=torch.int64, device=points.device)
    nearest = torch.full((count,), torch.inf, device=points.device)
    for step in range(1, wanted):
        away = (points - points[chosen[step - 1]]).square().sum(1)
        nearest = torch.minimum(nearest, away)
        chosen[step] = nearest.argmax()
    return chosen.sort().values


def _search_on_device(
    source: Tensor, source_counts: Sequence[int], query: Tensor, query_counts: Sequence[int], search: Search
) -> Tensor:
    parts, first, start = [], 0, 0
    for there, asked in zip(source_counts, query_counts, strict=True):
        points, queries = source[first : first + there], query[start : start + asked]
        near = min(search.k * search.dilation, there)
        places = torch.from_numpy(_dilated(search, near)).to(source.device)
        step = max(_CHUNK_DISTANCES // max(there, 1), 1)
        for chunk in queries.split(step):
            index = torch.cdist(chunk, points).topk(near, dim=1, largest=False).indices
            parts.append(index[:, places] + first)
        first, start = first + there, start + asked
    return torch.cat(parts)
