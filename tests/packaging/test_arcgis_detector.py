"""The raster function for objects, called as ArcGIS calls it: the test plays the host's part."""

import importlib.util
import json
import zipfile

import numpy as np
import pytest
import torch

from geomm.packaging import save_package
from geomm.structures import Objects
from geomm.tasks import Detection, InstanceSegmentation
from tests.models.common import composed, make_spec
from tests.models.objects.test_detector import LIGHT

METRICS = {"val": {"AP50": 0.5}, "parameters": 10, "seconds": 1.0, "lr": 1e-3}


def load_function(folder, task, head, kept=0.25):
    config = composed(
        f"task={task.name}", f"head={head}", *LIGHT[head], "backbone=timm", "backbone.name=test_resnet"
    )
    spec = make_spec(2)
    torch.manual_seed(0)
    model = task.build_model(config, spec).eval()
    model.keep_threshold(kept)
    path = save_package(
        folder / "model.dlpk", model=model, config=config, spec=spec, task=task, metrics=METRICS
    )
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    definition = json.loads((folder / "model.emd").read_text())
    file = folder / definition["InferenceFunction"]
    found = importlib.util.spec_from_file_location("host_loaded", file)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    instance = module.GeommObjectDetector()
    instance.initialize(model=str(folder / "model.emd"), device="cpu")
    return instance


@pytest.fixture
def function(tmp_path):
    return load_function(tmp_path, Detection(), "retinanet")


def found_objects(size, masks=False):
    boxes = np.array([[40, 50, 60, 80], [2, 2, 12, 12], [70, 70, 90, 95], [35, 35, 45, 45]], np.float32)
    outlines = np.zeros((4, size, size), bool)
    for index, (left, top, right, bottom) in enumerate(boxes.astype(int)):
        outlines[index, top:bottom, left:right] = True
    outlines[0, 60:65, 45:50] = False  # a hole
    scores = np.array([0.9, 0.8, 0.3, 0.2], np.float32)
    return Objects(boxes, np.array([2, 0, 1, 1]), scores, outlines if masks else None)


def vectors(function, monkeypatch, found, size):
    monkeypatch.setattr(function.package.model, "detect", lambda inputs, valid: [found])
    pixels = np.zeros((2, size, size), "u2")
    text = function.vectorize(raster_pixels=pixels, raster_mask=np.ones_like(pixels, "u1"))
    return json.loads(text["output_vectors"])


def test_its_parameters_and_fields_are_those_of_the_contract(function):
    names = [item["name"] for item in function.getParameterInfo()]
    assert names[:3] == ["raster", "model", "device"]
    assert {"padding", "threshold", "batch_size"} <= set(names)
    assert next(p for p in function.getParameterInfo() if p["name"] == "threshold")["value"] == 0.25
    settings = function.getConfiguration(padding=16)
    assert settings["extractBands"] == (0, 1) and settings["tx"] == settings["ty"]
    assert function.getGeometryType() == "esriGeometryPolygon"
    fields = [item["name"] for item in json.loads(function.getFields())["fields"]]
    assert {"OID", "Classname", "Classvalue", "Confidence"} <= set(fields)


def test_objects_become_polygons_and_the_paddings_are_the_neighbours(function, monkeypatch):
    size = 2 * function.getConfiguration(padding=16)["padding"] + 224
    found = vectors(function, monkeypatch, found_objects(size), size)
    kept = [item["attributes"] for item in found["features"]]
    assert kept == [
        {"OID": 1, "Classname": "tree", "Classvalue": 3, "Confidence": 90.0},
        {"OID": 2, "Classname": "water", "Classvalue": 2, "Confidence": 30.0},
    ]
    ring = found["features"][0]["geometry"]["rings"][0]
    assert ring == [[40, 50], [60, 50], [60, 80], [40, 80], [40, 50]]


def test_the_tools_threshold_goes_before_the_packages(function, monkeypatch):
    function.getConfiguration(padding=0, threshold=0.85)
    assert len(vectors(function, monkeypatch, found_objects(256), 256)["features"]) == 1


@pytest.mark.parametrize(("kept", "usual"), [(0.0, 0.0), (None, 0.5)])
def test_the_usual_threshold_is_for_packages_without_one(tmp_path, kept, usual):
    function = load_function(tmp_path, Detection(), "retinanet", kept)
    assert next(p for p in function.getParameterInfo() if p["name"] == "threshold")["value"] == usual


def test_it_finds_what_the_model_finds(function):
    function.getConfiguration(padding=0, threshold=0.0)
    pixels = np.random.default_rng(1).integers(0, 3, (2, 256, 256)).astype("u2")
    found = json.loads(function.vectorize(raster_pixels=pixels)["output_vectors"])
    inputs = torch.from_numpy(pixels.astype(np.int32))[None]
    (expected,) = function.package.model.detect(inputs, torch.ones(1, 256, 256, dtype=torch.bool))
    assert len(found["features"]) == len(expected)


def test_instances_have_their_outlines_with_holes(tmp_path, monkeypatch):
    function = load_function(tmp_path, InstanceSegmentation(), "mask_rcnn")
    function.getConfiguration(padding=16)
    found = vectors(function, monkeypatch, found_objects(256, masks=True), 256)
    rings = found["features"][0]["geometry"]["rings"]
    assert len(rings) == 2
    assert {tuple(point) for point in rings[0]} == {(40, 50), (60, 50), (60, 80), (40, 80)}


@pytest.mark.parametrize("masks", [False, True], ids=["boxes", "masks"])
def test_outlines_run_clockwise_on_the_map_and_holes_against_it(tmp_path, monkeypatch, masks):
    from shapely import LinearRing

    task, head = (InstanceSegmentation(), "mask_rcnn") if masks else (Detection(), "retinanet")
    function = load_function(tmp_path, task, head)
    function.getConfiguration(padding=0)
    objects = found_objects(256, masks=masks)
    if masks:  # of two parts, the upper one with a hole
        objects.masks[2, 80:84] = False
        objects.masks[2, 73:76, 75:80] = False
    features = vectors(function, monkeypatch, objects, 256)["features"]
    # Rows grow downwards, northings upwards.
    rings = [[LinearRing([(x, -y) for x, y in r]) for r in f["geometry"]["rings"]] for f in features]
    outer = [[ring for ring in each if not ring.is_ccw] for each in rings]
    holes = [[ring.envelope.area for ring in each if ring.is_ccw] for each in rings]
    assert [len(each) for each in outer] == ([1, 1, 2] if masks else [1, 1, 1])
    assert holes == ([[25], [], [15]] if masks else [[], [], []])
