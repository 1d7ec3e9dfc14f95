"""The preparation of a table: any order of columns, targets there and back, clear messages."""

import json

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomm.datasets.tables.columns import fit_column
from geomm.datasets.tables.targets import fit_classes, fit_target
from geomm.errors import ConfigError, DataError
from geomm.transforms.table import RasterVariable, Surroundings, TableSpec

FRAME = pandas.DataFrame(
    {
        "area": [50.0, 80.0, None, 120.0],
        "kind": ["flat", "house", "flat", None],
        "sold": ["2024-01-05", "2024-02-05", "2023-07-01", "2022-12-31"],
        "price": [100.0, 180.0, 90.0, 260.0],
    }
)


@pytest.fixture
def spec():
    kinds = {"area": "number", "kind": "category", "sold": "date"}
    columns = [fit_column(n, k, FRAME[n], most_categories=9, text_limit=9) for n, k in kinds.items()]
    around = Surroundings((RasterVariable("dem", "dem.tif"),), (("road", "roads.gpkg"),), xy=("x", "y"))
    return TableSpec(tuple(columns), (fit_target("price", FRAME["price"], "log"),), around=around)


def test_the_order_of_columns_and_further_ones_do_not_matter(spec):
    one = spec.encode(FRAME)
    two = spec.encode(FRAME.assign(more=1)[["more", "price", "sold", "kind", "area"]])
    assert np.array_equal(one.numbers, two.numbers) and np.array_equal(one.categories, two.categories)
    assert one.numbers.shape == (4, len(spec.number_names)) and np.isfinite(one.numbers).all()


def test_a_missing_column_is_named_with_the_nearest(spec):
    with pytest.raises(DataError, match=r"no column 'area' and 1 more \(kind\).*did you mean 'area_m2'"):
        spec.encode(FRAME.rename(columns={"area": "area_m2", "kind": "sort"}))


def test_unseen_categories_are_known_by_column(spec):
    frame = FRAME.assign(kind=["castle", "flat", "tent", None])
    assert spec.unseen(frame, spec.encode(frame)) == {"kind": ["castle", "tent"]}


def test_a_spec_comes_back_from_json(spec):
    assert TableSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(["none", "log", "log1p", "sqrt"]),
    st.lists(st.floats(0.5, 1e6), min_size=3, max_size=20).filter(lambda v: np.ptp(v) > 1),
)
def test_a_target_comes_back_from_what_is_learnt(transform, values):
    target = fit_target("t", pandas.Series(values), transform)
    learnt = target.forth(np.array(values))
    assert abs(learnt.mean()) < 1e-6 and learnt.std() == pytest.approx(1)
    np.testing.assert_allclose(target.back(learnt), values, rtol=1e-6)


def test_classes_are_in_order_of_size_where_they_are_numbers():
    assert [c.name for c in fit_classes(pandas.Series([10, 2, 2.0]), "t")] == ["2", "10"]


@pytest.mark.parametrize(
    "make, error, said",
    [
        (lambda: fit_target("t", pandas.Series([3.0, 3.0]), "none"), DataError, "'t' is constant"),
        (lambda: fit_target("t", pandas.Series([1.0, -1.0]), "log"), DataError, "goes down to -1"),
        (lambda: fit_target("t", pandas.Series([1.0, np.inf]), "none"), DataError, "infinite"),
        (lambda: fit_target("t", pandas.Series([1.0, 2.0]), "lgo"), ConfigError, "did you mean 'log'"),
        (lambda: fit_classes(pandas.Series(["a", "a"]), "t"), DataError, "one class only"),
        (lambda: fit_classes(pandas.Series(np.arange(2000)), "t"), DataError, "2,000 distinct values"),
    ],
)
def test_a_target_that_cannot_be_learnt_is_named(make, error, said):
    with pytest.raises(error, match=said):
        make()
