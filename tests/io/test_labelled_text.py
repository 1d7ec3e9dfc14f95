"""Every format of labelled text, read to the same document."""

import json

import pytest

from geomm.errors import DataError
from geomm.io.labelled_text import BrokenText, MarkedText, TaggedTokens, read_labelled
from geomm.text import Entity

TEXT = "Ann Lee left Toledo."
ENTITIES = (Entity(0, 7, "NAME"), Entity(13, 19, "PLACE"))
TOKENS = ("Ann", "Lee", "left", "Toledo", ".")
TAGS = ("B-NAME", "I-NAME", "O", "B-PLACE", "O")


def write(path, content):
    path.write_text(content, encoding="utf-8")
    return path


def test_conll_columns_with_documents(tmp_path):
    lines = "-DOCSTART- -X- O\n\nAnn NNP B-NAME\nLee NNP I-NAME\n\nleft VBD O\n"
    lines += "-DOCSTART- O\n\nToledo NNP B-PLACE\n"
    first, second = read_labelled(write(tmp_path / "a.conll", lines))
    assert first.tokens == ("Ann", "Lee", "left") and first.tags == ("B-NAME", "I-NAME", "O")
    assert first.breaks == (2,) and second.breaks == ()
    assert second.tokens == ("Toledo",) and second.name.endswith("a.conll#2")


def test_conll_without_documents_has_one_a_sentence(tmp_path):
    found = list(read_labelled(write(tmp_path / "a.tsv", "Ann Lee\tB-NAME\n\n\nleft\tO")))
    assert [item.tokens for item in found] == [("Ann Lee",), ("left",)]


def test_a_line_that_is_no_columns_is_named(tmp_path):
    path = write(tmp_path / "a.txt", "Ann O\nleft\nnow\n\nLee O\n\nalone")
    first, good, last = read_labelled(path)
    said = "expected a token and a tag in columns"
    assert first == BrokenText(str(path), f"line 2: found 'left', {said}")
    assert good.tokens == ("Lee",)
    assert last == BrokenText(str(path), f"line 7: found 'alone', {said}")


def test_a_comment_is_no_token_and_a_hash_is_one(tmp_path):
    text = "# sent_id = 3\n# newdoc id = x\n#\tO\n1\tO\n"
    (found,) = read_labelled(write(tmp_path / "a.conll", text))
    assert found.tokens == ("#", "1")


def test_iob_of_spacy(tmp_path):
    line = "Ann|NNP|B-NAME Lee|NNP|I-NAME left|VBD|O Toledo|NNP|B-PLACE .|.|O"
    (found,) = read_labelled(write(tmp_path / "a.iob", f"{line}\n"))
    assert (found.tokens, found.tags) == (TOKENS, TAGS)
    (found, broken) = read_labelled(write(tmp_path / "a.iob", "Ann|O\nAnn Lee|O\n"))
    assert isinstance(broken, BrokenText) and broken.name.endswith("line 2")


def test_tokens_and_tags_csv(tmp_path):
    write(tmp_path / "tags.csv", ",".join(TAGS) + "\nO,O,\nO,O\n")
    tokens = write(tmp_path / "tokens.csv", 'Ann,Lee,left,Toledo,.\n"a,b",c,,\na\n')
    first, second, broken = read_labelled(tokens)
    assert (first.tokens, first.tags) == (TOKENS, TAGS)
    assert second.tokens == ("a,b", "c")
    assert broken == BrokenText(f"{tokens}, row 3", "1 tokens and 2 tags; expected equally many")


def test_tokens_without_tags_are_named(tmp_path):
    with pytest.raises(DataError, match=r"there is no tags.csv beside it"):
        list(read_labelled(write(tmp_path / "token.csv", "a\n")))
    write(tmp_path / "tags.csv", "O\nO\n")
    with pytest.raises(DataError, match=r"has 1 rows and tags.csv 2; expected equally many"):
        list(read_labelled(tmp_path / "token.csv"))


@pytest.mark.parametrize(
    "record",
    [
        {"text": TEXT, "labels": [[0, 7, "NAME"], [13, 19, "PLACE"]]},
        {
            "text": TEXT,
            "entities": [{"start": 0, "end": 7, "label": "NAME"}, {"start": 13, "end": 19, "type": "PLACE"}],
        },
        {"text": TEXT, "label": [{"start_offset": 0, "end_offset": 7, "label": "NAME"}, (13, 19, "PLACE")]},
    ],
)  # fmt: skip
def test_json_lines(tmp_path, record):
    (found,) = read_labelled(write(tmp_path / "a.jsonl", json.dumps(record) + "\n\n"))
    assert (found.text, found.entities) == (TEXT, ENTITIES)


