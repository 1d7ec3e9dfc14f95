"""Made-up police reports: labels on the words they name, truth for every report."""

import csv
import json
from pathlib import Path

import pytest

from geomm.samples.crime_reports import CITIES, crime_reports


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return crime_reports(tmp_path_factory.mktemp("reports"))


def records(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def test_labels_stand_on_whole_words_and_do_not_overlap(made):
    for record in records(made["labelled_text"]):
        text, at = record["text"], 0
        assert ".." not in text
        for start, end, label in record["labels"]:
            assert start >= at and text[start:end].strip() == text[start:end] != ""
            assert not text[start - 1].isalnum() and not text[end : end + 1].isalnum()
            if label == "Address":
                assert any(city in text[start:end] for city, *_ in CITIES)
            at = end


def test_every_unseen_report_has_its_place_and_the_same_text_as_its_labels(made):
    with open(made["truth"], encoding="utf-8") as file:
        truth = list(csv.DictReader(file))
    unseen = records(made["unseen"])
    assert len(truth) == len(unseen) == 60
    places = {(str(lat), str(lon)) for _, _, lat, lon in CITIES}
    for row, record in zip(truth, unseen, strict=True):
        assert (Path(made["reports"]) / row["document"]).read_text(encoding="utf-8") == record["text"]
        assert (row["latitude"], row["longitude"]) in places


def test_a_model_must_read_the_context(made):
    """The same words are an entity here and none there."""
    elsewhere = 0
    for record in records(made["labelled_text"]):
        spans = [(a, b) for a, b, label in record["labels"] if label == "Address"]
        for city, *_ in CITIES:
            at = record["text"].find(city)
            elsewhere += at >= 0 and not any(a <= at < b for a, b in spans)
    assert elsewhere > 100


def test_it_is_the_same_each_time(made, tmp_path):
    again = crime_reports(tmp_path)
    assert Path(again["labelled_text"]).read_bytes() == Path(made["labelled_text"]).read_bytes()
