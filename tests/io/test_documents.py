"""Unstructured files: their words, and no crash on what is none."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geomm.errors import DataError
from geomm.io.documents import read_documents
from geomm.io.text_bytes import decode, read_text


def text_of(path, **options):
    return [item.text for item in read_documents(path, **options)]


def test_plain_text_and_a_file_without_an_ending(tmp_path):
    for name in ("a.txt", "a"):
        (tmp_path / name).write_bytes("Größe\r\nzwei\rdrei".encode())
        assert text_of(tmp_path / name) == ["Größe\nzwei\ndrei"]


def test_markdown_loses_its_marks(tmp_path):
    (tmp_path / "a.md").write_text(
        "# Title\n\n- **bold** [link](http://x.y) and `code`\n> quoted snake_case\n"
    )
    assert text_of(tmp_path / "a.md") == ["Title\n\nbold link and code\nquoted snake_case\n"]
    (tmp_path / "b.md").write_text(
        "by *Ruth Payne*, _Kim_: 2 * 3 * 4\n\n| a | b |\n|---|:-:|\n| x | y |\n\n---\n"
    )
    assert text_of(tmp_path / "b.md") == ["by Ruth Payne, Kim: 2 * 3 * 4\n\n a \t b \n x \t y \n\n---\n"]


def test_html_loses_tags_and_scripts(tmp_path):
    head = "<html><head><style>p {}</style></head>"
    page = f"{head}<body><p>One &amp; <b>two</b></p><script>x()</script><div>Three</div>"
    (tmp_path / "a.html").write_text(page)
    assert text_of(tmp_path / "a.html") == ["One & two\nThree"]
    (tmp_path / "b.html").write_text("<div>before<p>inside</p>behind<br>and <i>more</i></div>")
    assert text_of(tmp_path / "b.html") == ["before\ninside\nbehind\nand more"]


def test_rows_of_csv_and_lines_of_json(tmp_path):
    (tmp_path / "a.csv").write_text('id, body\n1,"a\nb"\n2,\n')
    found = list(read_documents(tmp_path / "a.csv", text_field="body"))
    assert [(item.part, item.text) for item in found] == [("row 2", "a\nb"), ("row 3", "")]
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n\n{"text": null}\n')
    found = list(read_documents(tmp_path / "a.jsonl"))
    assert [(item.part, item.text) for item in found] == [("line 1", "a"), ("line 3", "")]


def test_missing_fields_are_named(tmp_path):
    (tmp_path / "a.csv").write_text("body\nx\n")
    with pytest.raises(DataError, match=r"no column 'text'; .*allowed: body"):
        text_of(tmp_path / "a.csv")
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n{"txt": "x"}\n{"text": "y"}\n')
    good, broken, after = read_documents(tmp_path / "a.jsonl")
    assert (good.problem, good.text, after.text) == ("", "x", "y")
    assert "line 2: expected a JSON object with the key 'text'" in broken.problem


@pytest.mark.parametrize("value", ["42", "true", '["a", "b"]', '{"body": "a"}'])
def test_a_text_that_is_none_is_named(tmp_path, value):
    (tmp_path / "a.jsonl").write_text(f'{{"text": "x"}}\n{{"text": {value}}}\n')
    good, wrong = read_documents(tmp_path / "a.jsonl")
    assert (good.text, wrong.text) == ("x", "")
    assert wrong.problem.endswith(f"a.jsonl, line 2: found {value} for 'text', expected a text in quotes")


def test_word_with_a_table(tmp_path):
    import docx

    document = docx.Document()
    document.add_paragraph("Before")
    document.add_table(1, 2).rows[0].cells[1].text = "cell"
    document.add_paragraph("After")
    document.save(tmp_path / "a.docx")
    assert text_of(tmp_path / "a.docx") == ["Before\n\tcell\nAfter"]


def minimal_pdf(words):
    """Write a PDF of one page by hand."""
    stream = f"BT /F1 12 Tf 20 100 Td ({words}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    return out + head + table + b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % len(out)


def test_pdf(tmp_path):
    (tmp_path / "a.pdf").write_bytes(minimal_pdf("A theft in Toledo"))
    assert text_of(tmp_path / "a.pdf") == ["A theft in Toledo"]
    (tmp_path / "scan.pdf").write_bytes(minimal_pdf(""))
    with pytest.raises(DataError, match="1 pages without text, a scan perhaps"):
        text_of(tmp_path / "scan.pdf")


@pytest.mark.parametrize("name", ["a.pdf", "a.docx", "a.txt", "a.csv", "a.html"])
def test_binary_files_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(range(256)) * 20)
    with pytest.raises(DataError, match=name):
        text_of(tmp_path / name)


def test_other_endings_and_missing_files_are_named(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*")
    with pytest.raises(DataError, match=r"\.tif is no kind of document; expected \.txt"):
        text_of(tmp_path / "a.tif")
    with pytest.raises(DataError, match="cannot be read"):
        text_of(tmp_path / "none.txt")


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252", "cp1251", "shift_jis"]
)
def test_encodings_are_found_out(encoding):
    words = {
        "cp1251": "Сегодня утром в центре города произошло ограбление банка. ",
        "shift_jis": "今日は東京で事件がありました。",
    }
    text = words.get(encoding, "Gestern ging der Räuber über die Straße nach Köln, sagte René. ") * 8
    assert decode(text.encode(encoding), "x") == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Un vol a été signalé à Montréal, près de la gare, par l'agent Lefèvre.", "cp1252"),
        ("Officer José Payne told of a theft at the store: £50 were taken.", "cp1252"),
        ("Kradzież zgłoszono w Łodzi przy ulicy Świętokrzyskiej.", "cp1250"),
    ],
)
def test_short_texts_keep_their_letters(text, encoding):
    assert decode(text.encode(encoding), "x") == text


def test_a_strange_byte_costs_a_character():
    raw = ("Größe und Straße " * 20).encode()
    assert decode(raw[:40] + b"\xff" + raw[40:], "x").count("�") == 1
    assert decode(raw[:-14] + b"\xc3", "x").endswith("�")


def test_a_named_encoding_is_kept_to(tmp_path):
    (tmp_path / "a.txt").write_bytes("Köln".encode("cp1252"))
    assert read_text(tmp_path / "a.txt", "cp1252") == "Köln"
    with pytest.raises(DataError, match=r"is not utf-8 \(byte 0xf6 at 1\)"):
        read_text(tmp_path / "a.txt", "utf-8")
    with pytest.raises(DataError, match="Python knows no encoding 'utf-9'"):
        read_text(tmp_path / "a.txt", "utf-9")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(raw=st.binary(max_size=400))
def test_any_bytes_are_text_or_a_clear_error(raw):
    try:
        assert isinstance(decode(raw, "x"), str)
    except DataError as error:
        assert "binary data" in str(error)
