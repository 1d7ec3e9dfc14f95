"""Columns as numbers: what is learnt in training holds at inference, and mistakes are named."""

import datetime

import numpy as np
import pandas
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomm.datasets.tables.columns import fit_column
from geomm.errors import DataError
from geomm.transforms.columns import DATE_PARTS, MISSING, UNSEEN, Column, date_parts, to_numbers, to_text

#: Every way in which pandas holds text.
TEXT_TYPES = [
    "string[python]",
    "string[pyarrow]",
    pandas.StringDtype("pyarrow", na_value=np.nan),
    pandas.ArrowDtype(pyarrow.string()),
    pandas.ArrowDtype(pyarrow.large_string()),
    "category",
]
SETTINGS = {"most_categories": 100, "text_limit": 20}


def fitted(kind, values):
    return fit_column("c", kind, pandas.Series(values), **SETTINGS)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=30).filter(lambda v: np.std(v) > 1e-3))
def test_numbers_have_mean_zero_and_deviation_one(values):
    found = fitted("number", values).numbers(values)
    assert found.shape == (len(values), 1) and found.dtype == np.float32
    assert found.mean() == pytest.approx(0, abs=1e-3) and found.std() == pytest.approx(1, abs=1e-3)


def test_a_missing_number_is_the_median_and_remembered():
    column = fitted("number", [1.0, 2.0, 9.0, None])
    found = column.numbers([2.0, None])
    assert column.features == ("c", "c_missing") and column.fill == 2.0
    assert found[0, 0] == found[1, 0] and found[:, 1].tolist() == [0, 1]


def test_a_constant_is_no_division_by_zero():
    assert fitted("number", [3.0, 3.0, 3.0]).numbers([3.0, 4.0]).tolist() == [[0.0], [1.0]]


@pytest.mark.parametrize("values", [["yes", "No", " TRUE "], [True, False, True], [1, 0, 1]])
def test_truths_are_one_and_zero(values):
    assert to_numbers(values, "boolean", "c").tolist() == [1.0, 0.0, 1.0]


def outcome(cells, dtype, kind):
    series = pandas.Series(cells, dtype=dtype)
    if kind == "category":
        return to_text(series, 20).tolist()
    try:
        return to_numbers(series, kind, "c").tolist()
    except DataError as error:
        return str(error)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["number", "boolean", "date", "category"]),
    st.lists(st.sampled_from(["1", "2.5", "yes", "No ", "abc", "2024-05-31", "", " ", None]), max_size=5),
)
def test_text_is_the_same_in_every_type_of_it(kind, cells):
    wanted = outcome(cells, object, kind)
    for dtype in TEXT_TYPES:
        np.testing.assert_equal(outcome(cells, dtype, kind), wanted, err_msg=str(dtype))


def test_categories_are_counted_and_strangers_are_told_apart_from_the_missing():
    column = fitted("category", ["b", "a", "b", None, "c "])
    assert column.categories == ("b", "a", "c")
    assert column.indices(["c", None, "new", "b", ""]).tolist() == [4, MISSING, UNSEEN, 2, MISSING]
    assert column.size == 5 and column.features == ()


@pytest.mark.parametrize("values", [[3, 4, 3], [3.0, 4.0, 3.0], ["3", "4", "3"], [3.0, 4.0, np.nan]])
def test_a_category_is_the_same_whatever_type_a_format_gives_it(values):
    column = fitted("category", [3, 4])
    assert column.indices(values)[:2].tolist() == column.indices([3, 4]).tolist()


def test_a_text_counts_up_to_its_limit():
    column = fit_column("c", "category", pandas.Series(["abcdef", "abcxyz"]), most_categories=9, text_limit=3)
    assert column.categories == ("abc",) and column.indices(["abc!"]).tolist() == [2]
    assert to_text(["  "], 5).tolist() == [None]


@settings(max_examples=60, deadline=None)
@given(st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2200, 1, 1)))
def test_a_date_is_spread_to_its_parts(moment):
    moment = moment.replace(microsecond=0)
    raw = to_numbers([moment.isoformat()], "date", "c")
    found = dict(zip(DATE_PARTS, date_parts(raw, DATE_PARTS)[0], strict=True))
    assert (found["year"], found["month"], found["day"]) == (moment.year, moment.month, moment.day)
    assert (found["hour"], found["minute"], found["second"]) == (moment.hour, moment.minute, moment.second)
    assert found["week"] == moment.isocalendar().week and found["dayofweek"] == moment.weekday()
    assert found["dayofyear"] == moment.timetuple().tm_yday
    assert found["is_year_end"] == ((moment.month, moment.day) == (12, 31))
    assert found["is_quarter_start"] == (moment.day == 1 and moment.month % 3 == 1)
    assert found["is_month_end"] == ((moment + datetime.timedelta(days=1)).month != moment.month)
    epoch = datetime.datetime(1970, 1, 1)
    assert found["elapsed"] == (moment - epoch).total_seconds()


def test_parts_of_a_date_that_never_change_are_left_out():
    column = fitted("date", ["2024-01-01", "2024-02-01", "2024-03-01"])
    assert "month" in column.parts and not {"year", "hour", "day"} & set(column.parts)
    assert column.numbers(["2024-02-01", None]).shape == (2, len(column.features))


@pytest.mark.parametrize(
    "kind, values, said",
    [
        ("number", [1.0, np.inf], "infinite values in 1 rows .*row 2 of"),
        ("number", ["1", "many"], "'many' in 1 rows, expected a number"),
        ("boolean", ["yes", "perhaps"], "'perhaps'"),
        ("date", ["2024-01-01", "soon"], "'soon' is no date"),
    ],
)
def test_what_is_none_of_the_kind_is_named(kind, values, said):
    with pytest.raises(DataError, match=f"column 'c'.*{said}"):
        to_numbers(values, kind, "c")


@pytest.mark.parametrize(
    "kind, values",
    [("number", [1.0, None, 3.5]), ("category", ["a", "b", "a"]), ("date", ["2024-01-01", "2025-03-09"])],
)
def test_a_column_comes_back_from_json(kind, values):
    import json

    column = fitted(kind, values)
    assert Column.from_dict(json.loads(json.dumps(column.to_dict()))) == column
