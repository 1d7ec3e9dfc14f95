"""Object classification end to end: train, classify layers, chips and photos, export."""

import json
import shutil
from dataclasses import replace

import geopandas
import numpy as np
import pandas
import pytest
import shapely
import torch
from PIL import Image

import geomm
from geomm.errors import ConfigError, DependencyError, GeommError
from geomm.inference.pictures.steps import free_prefix
from geomm.packaging import export as exporting
from geomm.tasks import Classification
from tests.datasets.drawn import class_folders, export, picture, scene_with_features

SHORT = [
    "task=classification", "backbone=timm", "backbone.name=resnet10t", "schedule.epochs=6",
    "schedule.batch_size=8", "schedule.lr=3e-3", "schedule.patience=null", "runtime.workers=0",
    "runtime.threads=1", "tracking=none",
]  # fmt: skip
QUIET = {"device": "cpu", "progress": False, "threads": 1}


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """A package trained on the features of a scene, with the scene and the layer."""
    folder = tmp_path_factory.mktemp("features")
    scene, layer = scene_with_features(folder)
    package = geomm.train([
        *SHORT, f"dataset.images={scene}", f"dataset.labels={layer}", "dataset.label_field=kind",
        "dataset.window_px=32", "task.oversample=1", "task.mixup=0.1", f"work_dir={folder / 'run'}",
    ])  # fmt: skip
    return package, scene, layer


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folders")
    root = class_folders(folder / "pictures", (12, 12))
    given = ["dataset=folders", f"dataset.root={root}", "head=mmpretrain", f"work_dir={folder / 'run'}"]
    return geomm.train([*SHORT, *given]), root


def test_a_run_leaves_metrics_figures_and_a_package(features):
    package, scene, _ = features
    run = scene.parent / "run"
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["val"]["mF1"] > 0.9 and "F1/dark" in metrics["val"]
    for name in ("curves", "confusion_val", "hardest_val"):
        assert (run / "figures" / f"{name}.png").stat().st_size > 1000
    assert package.spec.margin == 0.25 and package.spec.in_channels == 4
    import zipfile

    with zipfile.ZipFile(package.path) as archive:
        emd = json.loads(archive.read("model.emd"))
        item = json.loads(archive.read("mlm.json"))
    assert emd["ModelType"] == "ObjectClassification"
    assert item["properties"]["mlm:output"][0]["result"]["shape"] == [-1, 2]


@pytest.mark.parametrize("ending", ["gpkg", "geojson", "parquet"])
def test_a_layer_keeps_its_fields_and_gains_classes(features, tmp_path, ending):
    package, scene, layer = features
    frame = geopandas.read_file(layer)
    if ending == "geojson":
        frame = frame.to_crs(4326)
    frame["when"] = pandas.Timestamp("2026-05-01")
    # One off the scene, one without geometry.
    frame.loc[0, "geometry"] = shapely.transform(
        frame.geometry[0], lambda p: p + 1.0 if ending == "geojson" else p + 9e4
    )
    frame.loc[1, "geometry"] = None
    given = tmp_path / f"in.{ending}"
    frame.to_parquet(given) if ending == "parquet" else frame.to_file(given)
    report = package.predict(scene, output=tmp_path / "out", features=str(given), **QUIET)
    assert report.amount == 36 and report.failed == []
    read = geopandas.read_parquet if ending == "parquet" else geopandas.read_file
    before, after = read(given), read(tmp_path / "out" / f"in.{ending}")
    for name in before.columns.drop(["geometry", "when"]):
        assert after[name].dtype == before[name].dtype
        assert after[name].tolist() == before[name].tolist()
    assert after["when"].dtype == before["when"].dtype and (after["when"] == before["when"]).all()
    assert before.crs == after.crs
    kept = before.geometry.notna()
    assert (before.geometry[kept].geom_equals(after.geometry[kept])).all()
    assert (after["class"][2:] == after["kind"][2:]).mean() > 0.9
    assert after["class"][:2].isna().all() and after["confidence"][:2].isna().all()
    assert after["reason"][:2].tolist() == ["off the scene", "no geometry"]
    scores = after[["score_dark", "score_light"]].to_numpy()[2:]
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(scores.max(1), after["confidence"][2:], atol=1e-6)
    assert (tmp_path / "out" / "in_preview.png").is_file()


