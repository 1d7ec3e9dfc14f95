"""What packages of all tasks say of themselves: to STAC, and to ArcGIS."""

import json
from pathlib import Path

import jsonschema
import pytest
from referencing import Registry, Resource

from geomm.packaging.emd import COMMON, model_definition
from geomm.packaging.mlm import model_item
from geomm.tasks.base import Task
from tests.packaging.specs import TASKS

SCHEMAS = Path(__file__).parent / "schemas"
METRICS = {"val": {"mIoU": 0.5, "IoU/a": 0.4}, "parameters": 10, "batch_size": 4, "lr": 1e-3, "epochs": 3}


@pytest.fixture(scope="module")
def validator():
    schemas = [json.loads(path.read_text()) for path in sorted(SCHEMAS.glob("*.json"))]
    registry = Registry().with_resources(
        (schema["$id"].rstrip("#"), Resource.from_contents(schema)) for schema in schemas
    )
    mlm = next(schema for schema in schemas if "/mlm/" in schema["$id"])
    return jsonschema.Draft7Validator(mlm, registry=registry)


def described(name, backbone=True):
    task, spec, config = TASKS[name]
    over = {"backbone": {"name": "resnet34", "pretrained": True}} if backbone else {}
    # As it is read: JSON.
    return json.loads(json.dumps(model_item({**over, **config}, spec, task, METRICS)))


@pytest.mark.parametrize("name", sorted(TASKS))
@pytest.mark.parametrize("backbone", [True, False])
def test_the_stac_item_is_valid_against_the_official_schema(validator, name, backbone):
    item = described(name, backbone)
    assert [error.message for error in validator.iter_errors(item)] == []
    assert item["stac_extensions"][0] == validator.schema["$id"]
    properties = item["properties"]
    assert properties["mlm:input"] and properties["mlm:output"] and properties["mlm:tasks"]
    assert len(properties["mlm:input"][0]["input"]["shape"]) == len(
        properties["mlm:input"][0]["input"]["dim_order"]
    )
    result = properties["mlm:output"][0]["result"]
    assert len(result["shape"]) == len(result["dim_order"])


def test_the_schema_finds_mistakes(validator):
    for change in (
        lambda item: item["properties"].pop("mlm:input"),
        lambda item: item["properties"].update({"mlm:tasks": ["named-entity-recognition"]}),
        lambda item: item["properties"].pop("bands"),
        lambda item: item["assets"]["model"].pop("mlm:artifact_type"),
        lambda item: item["properties"]["mlm:output"][0]["classification:classes"][0].pop("description"),
    ):
        item = described("segmentation")
        change(item)
        assert list(validator.iter_errors(item)), change


@pytest.mark.parametrize("name", sorted(TASKS))
def test_the_item_is_valid_against_the_core_of_stac(name):
    pytest.importorskip("pystac", reason="the core's schemas come with pystac")
    from pystac.validation.local_validator import LocalValidator

    core = LocalValidator().item_validator("1.1.0")
    assert [error.message for error in core.iter_errors(described(name))] == []


def test_a_task_that_does_not_say_what_goes_in_is_valid_too(validator):
    class Other(type(TASKS["ner"][0])):
        stac_keys = Task.stac_keys

    item = model_item({}, TASKS["ner"][1], Other(), {})
    assert list(validator.iter_errors(item)) == []


@pytest.mark.parametrize("name", sorted(TASKS))
def test_the_model_definition_has_every_common_key(name):
    task, spec, config = TASKS[name]
    emd = json.loads(json.dumps(model_definition(config, spec, task, METRICS)))
    assert set(COMMON) <= set(emd)
    assert (
        emd["ModelType"]
        == {
            "segmentation": "ImageClassification",
            "detection": "ObjectDetection",
            "instance_segmentation": "InstanceDetection",
            "classification": "ObjectClassification",
            "super_resolution": "SuperResolution",
            "point_cloud": "PointCloudClassification",
            "regression": "FullyConnectedNetwork",
            "table_classes": "FullyConnectedNetwork",
            "ner": "EntityRecognition",
        }[name]
    )
    assert emd["ModelName"] and emd["ModelFile"] == "weights.safetensors"
    classes = getattr(spec, "classes", None)
    if classes:
        assert [(c["Value"], c["Name"]) for c in emd["Classes"]] == [(c.value, c.name) for c in classes]


def test_the_definition_of_a_multispectral_model_says_how_it_is_normalised():
    task, spec, config = TASKS["segmentation"]
    emd = model_definition(config, spec, task, METRICS)
    assert emd["IsMultispectral"] is True and emd["ImageryType"] == "ms" and emd["DoNormalize"] is True
    assert emd["Bands"] == list(spec.band_names) and emd["ExtractBands"] == [0, 1, 2, 3]
    assert emd["NormalizationStats"]["band_mean_values"] == list(spec.statistics.mean)
    place = {"wkid": 32633, "latestWkid": 32633}
    assert emd["MinCellSize"] == emd["MaxCellSize"] == {"x": 0.5, "y": 0.5, "spatialReference": place}
    assert emd["ImageSpaceUsed"] == "MAP_SPACE" and emd["SupportsVariableTileSize"] is True
