"""Splits of rows: shares, groups that are never cut, time that never runs backwards, folds that cover."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomm.datasets.tables.splits import (
    TEST,
    TRAIN,
    VAL,
    block_units,
    check_way,
    named_parts,
    random_units,
    split_rows,
)
from geomm.errors import ConfigError, DataError


@settings(max_examples=60, deadline=None)
@given(st.integers(20, 300), st.floats(0.05, 0.4), st.floats(0, 0.4), st.integers(0, 9))
def test_random_shares_are_what_was_asked_for(rows, val, test, seed):
    units = random_units(rows, None, seed)
    parts = split_rows(units, val=val, test=test, seed=seed, dealt=True)
    assert abs((parts == VAL).sum() - val * rows) <= 1.5
    assert abs((parts == TEST).sum() - test * rows) <= 1.5
    assert np.array_equal(parts, split_rows(units, val=val, test=test, seed=seed, dealt=True))


def test_every_part_has_its_share_of_each_class():
    classes = np.repeat([0, 1], [900, 100])
    parts = split_rows(random_units(1000, classes, 3), val=0.2, test=0.2, seed=3, dealt=True)
    for part in (TRAIN, VAL, TEST):
        assert classes[parts == part].mean() == pytest.approx(0.1, abs=0.01)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=30, max_size=120), st.integers(2, 4), st.integers(0, 5))
def test_a_group_is_never_cut(groups, folds, seed):
    units = np.array(groups)
    if len(set(groups)) < folds + 1:
        return
    tested = np.zeros(len(units), int)
    for fold in range(folds):
        parts = split_rows(units, val=0.2, test=0, seed=seed, fold=fold, folds=folds)
        for unit in set(groups):
            assert len(set(parts[units == unit])) == 1
        assert (parts == TEST).any() and (parts == TRAIN).any()
        tested += parts == TEST
    assert (tested == 1).all()  # every row is tested once


@settings(max_examples=40, deadline=None)
@given(st.integers(12, 80), st.integers(2, 4))
def test_time_never_runs_backwards(rows, folds):
    units = np.random.default_rng(rows).permutation(rows)
    for fold in range(folds):
        parts = split_rows(units, val=0.2, test=0, seed=0, ordered=True, fold=fold, folds=folds)
        assert units[parts == TRAIN].max() < units[parts == VAL].min()
        assert units[parts == VAL].max() < units[parts == TEST].min()
    parts = split_rows(units, val=0.2, test=0.2, seed=0, ordered=True)
    assert units[parts == TRAIN].max() < units[parts == VAL].min()
    assert units[parts == VAL].max() < units[parts == TEST].min()


def test_few_large_groups_leave_no_part_empty():
    parts = split_rows(np.array([0] * 90 + [1] * 9 + [2]), val=0.1, test=0.1, seed=1)
    assert {TRAIN, VAL, TEST} == set(parts.tolist())


def test_blocks_are_squares_of_the_map():
    places = np.random.default_rng(0).uniform(0, 1000, (400, 2))
    units, edge = block_units(places, 250.0)
    assert edge == 250.0 and len(np.unique(units)) == 16
    for unit in np.unique(units):
        assert (np.ptp(places[units == unit], axis=0) <= 250).all()
    automatic, _ = block_units(places, None)
    assert 40 <= len(np.unique(automatic)) <= 90


def test_a_column_may_name_the_parts_itself():
    assert named_parts(np.array(["Train", "val", "test"], object)).tolist() == [TRAIN, VAL, TEST]
    assert named_parts(np.array(["a", "val"], object)) is None


def test_what_a_split_lacks_is_named():
    with pytest.raises(DataError, match="2 groups, and the split needs at least 3"):
        split_rows(np.array([0, 1, 1]), val=0.2, test=0.2, seed=0)
    with pytest.raises(DataError, match=r"3 rows, .* needs at least 5; give more rows"):
        split_rows(random_units(3, None, 0), val=0.2, test=0.0, seed=0, dealt=True, fold=0, folds=5)
    with pytest.raises(ConfigError, match=r"split.by=time needs dataset.split.column"):
        check_way("time", column=None, placed=True)
    with pytest.raises(ConfigError, match="needs geometries"):
        check_way("block", column=None, placed=False)
    with pytest.raises(DataError, match="1 rows have no geometry"):
        block_units(np.array([[0.0, 1.0], [np.nan, 2.0]]), 1.0)