def test_fields_of_the_same_name_are_left_alone(features, tmp_path):
    package, scene, layer = features
    frame = geopandas.read_file(layer).rename(columns={"kind": "Class"})
    frame.to_file(tmp_path / "in.gpkg")
    package.predict(scene, output=tmp_path / "out", features=str(tmp_path / "in.gpkg"), scores=False, **QUIET)
    after = geopandas.read_file(tmp_path / "out" / "in.gpkg")
    assert after["Class"].tolist() == frame["Class"].tolist()
    assert {"predicted_class", "predicted_confidence", "predicted_reason"} < set(after.columns)
    assert not any(name.startswith("predicted_score") for name in after.columns)


def test_a_card_gives_margins_in_metres(features):
    package = features[0]
    (line,) = [item for item in Classification().describe_spec(package.spec) if "ground" in item]
    assert line == "- features are shown with 25% of its longer side of ground around"
    metres = replace(package.spec, margin_m=5.0)
    assert "- features are shown with 5 m of ground around" in Classification().describe_spec(metres)
    nowhere = replace(metres, crs=None)
    assert "- features are shown with 5 pixels of ground around" in Classification().describe_spec(nowhere)


def test_prefixes_go_on_until_one_is_free():
    assert free_prefix(["a"], ["class"]) == ""
    assert free_prefix(["CLASS", "predicted_class"], ["class"]) == "predicted2_"


def test_features_on_nodata_have_no_class(features, tmp_path):
    package, scene, layer = features
    import rasterio

    holed = tmp_path / "scene.tif"
    shutil.copy(scene, holed)
    with rasterio.open(holed, "r+") as file:
        file.write(np.zeros((4, 60, 60), np.uint16), window=((0, 60), (0, 60)))
    package.predict(holed, output=tmp_path / "out", features=str(layer), tta=True, **QUIET)
    after = geopandas.read_file(tmp_path / "out" / "features.gpkg")
    assert after["reason"][0] == "no data" and after["reason"].isna().sum() >= 31


def test_a_layer_without_crs_is_refused(features, tmp_path):
    package, scene, layer = features
    frame = geopandas.read_file(layer).set_crs(None, allow_override=True)
    frame.to_file(tmp_path / "in.gpkg")
    report = package.predict(scene, output=tmp_path / "out", features=str(tmp_path / "in.gpkg"), **QUIET)
    assert f"{tmp_path / 'in.gpkg'} has no CRS, and {scene} has one; assign" in report.failed[0][1]


def test_photos_become_points_and_corrupt_ones_fail_alone(folders, tmp_path):
    package, _ = folders
    rng = np.random.default_rng(5)
    walk = tmp_path / "walk"
    walk.mkdir()
    for index in range(4):
        exif = Image.Exif()
        if index:
            place = {1: "N", 2: (47.0, 30.0, 0.0), 3: "E", 4: (8.0, float(index), 0.0)}
            exif.get_ifd(0x8825).update(place)
            exif.get_ifd(0x8769)[0x9003] = "2026:05:01 09:30:00"
        pixels = picture(rng, index % 2).transpose(1, 2, 0)
        Image.fromarray(pixels).save(walk / f"p{index}.jpg", exif=exif, quality=95)
    (walk / "p9.jpg").write_bytes((walk / "p1.jpg").read_bytes()[:500])
    report = package.predict(walk, output=tmp_path / "out", **QUIET)
    assert report.amount == 4 and [name for name, _ in report.failed] == [str(walk / "p9.jpg")]
    table = pandas.read_csv(tmp_path / "out" / "predictions.csv")
    assert table["file"].str[-6:].tolist() == ["p0.jpg", "p1.jpg", "p2.jpg", "p3.jpg", "p9.jpg"]
    assert table["class"].tolist()[:4] == ["dark", "light", "dark", "light"]
    assert table["class"].isna()[4] and isinstance(table["reason"][4], str)
    points = geopandas.read_file(tmp_path / "out" / "photos.gpkg")
    placed = points[points["reason"].isna()]
    assert points.crs.to_epsg() == 4326 and len(placed) == 3
    assert placed.geometry.iloc[0].coords[0] == pytest.approx((8 + 1 / 60, 47.5))
    assert str(placed["time"].iloc[0]).startswith("2026-05-01 09:30:00")
    again = package.predict(walk, output=tmp_path / "out", skip_existing=True, **QUIET)
    assert len(again.skipped) == 5 and not again.outputs


