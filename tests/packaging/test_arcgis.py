"""The raster function, called as ArcGIS calls it: the test plays the host's part of the contract."""

import importlib.util
import json
import zipfile

import numpy as np
import pytest
import torch

from tests.packaging.test_package import model, package, spec  # noqa: F401


@pytest.fixture
def function(package, tmp_path):  # noqa: F811
    with zipfile.ZipFile(package) as archive:
        archive.extractall(tmp_path)
    definition = json.loads((tmp_path / "model.emd").read_text())
    file = tmp_path / definition["InferenceFunction"]
    found = importlib.util.spec_from_file_location("host_loaded", file)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    instance = module.GeommPixelClassifier()
    instance.initialize(model=str(tmp_path / "model.emd"), device="cpu")
    return instance


def test_its_parameters_are_those_that_the_tool_shows(function):
    names = [item["name"] for item in function.getParameterInfo()]
    assert names[:3] == ["raster", "model", "device"]
    assert {"padding", "batch_size"} <= set(names)


def test_a_tile_is_classified_as_geomm_does(function, model):  # noqa: F811
    settings = function.getConfiguration(padding=32, batch_size=1)
    assert settings["extractBands"] == (0, 1)
    edge = settings["tx"] + 2 * settings["padding"]
    info = function.updateRasterInfo(output_info={})["output_info"]
    assert info["bandCount"] == 1
    table = json.loads(info["rasterAttributeTable"])
    assert [f["attributes"]["Class"] for f in table["features"]] == ["a", "b", "c"]
    pixels = np.random.default_rng(1).integers(0, 9, (2, edge, edge)).astype("u2")
    mask = np.ones(pixels.shape, "u1")
    mask[:, :50, :50] = 0
    blocks = function.updatePixels(
        (0, 0), pixels.shape, {"pixelType": info["pixelType"]}, raster_pixels=pixels, raster_mask=mask
    )
    valid = torch.from_numpy(mask.any(0))[None]
    scores = model.predict_scores(torch.from_numpy(pixels.astype(np.int32))[None], valid)
    expected = scores.argmax(1).numpy()[:, 32:-32, 32:-32] + 1
    np.testing.assert_array_equal(blocks["output_pixels"], expected)
    assert blocks["output_pixels"].dtype == np.uint8
    np.testing.assert_array_equal(blocks["output_mask"][0], mask[0, 32:-32, 32:-32])


def test_batches_of_tiles(function):
    settings = function.getConfiguration(padding=16, batch_size=2)
    edge = settings["tx"] + 32
    pixels = np.zeros((2, 2, edge, edge), "u2")
    blocks = function.updatePixels((0, 0), pixels.shape, {}, raster_pixels=pixels)
    assert blocks["output_pixels"].shape == (2, 1, edge - 32, edge - 32)
