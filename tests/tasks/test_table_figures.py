"""Importance by permutation finds the columns that a target depends on."""

import numpy as np

from geomm.tasks.table_figures import permutation_importance
from geomm.transforms.columns import Column
from geomm.transforms.table import Encoded, TableSpec, Target


def number(name, **more):
    return Column(name, "number", means=(0.0,), stds=(1.0,), **more)


class Sum:
    """The first number and twice the category."""

    def predict_learnt(self, rows):
        return (rows.numbers[:, :1] + 2 * rows.categories[:, :1]).astype(np.float32)


def test_what_counts_is_found_and_what_does_not_is_zero():
    columns = (number("a", missing=True), Column("k", "category", categories=("x", "y")), number("b"))
    spec = TableSpec(columns, (Target("t"),))
    rng = np.random.default_rng(0)
    rows = Encoded(rng.normal(size=(500, 3)).astype(np.float32), rng.integers(0, 4, (500, 1)))
    before = rows.numbers.copy()
    gains = permutation_importance(Sum(), spec, rows, Sum().predict_learnt(rows), repeats=4)
    assert gains.shape == (3, 4) and (gains[2] == 0).all()
    assert gains[1].mean() > gains[0].mean() > 1 and np.array_equal(rows.numbers, before)


def test_classes_are_judged_by_log_loss():
    spec = TableSpec((number("a"), number("b")), (Target("t"),), classes=("no", "yes"))

    class Sure:
        def predict_learnt(self, rows):
            yes = np.where(rows.numbers[:, 0] > 0, 0.9, 0.1)
            return np.stack([1 - yes, yes], 1)

    rng = np.random.default_rng(1)
    rows = Encoded(rng.normal(size=(400, 2)).astype(np.float32), np.empty((400, 0), np.int64))
    gains = permutation_importance(Sure(), spec, rows, (rows.numbers[:, 0] > 0).astype(int), repeats=2)
    # Shuffled, half of the rows are wrong: their loss grows from -log 0.9 to -log 0.1.
    np.testing.assert_allclose(gains[0], 0.5 * (np.log(0.9) - np.log(0.1)), atol=0.15)
    assert (gains[1] == 0).all()
