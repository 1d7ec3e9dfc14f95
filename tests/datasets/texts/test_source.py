"""Labelled texts as training data."""

import json
import logging

import pytest

from geomm.datasets.texts.source import TextDocuments
from geomm.errors import ConfigError, DataError
from geomm.text import TextSpec, biluo_spans

RECORDS = [
    {"text": f"Report {n}. Ann{n} Lee left Toledo.\nShe is well.", "labels": [[10, 18 + n // 10, "NAME"]]}
    for n in range(10)
]


def write(folder, records=RECORDS, name="a.jsonl"):
    (folder / name).write_text("\n".join(json.dumps(record) for record in records))
    return str(folder / name)


def prepared(path, **options):
    source = TextDocuments(path=path, **options)
    return source, source.prepare(None)


def test_documents_become_windows_with_tags(tmp_path):
    source, spec = prepared(write(tmp_path), split={"val": 0.2, "test": 0.1}, window_tokens=8)
    assert spec == TextSpec(("NAME",), "en", 8, None, {"NAME": 7})
    assert {name: len(docs) for name, docs in source.documents.items()} == {"train": 7, "val": 2, "test": 1}
    assert len(source.split("val")) > 2
    names = [{doc.name for doc in source.documents[name]} for name in ("train", "val", "test")]
    assert not (names[0] & names[1] or names[1] & names[2] or names[0] & names[2])
    windows = source.split("train")
    assert all(len(window.offsets) <= 8 for window in windows.windows)
    for window in windows.windows:
        for first, last, label in biluo_spans(window.tags):
            words = window.text[window.offsets[first][0] : window.offsets[last][1]]
            assert label == "NAME" and words.startswith("Ann") and words.endswith("Lee"[: len(words)][-1])


def test_a_sample_depends_on_its_number_alone(tmp_path):
    source, _ = prepared(write(tmp_path), seed=3)
    again, _ = prepared(write(tmp_path), seed=3)
    windows = source.split("train")
    assert windows[1] == again.split("train")[1] == windows[1 + 5 * len(windows)]
    other, _ = prepared(write(tmp_path), seed=4)
    assert [d.name for d in other.documents["val"]] != [d.name for d in source.documents["val"]]


def test_documents_of_their_own_for_validation_and_test(tmp_path):
    paths = {
        "val_path": write(tmp_path, RECORDS[:2], "v.jsonl"),
        "test_path": write(tmp_path, RECORDS[:3], "t.jsonl"),
    }
    source, _ = prepared(write(tmp_path), **paths)
    assert [len(source.documents[name]) for name in ("train", "val", "test")] == [10, 2, 3]


def test_entities_that_end_inside_a_token_keep_their_borders(tmp_path):
    record = {"text": "In Toledo-based firms", "labels": [[3, 9, "PLACE"]]}
    source, _ = prepared(write(tmp_path, [record] * 3), split={"val": 0})
    document = source.documents["train"][0]
    ((first, last, _),) = biluo_spans(document.tags)
    assert (document.offsets[first][0], document.offsets[last][1]) == (3, 9)


def test_labels_can_be_chosen_and_unknown_ones_are_named(tmp_path):
    both = [{"text": "Ann left Toledo", "labels": [[0, 3, "NAME"], [9, 15, "PLACE"]]}] * 4
    _, spec = prepared(write(tmp_path, both), labels=["PLACE"], address_tag="PLACE")
    assert spec.labels == ("PLACE",) and spec.address_tag == "PLACE"
    with pytest.raises(ConfigError, match="no training document holds 'PLAC'; did you mean 'PLACE'"):
        prepared(write(tmp_path, both), labels=["PLAC"])
    with pytest.raises(ConfigError, match=r"dataset.address_tag: unknown label; did you mean 'PLACE'"):
        prepared(write(tmp_path, both), address_tag="PLACES")


@pytest.mark.parametrize(
    "name, content, what, count",
    [
        ("a.conll", "Ann I-N\nLee I-N\nx B-N\n\n" * 3, "tags that break the scheme BIO, repaired", 3),
        ("a.csv", "text,N\n" + "Ann left,Bob\nAnn ran,Ann\n" * 3, "values that their text does not hold", 3),
    ],
)  # fmt: skip
def test_malformed_labels_are_repaired_and_counted_or_refused(tmp_path, caplog, name, content, what, count):
    (tmp_path / name).write_text(content)
    with caplog.at_level(logging.WARNING, "geomm"):
        prepared(str(tmp_path / name), scheme="BIO")
    assert f"{count} {what}" in caplog.text
    with pytest.raises(DataError, match=r"dataset.malformed=repair"):
        prepared(str(tmp_path / name), scheme="BIO", malformed="refuse")


def test_overlapping_entities_leave_the_longer_one(tmp_path, caplog):
    record = {"text": "Ann Lee left", "labels": [[0, 3, "A"], [0, 7, "B"], [0, 7, "B"], [4, 5, "C"]]}
    with caplog.at_level(logging.WARNING, "geomm"):
        source, _ = prepared(write(tmp_path, [record] * 2), split={"val": 0})
    assert "4 entities that overlap another, left out" in caplog.text
    assert biluo_spans(source.documents["train"][0].tags) == [(0, 1, "B")]


def test_broken_documents_stop_or_are_left_out(tmp_path, caplog):
    path = write(tmp_path)
    with open(path, "a") as file:
        file.write('\n{"text": 1}\n')
    with pytest.raises(DataError, match=r"line 11: expected"):
        prepared(path)
    with caplog.at_level(logging.WARNING, "geomm"):
        source, _ = prepared(path, on_error="skip")
    assert "1 documents or files left out" in caplog.text
    assert sum(map(len, source.documents.values())) == 10


def test_tokens_and_tags_of_different_length_are_named(tmp_path):
    (tmp_path / "tokens.csv").write_text("a,b\n")
    (tmp_path / "tags.csv").write_text("O\n")
    with pytest.raises(DataError, match="2 tokens and 1 tags; expected equally many"):
        prepared(str(tmp_path))


def test_empty_documents_are_counted(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "geomm"):
        prepared(write(tmp_path, [*RECORDS, {"text": " \n", "labels": []}]))
    assert "1 empty documents left out" in caplog.text


def test_nothing_to_learn_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no training document holds an entity"):
        prepared(write(tmp_path, [{"text": "a", "labels": []}] * 5))
    with pytest.raises(DataError, match="no document with text"):
        prepared(write(tmp_path, [{"text": "", "labels": []}]))
    with pytest.raises(ConfigError, match=r"dataset.path: a value is required"):
        TextDocuments().prepare(None)


def test_the_real_wikigold(shared_data):
    source, spec = prepared(str(shared_data / "text" / "wikigold.conll.txt"))
    assert spec.labels == ("LOC", "MISC", "ORG", "PER")
    documents = [d for docs in source.documents.values() for d in docs]
    assert sum(len(d.offsets) for d in documents) == 39_007
    assert [len(source.documents[name]) for name in ("train", "val")] == [116, 29]
