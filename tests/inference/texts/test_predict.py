"""Texts to table and points, with a model that knows its answers: what the loop itself does."""

import csv
import json

import geopandas
import pytest

from geomm.errors import ConfigError, DataError
from geomm.inference.texts import predict as module
from geomm.inference.texts.predict import TextOptions, document_names, predict_texts
from geomm.text import Document, TextSpec
from geomm.transforms.tokens import tokenize

SPEC = TextSpec(("Address", "Crime"), "en", 16, "Address")


class WordModel:
    """Marks every Toledo, and El with Paso, as an address, and theft as a crime."""

    def predict_spans(self, words, breaks):
        self.longest = max(map(len, words))
        assert all(words)
        return [self._spans(text) for text in words]

    def _spans(self, text):
        spans = []
        for at, word in enumerate(text):
            if word == "Toledo":
                spans.append((at, at, "Address", 0.9))
            elif word == "theft":
                spans.append((at, at, "Crime", 0.4))
            elif text[at : at + 2] == ["El", "Paso"]:
                spans.append((at, at + 1, "Address", 0.8))
        return spans


def predict(inputs, output, spec=SPEC, model=None, model_id="words", **options):
    options = {"progress": False, "device": "cpu", **options}
    return predict_texts(
        inputs, output, model=model or WordModel(), spec=spec, options=TextOptions(**options),
        model_id=model_id,
    )  # fmt: skip


