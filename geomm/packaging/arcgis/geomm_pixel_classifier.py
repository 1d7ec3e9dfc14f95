"""ArcGIS raster function: classify pixels with the geomm package beside this file.

ArcGIS Pro's Classify Pixels Using Deep Learning calls it; geomm must be installed in its environment.
"""

import json
import os

import numpy as np


class GeommPixelClassifier:
    """A Python raster function that turns imagery into class values."""

    def __init__(self):
        self.name = "geomm pixel classifier"
        self.description = "Classifies every pixel with a model trained by geomm."

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
        self.values = np.array([item.value for item in self.package.spec.classes])

    def getParameterInfo(self):
        """Describe the tool's parameters."""
        return [
            _parameter("raster", "raster", None, True, "Input Raster", "Imagery to classify"),
            _parameter("model", "string", None, True, "Model Definition", "The .emd of the package"),
            _parameter("device", "numeric", 0, False, "Device", "Number of the GPU, -1 for the CPU"),
            _parameter("padding", "numeric", 64, False, "Padding", "Pixels cut from each tile's border"),
            _parameter("batch_size", "numeric", 1, False, "Batch Size", "Tiles a step"),
        ]

    def getConfiguration(self, **scalars):
        """Say which tiles are wanted: the training window without its padding."""
        spec = self.package.spec
        self.padding = max(0, int(scalars.get("padding", 64)))
        edge = max(2 * spec.window_px, 256)
        self.padding = min(self.padding, edge // 2 - 1)
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

    def updateRasterInfo(self, **kwargs):
        """Describe the output: one band of class values with a table of their names."""
        wide = int(self.values.max()) > 255
        classes = self.package.spec.classes
        fields = (("OID", "esriFieldTypeOID"), ("Value", "esriFieldTypeInteger"),
                  ("Class", "esriFieldTypeString"), ("Red", "esriFieldTypeInteger"),
                  ("Green", "esriFieldTypeInteger"), ("Blue", "esriFieldTypeInteger"))  # fmt: skip
        table = {
            "objectIdFieldName": "OID",
            "fields": [{"name": name, "type": kind, "alias": name} for name, kind in fields],
            "features": [
                {
                    "attributes": {
                        "OID": number,
                        "Value": item.value,
                        "Class": item.name,
                        "Red": item.color[0],
                        "Green": item.color[1],
                        "Blue": item.color[2],
                    }
                }
                for number, item in enumerate(classes, start=1)
            ],
        }
        kwargs["output_info"]["bandCount"] = 1
        kwargs["output_info"]["pixelType"] = "u2" if wide else "u1"
        kwargs["output_info"]["colormap"] = ()
        kwargs["output_info"]["rasterAttributeTable"] = json.dumps(table)
        return kwargs

    def updatePixels(self, tlc, shape, props, **pixelBlocks):
        """Classify a tile.

        Args:
          tlc: the tile's upper left corner; unused.
          shape: of the tile; the pixels' own shape counts.
          props: of the tile; unused.
          pixelBlocks: ``raster_pixels`` (C, H, W), or (B, C, H, W) in batches, and
            ``raster_mask`` of the same shape, 0 where there is no data.
        """
        import torch

        pixels = np.asarray(pixelBlocks["raster_pixels"])
        batched = pixels.ndim == 4
        pixels = pixels if batched else pixels[None]
        mask = pixelBlocks.get("raster_mask")
        valid = np.ones((len(pixels), *pixels.shape[2:]), bool)
        if mask is not None:
            valid = np.asarray(mask).reshape(pixels.shape).astype(bool).any(1)
        scores = self.package.model.predict_scores(
            torch.from_numpy(pixels.astype(np.float32)).to(self.device),
            torch.from_numpy(valid).to(self.device),
        )
        values = self.values[scores.argmax(1).cpu().numpy()][:, None]
        cut = self.padding
        if cut:
            values, valid = values[..., cut:-cut, cut:-cut], valid[..., cut:-cut, cut:-cut]
        kind = props["pixelType"] if "pixelType" in props else "u1"
        pixelBlocks["output_pixels"] = (values if batched else values[0]).astype(kind, copy=False)
        shown = valid[:, None] if batched else valid
        pixelBlocks["output_mask"] = shown.astype("u1", copy=False)
        return pixelBlocks


def _parameter(name, kind, value, required, display, description):
    return {
        "name": name,
        "dataType": kind,
        "value": value,
        "required": required,
        "displayName": display,
        "description": description,
    }
