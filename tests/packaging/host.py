"""The host's part of the contract of raster functions: loads a package's file, asks it, gives it tiles."""

import importlib.util
import json
import zipfile

import numpy as np


def load(package, folder, *, as_text=False, **kwargs):
    """Unpack a package and return its raster function, initialised."""
    with zipfile.ZipFile(package) as archive:
        archive.extractall(folder)
    text = (folder / "model.emd").read_text()
    file = folder / json.loads(text)["InferenceFunction"]
    found = importlib.util.spec_from_file_location("host_loaded", file)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    # The class that is a raster function is known by its methods; there must be one alone.
    (kind,) = [item for item in vars(module).values() if hasattr(item, "getParameterInfo")]
    function = kind()
    model = json.dumps(json.loads(text)) if as_text else str(folder / "model.emd")
    function.initialize(model=model, device=kwargs.pop("device", -1))
    parameters = {item["name"]: item["value"] for item in function.getParameterInfo()}
    assert list(parameters)[1:3] == ["model", "device"]
    settings = {name: kwargs.get(name, value) for name, value in parameters.items()}
    return function, function.getConfiguration(**settings)


def tiles(scene, mask, configuration):
    """Yield column, row, pixels and mask of each tile, with its padding; 0 off the scene."""
    pad, bands = configuration["padding"], list(configuration["extractBands"])
    width, height = configuration["tx"], configuration["ty"]
    _, rows, cols = scene.shape
    around = ((0, 0), (pad, pad + height), (pad, pad + width))
    pixels, valid = np.pad(scene[bands], around), np.pad(np.broadcast_to(mask, scene[bands].shape), around)
    for row in range(0, rows, height):
        for col in range(0, cols, width):
            part = np.s_[:, row : row + height + 2 * pad, col : col + width + 2 * pad]
            yield col, row, pixels[part], valid[part].astype("u1")


def classify_pixels(function, configuration, scene, mask):
    """Return class values and mask (H, W), as Classify Pixels Using Deep Learning puts tiles together."""
    info = function.updateRasterInfo(output_info={})["output_info"]
    _, rows, cols = scene.shape
    out, shown = np.zeros((2, rows + configuration["ty"], cols + configuration["tx"]), info["pixelType"])
    for col, row, pixels, valid in tiles(scene, mask, configuration):
        blocks = function.updatePixels(
            (col, row),
            pixels.shape,
            {"pixelType": info["pixelType"]},
            raster_pixels=pixels,
            raster_mask=valid,
        )
        height, width = blocks["output_pixels"].shape[1:]
        out[row : row + height, col : col + width] = blocks["output_pixels"][0]
        shown[row : row + height, col : col + width] = blocks["output_mask"][0]
    return out[:rows, :cols], shown[:rows, :cols].astype(bool)


def detect_objects(function, configuration, scene, mask):
    """Return attributes and the first ring of each object, in pixels of the scene."""
    assert function.getGeometryType() == "esriGeometryPolygon"
    names = {item["name"] for item in json.loads(function.getFields())["fields"]}
    pad = configuration["padding"]
    found = []
    for col, row, pixels, valid in tiles(scene, mask, configuration):
        text = function.vectorize(raster_pixels=pixels, raster_mask=valid)["output_vectors"]
        for feature in json.loads(text)["features"]:
            assert set(feature["attributes"]) <= names
            outline = np.array(feature["geometry"]["rings"][0]) + [col - pad, row - pad]
            found.append((feature["attributes"], outline))
    return found


def classify_objects(function, chips, masks):
    """Return the attributes of each chip, as Classify Objects Using Deep Learning asks for them."""
    text = function.vectorize(rasters_pixels=tuple(chips), rasters_mask=tuple(masks))["output_vectors"]
    return [feature["attributes"] for feature in json.loads(text)["features"]]
