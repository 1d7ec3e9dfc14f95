"""Tag schemes: exact round trips, repair, detection."""

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from geomm.datasets.texts.tag_schemes import (
    SCHEMES,
    convert,
    detect_scheme,
    scheme_name,
    spans_to_tags,
    tags_to_spans,
)
from geomm.errors import ConfigError, DataError


@st.composite
def entities(draw):
    """Draw entities that do not overlap, in order, and the number of tokens."""
    spans, at = [], 0
    for _ in range(draw(st.integers(0, 6))):
        at += draw(st.integers(0, 2))
        length = draw(st.integers(1, 4))
        spans.append((at, at + length - 1, draw(st.sampled_from(["A", "B-C", "é"]))))
        at += length
    return spans, at + draw(st.integers(0, 3))


def touching(spans):
    return any(a[1] + 1 == b[0] and a[2] == b[2] for a, b in itertools.pairwise(spans))


@pytest.mark.parametrize("scheme", SCHEMES)
@given(drawn=entities())
def test_entities_survive_every_scheme(scheme, drawn):
    spans, count = drawn
    assume(scheme != "IO" or not touching(spans))
    tags = spans_to_tags(spans, count, scheme)
    assert len(tags) == count
    assert tags_to_spans(tags, scheme) == (spans, 0)


@pytest.mark.parametrize("source", ["IOB1", "BIO", "BILUO"])
@pytest.mark.parametrize("target", ["IOB1", "BIO", "BILUO"])
@given(drawn=entities())
def test_conversion_there_and_back_is_exact(source, target, drawn):
    tags = spans_to_tags(drawn[0], drawn[1], source)
    there, faults = convert(tags, source, target)
    assert faults == 0
    assert convert(there, target, source) == (tags, 0)


@given(drawn=entities())
def test_a_detected_scheme_reads_the_same_entities(drawn):
    spans, count = drawn
    for scheme in SCHEMES:
        if scheme == "IO" and touching(spans):
            continue
        tags = spans_to_tags(spans, count, scheme)
        assert tags_to_spans(tags, detect_scheme([tags])) == (spans, 0)


@given(st.lists(st.sampled_from("O B-A I-A L-A U-A B-B I-B L-B E-A S-B X-A I- B".split()), max_size=12))
def test_any_tags_are_read_without_overlap_and_then_hold(tags):
    for scheme in SCHEMES:
        spans, _ = tags_to_spans(tags, scheme)
        if scheme == "IO" and touching(spans):
            continue
        assert tags_to_spans(spans_to_tags(spans, len(tags), scheme), scheme) == (spans, 0)


@pytest.mark.parametrize(
    "scheme, tags, spans, faults",
    [
        ("BIO", "O I-A I-A O", [(1, 2, "A")], 1),
        ("BIO", "B-A I-B", [(0, 0, "A"), (1, 1, "B")], 1),
        ("IO", "I-A I-A O I-B", [(0, 1, "A"), (3, 3, "B")], 0),
        ("IOB1", "I-A B-A I-A", [(0, 0, "A"), (1, 2, "A")], 0),
        ("BILUO", "B-A O", [(0, 0, "A")], 1),
        ("BILUO", "I-A L-A", [(0, 1, "A")], 1),
        ("BILUO", "B-A U-B", [(0, 0, "A"), (1, 1, "B")], 1),
        ("BILUO", "B-A I-A", [(0, 1, "A")], 1),
        ("BILUO", "B-A E-A S-B", [(0, 1, "A"), (2, 2, "B")], 0),
        ("BIO", "B-A X-A", [(0, 0, "A")], 1),
    ],
)
def test_malformed_tags_are_repaired_and_counted(scheme, tags, spans, faults):
    assert tags_to_spans(tags.split(), scheme) == (spans, faults)


def test_io_cannot_hold_neighbours_of_one_label():
    with pytest.raises(DataError, match=r"IO cannot tell the entities .* apart; write BIO or BILUO"):
        spans_to_tags([(0, 0, "A"), (1, 1, "A")], 2, "IO")


def test_overlap_is_an_error():
    with pytest.raises(DataError, match="overlaps another"):
        spans_to_tags([(0, 1, "A"), (1, 1, "B")], 2, "BIO")


def test_names_of_schemes():
    assert [scheme_name(name) for name in ("iob2", "BIOES", "lbiou", "io")] == ["BIO", "BILUO", "BILUO", "IO"]
    with pytest.raises(ConfigError, match=r"unknown 'BIOO'; did you mean"):
        scheme_name("BIOO")