@pytest.mark.parametrize(
    "line, reason",
    [
        ("{", "JSONDecodeError"),
        ('{"labels": []}', "KeyError: 'text'"),
        ('{"text": "ab", "labels": [[0, 3, "X"]]}', "entity 0 to 3 of 2 characters"),
        ('{"text": "ab", "labels": [[1, 1, "X"]]}', "entity 1 to 1 of 2 characters"),
        ('{"text": "ab", "labels": [[0]]}', "IndexError"),
        ('{"text": 3}', "text is no text"),
        ("[" * 100_000, "RecursionError"),
    ],
)
def test_broken_json_lines_are_named_and_the_others_read(tmp_path, line, reason):
    broken, good = read_labelled(write(tmp_path / "a.jsonl", f'{line}\n{{"text": "ok", "labels": []}}\n'))
    assert broken.name.endswith("line 1") and reason in broken.reason
    assert good == MarkedText(f"{tmp_path / 'a.jsonl'}, line 2", "ok", ())


def test_a_list_in_json(tmp_path):
    record = {"text": "Ann left", "labels": [[0, 3, "NAME"]]}
    text = json.dumps([record, {"text": 1}], indent=1)
    found, broken = read_labelled(write(tmp_path / "a.json", text))
    assert (found.text, found.entities) == ("Ann left", (Entity(0, 3, "NAME"),))
    assert broken.name.endswith("a.json, entry 2")
    with pytest.raises(DataError, match=r"a.json: expected JSON, a list of texts or one a line"):
        list(read_labelled(write(tmp_path / "a.json", text[:-1])))


def test_a_column_an_entity(tmp_path):
    rows = f'text,NAME,PLACE\n{TEXT},Ann Lee,Toledo\n"Ann met Ann in Bonn, Ohio","Ann, Bob","Bonn, Ohio"\n'
    first, second = read_labelled(write(tmp_path / "a.csv", rows))
    assert (first.text, first.entities) == (TEXT, ENTITIES)
    assert second.entities == (Entity(0, 3, "NAME"), Entity(8, 11, "NAME"), Entity(15, 25, "PLACE"))
    assert (first.lost, second.lost) == (0, 1)


def test_a_value_is_not_found_inside_a_word(tmp_path):
    (found,) = read_labelled(write(tmp_path / "a.csv", "text,X\nAnnual Ann,Ann\n"))
    assert found.entities == (Entity(7, 10, "X"),)


def test_a_missing_text_column_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no column 'text'; .*allowed: body, place"):
        list(read_labelled(write(tmp_path / "a.csv", "body,place\nx,y\n")))


def test_docbin(tmp_path):
    import spacy
    from spacy.tokens import Doc, DocBin, Span

    nlp = spacy.blank("en")
    doc = Doc(nlp.vocab, words=list(TOKENS), spaces=[True, True, True, False, False])
    doc.ents = [Span(doc, 0, 2, "NAME"), Span(doc, 3, 4, "PLACE")]
    DocBin(docs=[doc]).to_disk(tmp_path / "a.spacy")
    (found,) = read_labelled(tmp_path / "a.spacy")
    assert (found.text, found.entities) == (TEXT, ENTITIES)
    (tmp_path / "b.spacy").write_bytes(b"\0nothing")
    with pytest.raises(DataError, match=r"b.spacy is no DocBin of spaCy"):
        list(read_labelled(tmp_path / "b.spacy"))


def test_unknown_endings_and_formats(tmp_path):
    with pytest.raises(DataError, match=r"its ending is no format of labelled text .*dataset.format="):
        list(read_labelled(write(tmp_path / "a.xyz", "Ann O\n")))
    (found,) = read_labelled(tmp_path / "a.xyz", format="conll")
    assert found == TaggedTokens(f"{tmp_path / 'a.xyz'}#1", ("Ann",), ("O",))
    with pytest.raises(DataError, match=r"dataset.format: unknown 'conl'; did you mean 'conll'"):
        list(read_labelled(tmp_path / "a.xyz", format="conl"))