def rows(folder):
    with (folder / "entities.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def reports(tmp_path):
    folder = tmp_path / "reports"
    folder.mkdir()
    (folder / "a.txt").write_text("A theft in Toledo, Ohio, and a theft in El\nPaso.")
    (folder / "b.md").write_text("# A **theft**")
    (folder / "c.csv").write_text("text\nToledo\n\nNothing here\n")
    return folder


def test_a_row_a_document_and_place(reports, tmp_path):
    report = predict(reports, tmp_path / "out")
    assert report.failed == [] and report.unit == "tokens"
    table = rows(tmp_path / "out")
    assert [row["document"] for row in table] == ["a.txt", "a.txt", "b.md", "c.csv, row 2", "c.csv, row 3"]
    assert [row["Address"] for row in table] == ["Toledo", "El Paso", "", "Toledo", ""]
    assert [row["Crime"] for row in table] == ["theft", "theft", "theft", "", ""]
    assert (table[0]["Address_confidence"], table[0]["Crime_confidence"]) == ("0.9", "0.4")
    assert (table[0]["place_region"], table[0]["gazetteer"]) == ("Ohio", "geonames")
    assert table[2]["latitude"] == ""


def test_points_are_where_the_table_says(reports, tmp_path):
    predict(reports, tmp_path / "out")
    points = geopandas.read_file(tmp_path / "out" / "places.gpkg")
    located = [row for row in rows(tmp_path / "out") if row["latitude"]]
    assert points.crs.to_epsg() == 4326 and len(points) == len(located) == 3
    for point, row in zip(points.itertuples(), located, strict=True):
        assert (point.geometry.y, point.geometry.x) == (float(row["latitude"]), float(row["longitude"]))
        assert point.document == row["document"]
    assert (tmp_path / "out" / "places_preview.png").is_file()
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_entities_keep_their_offsets(reports, tmp_path):
    predict(reports, tmp_path / "out")
    lines = (tmp_path / "out" / "entities.jsonl").read_text(encoding="utf-8").splitlines()
    first = json.loads(lines[0])
    assert [first["text"][a:b] for a, b, *_ in first["labels"]] == ["theft", "Toledo", "theft", "El\nPaso"]
    assert len(lines) == 4


def test_options(reports, tmp_path):
    predict(reports, tmp_path / "out", min_confidence=0.5, keep_unlocated=False, preview=False)
    table = rows(tmp_path / "out")
    assert [row["Address"] for row in table] == ["Toledo", "El Paso", "Toledo"]
    assert {row["Crime"] for row in table} == {""}
    assert not (tmp_path / "out" / "places_preview.png").exists()
    predict(reports, tmp_path / "none", address_tag=False)
    assert "latitude" not in rows(tmp_path / "none")[0]
    assert not (tmp_path / "none" / "places.gpkg").exists()
    with pytest.raises(ConfigError, match=r"inference.address_tag: unknown label; did you mean 'Crime'"):
        predict(reports, tmp_path / "x", address_tag="crime")


def test_what_is_there_is_left_alone_when_asked(reports, tmp_path):
    predict(reports, tmp_path / "out")
    before = (tmp_path / "out" / "entities.csv").stat().st_mtime_ns
    report = predict(reports, tmp_path / "out", skip_existing=True)
    assert len(report.skipped) == 3
    assert (tmp_path / "out" / "entities.csv").stat().st_mtime_ns == before


def test_only_its_own_results_are_replaced(reports, tmp_path):
    folder = tmp_path / "out"
    predict(reports, folder)
    again = {path.name for path in predict(reports, folder).outputs}
    assert {"entities.csv", "entities.jsonl", "places.gpkg"} <= again
    predict([reports / "b.md"], tmp_path / "none")  # no place: a layer without points
    predict([reports / "b.md"], tmp_path / "none")
    for name in ("entities.csv", "entities.jsonl", "places.gpkg"):
        (folder / name).write_text("the only copy\n")
        with pytest.raises(DataError, match=rf"{name} is there and is no table of entities that geomm wrote"):
            predict(reports, folder)
        assert (folder / name).read_text() == "the only copy\n"
        (folder / name).unlink()


def test_a_long_document_is_read_in_windows_and_no_entity_is_lost_or_doubled(tmp_path):
    words = ["El Paso" if n % 5 == 0 else "Toledo" if n % 7 == 0 else f"word{n}" for n in range(700)]
    (tmp_path / "long.txt").write_text(" ".join(words))
    predict(str(tmp_path / "long.txt"), tmp_path / "out", gazetteer="geonames")
    (line,) = (tmp_path / "out" / "entities.jsonl").read_text().splitlines()
    found = json.loads(line)
    assert [found["text"][a:b] for a, b, *_ in found["labels"]] == [
        w for w in words if not w.startswith("word")
    ]
    assert len(rows(tmp_path / "out")) == 2  # one a place, however often it is named


def test_documents_alone_go_through_the_same_windows():
    texts = ["A theft in Toledo, Ohio", " ".join(["El Paso"] * 40), "nothing"]
    documents = []
    for text in texts:
        offsets, breaks = tokenize(text, "en")
        documents.append(Document(text, offsets, None, breaks))
    found = list(module.find_entities(WordModel(), documents, 16, step=2, min_confidence=0.5))
    assert [[f.document.text[e.start : e.end] for e in f.entities] for f in found] == [
        ["Toledo"],
        ["El Paso"] * 40,
        [],
    ]


def test_files_go_through_the_model_together_and_come_out_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_GROUP_WINDOWS", 4)
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(23):
        (folder / f"{number:02d}.txt").write_text(" ".join(["w"] * (number % 9)) + f" theft {number}")
    predict(folder, tmp_path / "out", batch_size=3)
    found = [json.loads(line) for line in (tmp_path / "out" / "entities.jsonl").read_text().splitlines()]
    assert [item["document"] for item in found] == [f"{number:02d}.txt" for number in range(23)]
    assert all(item["text"][slice(*item["labels"][0][:2])] == "theft" for item in found)


def test_a_bad_file_fails_alone(reports, tmp_path, caplog):
    (reports / "bad.pdf").write_bytes(b"%PDF-1.4\n\0\0")
    (reports / "empty.txt").write_text(" \n")
    report = predict(reports, tmp_path / "out")
    ((name, reason),) = report.failed
    assert name.endswith("bad.pdf") and "cannot be read as a PDF" in reason
    assert "1 documents hold no text, the first: empty.txt" in caplog.text
    assert len(rows(tmp_path / "out")) == 6
    with pytest.raises(DataError, match=r"bad.pdf"):
        predict(reports, tmp_path / "strict", on_error="raise")
    assert not list((tmp_path / "strict").iterdir())


def test_a_broken_line_costs_itself_alone(tmp_path, caplog):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"text": "robbery in Toledo"}\n{broken\n{"text": "theft in Omaha"}\n')
    report = predict(folder, tmp_path / "out")
    assert report.failed == []
    assert [row["document"] for row in rows(tmp_path / "out")] == ["a.jsonl, line 1", "a.jsonl, line 3"]
    assert "1 documents left out, the first:" in caplog.text and "a.jsonl, line 2" in caplog.text
    with pytest.raises(DataError, match=r"a.jsonl, line 2"):
        predict(folder, tmp_path / "strict", on_error="raise")
    (folder / "b.jsonl").write_text('{"body": "theft in Omaha"}\n')
    ((name, reason),) = predict(folder, tmp_path / "again").failed
    assert name.endswith("b.jsonl") and "line 1: expected a JSON object with the key 'text'" in reason


def test_distances_to_the_truth(reports, tmp_path):
    truth = tmp_path / "truth.csv"
    truth.write_text(
        'document,latitude,longitude\na.txt,41.66,-83.55\nb.md,0,0\n"c.csv, row 2",39.86,-4.03\n'
    )
    predict(reports, tmp_path / "out", truth=str(truth))
    found = json.loads((tmp_path / "out" / "distances.json").read_text())
    assert found["documents"] == 3
    assert found["located"] == pytest.approx(2 / 3)
    assert found["accuracy_161km"] == pytest.approx(1 / 3)  # the Toledo of the csv is the Spanish one
    assert 3000 < found["median_error_km"] < 3500
    truth.write_text("document,lat\na,1\n")
    with pytest.raises(DataError, match="expected the columns document, latitude and longitude"):
        predict(reports, tmp_path / "x", truth=str(truth))


def test_a_layer_of_the_users_own_before_geonames(reports, tmp_path):
    frame = geopandas.GeoDataFrame(
        {"name": ["Toledo"]}, geometry=geopandas.points_from_xy([7], [50]), crs=4326
    )
    frame.to_file(tmp_path / "own.geojson")
    predict(reports, tmp_path / "out", gazetteer=[str(tmp_path / "own.geojson"), "geonames"])
    table = rows(tmp_path / "out")
    assert [row["gazetteer"] for row in table][:2] == ["own.geojson", "geonames"]
    assert float(table[0]["longitude"]) == 7


def test_labels_that_are_column_names_already(tmp_path):
    (tmp_path / "a.txt").write_text("Toledo")
    spec = TextSpec(("Address", "document", "fid", "place"), "en", 16, "Address")
    predict(str(tmp_path / "a.txt"), tmp_path / "out", spec=spec)
    points = geopandas.read_file(tmp_path / "out" / "places.gpkg")
    assert points["document"].tolist() == ["a.txt"] and points["place"].tolist() == ["Toledo"]
    assert {"entity_document", "entity_fid", "entity_place", "Address"} <= set(points.columns)


def test_equal_names_in_several_folders_are_told_apart():
    assert document_names(["x/a.txt", "x/b.txt"]) == ["a.txt", "b.txt"]
    assert document_names(["x/a.txt", "y/a.txt"]) == ["x/a.txt", "y/a.txt"]


class DyingModel(WordModel):
    """Is killed after some steps."""

    def __init__(self, steps):
        self.left = steps

    def predict_spans(self, words, breaks):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return super().predict_spans(words, breaks)


class CountingModel(WordModel):
    steps = 0

    def predict_spans(self, words, breaks):
        self.steps += 1
        return super().predict_spans(words, breaks)


@pytest.fixture
def killed(reports, tmp_path, monkeypatch):
    """A run that was killed when two of four groups were done."""
    monkeypatch.setattr(module, "_GROUP_WINDOWS", 1)
    with pytest.raises(KeyboardInterrupt):
        predict(reports, tmp_path / "out", model=DyingModel(2))
    assert not (tmp_path / "out" / "entities.csv").exists()
    return tmp_path / "out"


def test_a_killed_run_goes_on_with_the_same_result(reports, killed, tmp_path):
    predict(reports, tmp_path / "whole", model=(whole := CountingModel()))
    predict(reports, killed, model=(rest := CountingModel()))
    assert rest.steps == whole.steps - 2 > 0
    for name in ("entities.csv", "entities.jsonl"):
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not list(killed.glob(".*"))


@pytest.mark.parametrize("change", ["model", "file", "resume"])
def test_what_another_run_left_is_not_used(reports, killed, change):
    if change == "file":
        (reports / "a.txt").write_text("Toledo")
    changed = {"model": {"model_id": "other"}, "resume": {"resume": False}}.get(change, {})
    predict(reports, killed, model=(model := CountingModel()), **changed)
    assert model.steps == 4
