"""What columns are, found from what they hold."""

import logging

import numpy as np
import pandas
import pyarrow
import pytest

from geomm.datasets.tables.columns import (
    choose_columns,
    detect_kind,
    labelled_rows,
    numbering_columns,
    target_kind,
)
from geomm.errors import ConfigError, DataError

OPTIONS = {
    "fields": None, "leave_out": ["y"], "types": {}, "wanted_too": (), "numbering": ["id"],
    "most_categories": 1000, "text_limit": 200,
}  # fmt: skip


@pytest.mark.parametrize(
    "values, kind",
    [
        ([1, 2, 3], "number"),
        ([1.5, None], "number"),
        (["1", "2.5", None], "number"),
        ([True, False], "boolean"),
        (["yes", "no", "YES"], "boolean"),
        (["2024-01-31", "2024-02-01 10:00"], "date"),
        (["31.01.2024", "01.02.2024"], "date"),
        (pandas.to_datetime(["2024-01-31", "2024-02-01"]), "date"),
        (["a", "b", None], "category"),
        (["yes", "yes"], "category"),
        (pandas.Categorical(["a", "b"]), "category"),
        (["1", "abc"], "category"),
        ([None, None], None),
        (["", " "], None),
    ],
)
def test_a_column_is_known_by_what_it_holds(values, kind):
    assert detect_kind(pandas.Series(values)) == kind
    if all(isinstance(item, str) for item in values) and not isinstance(values, pandas.Categorical):
        for dtype in ("string[python]", "string[pyarrow]", pandas.ArrowDtype(pyarrow.string())):
            assert detect_kind(pandas.Series(values, dtype=dtype)) == kind


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    return pandas.DataFrame(
        {
            "id": rng.permutation(60) + 1,
            "size": rng.normal(size=60),
            "flat": 1.0,
            "note": [f"remark {i}" for i in range(60)],
            "empty": None,
            "kind": rng.choice(["a", "b"], 60),
            "y": rng.normal(size=60),
        }
    )


def test_what_no_model_can_use_is_left_out_and_said(table, caplog):
    with caplog.at_level(logging.INFO, "geomm"):
        assert choose_columns(table, **OPTIONS) == {"size": "number", "kind": "category"}
    said = caplog.text
    assert "id only numbers the rows" in said and "note has 60 distinct texts" in said
    assert "flat is constant" in said and "empty is empty" in said


def test_numbers_of_rows_are_known_among_all_rows(table):
    assert numbering_columns(table) == ["id"]
    assert numbering_columns(table.assign(id=table["id"] + 5)) == []
    assert numbering_columns(table.assign(id=table["id"] * 2)) == []
    assert numbering_columns(table.head(10)) == []


def test_what_is_named_is_taken(table):
    chosen = choose_columns(table, **{**OPTIONS, "fields": ["id", "size"], "types": {"size": "category"}})
    assert chosen == {"id": "number", "size": "category"}
    assert choose_columns(table, **{**OPTIONS, "fields": ["id"]}) == {"id": "number"}


def test_a_named_column_of_too_many_texts_is_an_error(table):
    with pytest.raises(DataError, match="column 'note' has 60 distinct texts"):
        choose_columns(table, **{**OPTIONS, "fields": ["note", "size"], "most_categories": 50})


def test_a_million_distinct_texts_are_left_out_by_name(caplog):
    texts = np.char.add("row ", np.arange(1_000_000).astype(str)).astype(object)
    table = pandas.DataFrame({"name": texts, "size": np.arange(1_000_000) * 0.5})
    with caplog.at_level(logging.WARNING, "geomm"):
        assert choose_columns(table, **OPTIONS) == {"size": "number"}
    assert "name has 1,000,000 distinct texts" in caplog.text


def test_nothing_left_is_an_error(table):
    with pytest.raises(DataError, match="no explanatory column is left"):
        choose_columns(table[["flat", "y"]], **OPTIONS)
    with pytest.raises(ConfigError, match=r"types.size: found 'real'"):
        choose_columns(table, **{**OPTIONS, "types": {"size": "real"}})


@pytest.mark.parametrize(
    "values, kind",
    [
        ([0, 1, 1, 0], "classification"),
        (["a", "b"], "classification"),
        ([True, False], "classification"),
        ([0.5, 1.0], "regression"),
        (list(range(30)), "regression"),
    ],
)
def test_a_target_is_a_class_or_a_quantity(values, kind):
    assert target_kind(pandas.Series(values), "y") == kind


def test_rows_without_a_target_are_left_out():
    frame = pandas.DataFrame({"y": [1.0, None, 3.0]})
    assert labelled_rows(frame, ["y"]).tolist() == [True, False, True]
    with pytest.raises(DataError, match="'y' is empty in every row"):
        labelled_rows(frame.assign(y=None), ["y"])
