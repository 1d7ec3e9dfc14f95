"""ArcGIS raster function: find objects with the geomm package beside this file.

ArcGIS Pro's Detect Objects Using Deep Learning calls it; geomm must be installed in its environment.
"""

import json
import os

import numpy as np

FIELDS = (
    ("OID", "esriFieldTypeOID"),
    ("Classname", "esriFieldTypeString"),
    ("Classvalue", "esriFieldTypeInteger"),
    ("Confidence", "esriFieldTypeDouble"),
    ("Shape", "esriFieldTypeGeometry"),
)


class GeommObjectDetector:
    """A Python raster function that turns imagery into polygons around objects."""

    def __init__(self):
        self.name = "geomm object detector"
        self.description = "Finds objects with a model trained by geomm."

    def initialize(self, **kwargs):
        """Load the model; ``model`` is the path of the .emd, or its JSON text."""
        if "model" not in kwargs:
            return
        import torch

        import geomm

        text = str(kwargs["model"])
        if os.path.isfile(text):
            folder = os.path.dirname(os.path.abspath(text))
        else:
            definition = json.loads(text)
            folder = definition.get("ModelPath") or os.path.dirname(os.path.abspath(__file__))
        device = kwargs.get("device")
        gpu = torch.cuda.is_available() and device not in (None, "cpu", -1)
        self.device = torch.device("cuda", int(device)) if gpu else torch.device("cpu")
        self.package = geomm.load(folder)
        self.package.model.to(self.device)
        self.usual_threshold = self.package.model.best_threshold or 0.5

    def getParameterInfo(self):
        """Describe the tool's parameters."""
        return [
            _parameter("raster", "raster", None, True, "Input Raster", "Imagery to search"),
            _parameter("model", "string", None, True, "Model Definition", "The .emd of the package"),
            _parameter("device", "numeric", 0, False, "Device", "Number of the GPU, -1 for the CPU"),
            _parameter("padding", "numeric", 64, False, "Padding", "Pixels of a tile's border that belong to "
                       "its neighbours"),
            _parameter("threshold", "numeric", getattr(self, "usual_threshold", 0.5), False, "Threshold",
                       "Least confidence of an object, from 0 to 1"),
            _parameter("batch_size", "numeric", 1, False, "Batch Size", "Tiles a step"),
        ]  # fmt: skip

    def getConfiguration(self, **scalars):
        """Say which tiles are wanted: twice the training window, its padding included."""
        spec = self.package.spec
        edge = max(2 * spec.window_px, 256)
        self.padding = min(max(0, int(scalars.get("padding", 64))), edge // 2 - 1)
        self.threshold = float(scalars.get("threshold", self.usual_threshold))
        inner = edge - 2 * self.padding
        return {
            "extractBands": tuple(band - 1 for band in spec.bands),
            "padding": self.padding,
            "tx": inner,
            "ty": inner,
            "fixedTileSize": 1,
            "batch_size": int(scalars.get("batch_size", 1)),
            "inheritProperties": 2 | 4 | 8,
            "inputMask": True,
        }

    def getFields(self):
        """Describe the attributes of the output."""
        return json.dumps({"fields": _fields()})

    def getGeometryType(self):
        """Say what the output's shapes are."""
        return "esriGeometryPolygon"

    def vectorize(self, **pixelBlocks):
        """Find the objects of a tile.

        Args:
          pixelBlocks: ``raster_pixels`` (C, H, W), and ``raster_mask`` of the same shape, 0 where there is
            no data.

        Returns:
          ``output_vectors``: a feature set as JSON text, rings in pixels of the tile as it was given.
          Objects whose centre lies in the padding are left to the neighbouring tile.
        """
        import torch

        pixels = np.asarray(pixelBlocks["raster_pixels"])
        mask = pixelBlocks.get("raster_mask")
        valid = np.ones(pixels.shape[1:], bool)
        if mask is not None:
            valid = np.asarray(mask).reshape(-1, *pixels.shape[1:]).astype(bool).any(0)
        (found,) = self.package.model.detect(
            torch.from_numpy(pixels[None].astype(np.float32)), torch.from_numpy(valid[None])
        )
        found = found[self._own(found, pixels.shape[1:])]
        features = [
            {"attributes": self._attributes(found, index), "geometry": {"rings": _rings(found, index)}}
            for index in range(len(found))
        ]
        return {"output_vectors": json.dumps(_feature_set(features))}

    def _own(self, found, shape):
        """Return which objects are sure enough and have their centre in the tile's own part."""
        height, width = shape
        x, y = (found.boxes[:, :2] + found.boxes[:, 2:]).T / 2
        cut = self.padding
        inside = (x >= cut) & (x < width - cut) & (y >= cut) & (y < height - cut)
        return inside & (found.scores >= self.threshold)

    def _attributes(self, found, index):
        spec = self.package.spec.classes[int(found.labels[index])]
        confidence = round(float(found.scores[index]) * 100, 2)
        return {"OID": index + 1, "Classname": spec.name, "Classvalue": spec.value, "Confidence": confidence}


def _rings(found, index):
    """Return the rings of an object: its outlines where it has a mask, else its box."""
    if found.masks is None:
        left, top, right, bottom = (float(value) for value in found.boxes[index])
        return [[[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]]
    from rasterio.features import shapes

    mask = found.masks[index].astype(np.uint8)
    parts = [shape["coordinates"] for shape, value in shapes(mask, mask=mask > 0) if value]
    return [[list(point) for point in ring] for part in parts for ring in part]


def _fields():
    return [{"name": name, "type": kind, "alias": name} for name, kind in FIELDS]


def _feature_set(features):
    return {
        "displayFieldName": "Classname",
        "fieldAliases": {name: name for name, _ in FIELDS},
        "geometryType": "esriGeometryPolygon",
        "fields": _fields(),
        "features": features,
    }


def _parameter(name, kind, value, required, display, description):
    return {
        "name": name,
        "dataType": kind,
        "value": value,
        "required": required,
        "displayName": display,
        "description": description,
    }
