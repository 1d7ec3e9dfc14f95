"""The structures of text."""

from hypothesis import given
from hypothesis import strategies as st

from geomm.text import Document, TextSpec, biluo_spans, biluo_tags


@given(breaks=st.sets(st.integers(1, 19)), first=st.integers(0, 19), length=st.integers(1, 20))
def test_a_piece_has_the_tokens_tags_and_breaks_between_its_ends(breaks, first, length):
    offsets = tuple((2 * i, 2 * i + 1) for i in range(20))
    document = Document("x " * 20, offsets, tuple(f"U-{i}" for i in range(20)), tuple(sorted(breaks)), "d")
    last = min(first + length, 20)
    piece = document.piece(first, last)
    assert piece.offsets == offsets[first:last] and piece.tags == document.tags[first:last]
    assert piece.breaks == tuple(sorted(at - first for at in breaks if first < at < last))
    assert piece.tokens == ["x"] * (last - first)


def test_a_spec_survives_json():
    spec = TextSpec(("A", "B"), "de", 32, "A", {"A": 3, "B": 1})
    assert TextSpec.from_dict(spec.to_dict()) == spec


def test_tags_of_labels_and_their_spans():
    assert biluo_tags(["A"]) == ("O", "B-A", "I-A", "L-A", "U-A")
    assert biluo_spans(["U-A", "B-B", "I-B", "L-B", "O", "U-A"]) == [(0, 0, "A"), (1, 3, "B"), (5, 5, "A")]
