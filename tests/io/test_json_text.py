"""JSON that every reader takes."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomm.io.json_text import json_text, parse_metrics

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
)


def plain(data):
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {key: plain(value) for key, value in data.items()}
    return [plain(value) for value in data] if isinstance(data, list | tuple) else data


@given(VALUES)
def test_all_comes_back_but_what_is_no_number(data):
    def refuse(word):
        raise AssertionError(word)

    assert json.loads(json_text(data), parse_constant=refuse) == plain(data)


def test_metrics_without_a_value_are_no_numbers_again():
    found = parse_metrics(json_text({"lr": None, "val": {"AP50": 0.5, "AP50/roof": math.nan}}))
    assert found["lr"] is None and found["val"]["AP50"] == 0.5 and math.isnan(found["val"]["AP50/roof"])
    with pytest.raises(ValueError, match="found a list"):
        parse_metrics("[]")