def test_georeferenced_chips_become_polygons(folders, tmp_path):
    package, _ = folders
    root = export(tmp_path / "chips", "Imagenet", [("1",), ("2",)] * 3)
    package.predict(root / "images", output=tmp_path / "out", **QUIET)
    chips = geopandas.read_file(tmp_path / "out" / "chips.gpkg")
    assert len(chips) == 6 and sorted(set(chips.geometry.area)) == [400, 480]
    assert not (tmp_path / "out" / "photos.gpkg").exists()


def test_several_labels_end_to_end(tmp_path):
    root = export(tmp_path / "chips", "MultiLabeled_Tiles", [("1",), ("2",), ("1", "2"), ()] * 5)
    given = ["dataset=chips", f"dataset.root={root}", f"work_dir={tmp_path / 'run'}"]
    package = geomm.train([*SHORT, *given, "schedule.epochs=1", "task.monitor=mAP"])
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())["val"]
    assert {"mAP", "microF1", "AP/roof", "F1/pool"} <= set(metrics)
    package.predict(root / "images", output=tmp_path / "out", **QUIET)
    assert len(pandas.read_csv(tmp_path / "out" / "predictions.csv")) == 20


@pytest.mark.parametrize("format", ["onnx", "torchscript"])
def test_exports_agree_with_torch_on_any_number_of_pictures(features, tmp_path, format):
    pytest.importorskip("onnxruntime")
    package = features[0]
    done = package.export(tmp_path, format=format)
    assert done.difference < 1e-5 and done.path.is_file()
    pictures = exporting.made_up_pictures(package.spec, package.spec.window_px)[:3]
    expected = package.model.predict_classes(pictures, torch.ones(3, 32, 32, dtype=bool)).numpy()
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(done.path), providers=["CPUExecutionProvider"])
        found = session.run(None, {"pixels": pictures.numpy()})[0]
    else:
        found = torch.jit.load(str(done.path))(pictures).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert (tmp_path / "labels.txt").read_text().split() == ["dark", "light"]
    assert "normalisation is part of the model" in (tmp_path / "README.md").read_text()


@pytest.mark.slow
def test_litert_agrees_with_torch(features, tmp_path):
    pytest.importorskip("litert_torch")
    done = features[0].export(tmp_path, format="litert")
    assert done.difference < 1e-4 and done.path.suffix == ".tflite"


def test_litert_that_is_missing_says_how_to_get_it(features, tmp_path, monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"pip install 'geomm\[litert\]'"):
        features[0].export(tmp_path, format="litert")
    assert not list(tmp_path.iterdir())


def test_exports_that_differ_are_refused(features, tmp_path, monkeypatch):
    def wrong(graph, example, path):
        path.write_bytes(b"x")
        return lambda pixels: graph(torch.from_numpy(pixels)).numpy() + 0.01

    monkeypatch.setitem(exporting._WRITERS, "torchscript", wrong)
    with pytest.raises(GeommError, match=r"differ from torch's by up to 0\.01, more than tolerance=0\.001"):
        features[0].export(tmp_path, format="torchscript")
    assert not list(tmp_path.iterdir())


def test_operators_without_a_counterpart_are_named():
    error = exporting._refused("litert", RuntimeError("Lowering not found: aten.fft_fft2.default"))
    assert "operator aten.fft_fft2.default has no counterpart" in str(error)


def test_a_format_that_there_is_not(features, tmp_path):
    with pytest.raises(ConfigError, match="found 'onx'; did you mean 'onnx'"):
        features[0].export(tmp_path, format="onx")


def test_a_head_of_another_task_is_refused():
    with pytest.raises(ConfigError, match="serves task segmentation, not classification"):
        geomm.train(["task=classification", "head=unet", "dataset.images=setup.cfg", "dataset.labels=x"])
