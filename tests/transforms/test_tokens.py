"""Tokens: offsets kept exactly, windows that cover each token once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomm.datasets.texts.tag_schemes import spans_to_tags
from geomm.errors import ConfigError
from geomm.text import Document, Entity, biluo_spans
from geomm.transforms import tokens as module
from geomm.transforms.tokens import align, overlapping_windows, pack, split_tokens, tokenize, training_windows

TEXTS = st.text(alphabet=st.sampled_from("ab Cd.,'\u2019-\u2013\n\t é中。!?\u00a0\u20281/@&()"), max_size=60)


@st.composite
def marked(draw):
    text = draw(TEXTS)
    edges = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8, unique=True)))
    pairs = zip(edges[::2], edges[1::2], strict=False)
    good = [(a, b) for a, b in pairs if not text[a].isspace() and not text[b - 1].isspace()]
    return text, [Entity(a, b, "X") for a, b in good]


@settings(deadline=None, max_examples=300)
@given(marked())
def test_entities_survive_tokenisation_to_the_character(drawn):
    text, entities = drawn
    offsets, _ = split_tokens(tokenize(text, "en")[0], entities)
    tags = spans_to_tags(align(offsets, entities), len(offsets), "BILUO")
    back = [Entity(offsets[a][0], offsets[b][1], label) for a, b, label in biluo_spans(tags)]
    assert back == entities


@settings(deadline=None, max_examples=200)
@given(text=TEXTS, language=st.sampled_from(["en", "de", "fr", "xx"]))
def test_all_but_white_space_is_in_one_token(text, language):
    offsets, breaks = tokenize(text, language)
    covered = [at for start, end in offsets for at in range(start, end)]
    assert covered == [at for at, letter in enumerate(text) if not letter.isspace()]
    assert all(0 < at < len(offsets) for at in breaks)
    assert list(breaks) == sorted(set(breaks))


def test_a_long_text_has_the_tokens_of_a_short_one(monkeypatch):
    text = "Mr. O'Neil didn't pay $5.50 (or so) in Washington, D.C. on 3/4/2017. " * 40
    whole = tokenize(text, "en")
    monkeypatch.setattr(module, "_CHUNK_CHARS", 37)
    assert tokenize(text, "en") == whole


def test_a_line_without_a_space_is_no_trouble():
    offsets, _ = tokenize("x" * 300_000, "en")
    assert offsets[0][0] == 0 and offsets[-1][1] == 300_000


def test_sentences_and_lines_break():
    text = "He left. She stayed\nhere e.g. now. then"
    offsets, breaks = tokenize(text, "en")
    assert [text[slice(*offsets[at])] for at in breaks] == ["She", "here"]


def test_an_unknown_language_is_named():
    with pytest.raises(ConfigError, match=r"dataset.language: unknown 'qq'; .*allowed: af, am"):
        tokenize("a", "qq")


@given(
    count=st.integers(0, 200),
    most=st.integers(1, 30),
    breaks=st.sets(st.integers(1, 199)),
    forbidden=st.sets(st.integers(1, 199)),
)
def test_packing_covers_every_token_once(count, most, breaks, forbidden):
    inner = sorted(at for at in breaks if at < count)
    stretches = pack(count, inner, most, forbidden=forbidden)
    assert [at for a, b in stretches for at in range(a, b)] == list(range(count))
    assert not {a for a, _ in stretches} & forbidden
    assert all(b - a <= most or forbidden for a, b in stretches)


def document(count, breaks=(), tags=None):
    return Document("x " * count, tuple((2 * i, 2 * i + 1) for i in range(count)), tags, tuple(breaks))


@given(count=st.integers(0, 300), most=st.integers(8, 64), breaks=st.sets(st.integers(1, 299)))
def test_every_token_is_in_the_core_of_one_window(count, most, breaks):
    windows = overlapping_windows(document(count, sorted(at for at in breaks if at < count)), most)
    assert [at for w in windows for at in range(*w.core)] == list(range(count))
    assert all(w.last - w.first <= most for w in windows)
    assert all(w.first <= w.core[0] and w.core[1] <= w.last for w in windows)


def test_training_windows_never_cut_an_entity():
    tags = ("O",) * 6 + ("B-A", "I-A", "I-A", "L-A") + ("O",) * 6
    pieces = training_windows(document(16, (7,), tags), 8)
    assert [len(piece.offsets) for piece in pieces] == [6, 8, 2]
    assert sum((piece.tags for piece in pieces), ()) == tags
