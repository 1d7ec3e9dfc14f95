"""ArcGIS raster function: classify pixels with the geomm package beside this file.

ArcGIS Pro's Classify Pixels Using Deep Learning calls it; geomm must be installed in its environment.
"""

import json
import os

import numpy as np

from geomm.packaging.arcgis import raster_function as shared

TABLE_FIELDS = (
    ("OID", "esriFieldTypeOID"),
    ("Value", "esriFieldTypeInteger"),
    ("Class", "esriFieldTypeString"),
    ("Red", "esriFieldTypeInteger"),
    ("Green", "esriFieldTypeInteger"),
    ("Blue", "esriFieldTypeInteger"),
)


class GeommPixelClassifier(shared.RasterFunction):
    """A Python raster function that turns imagery into class values."""

    source = ("raster", "Input Raster", "Imagery to classify")

    def __init__(self):
        self.name = "geomm pixel classifier"
        self.description = "Classifies every pixel with a model trained by geomm."

    def initialize(self, **kwargs):
        """Load the model; ``model`` is the path of the .emd, or its JSON text."""
        super().initialize(folder=os.path.dirname(os.path.abspath(__file__)), **kwargs)
        if "model" in kwargs:
            self.values = np.array([item.value for item in self.package.spec.classes])

    def updateRasterInfo(self, **kwargs):
        """Describe the output: one band of class values with a table of their names."""
        wide = int(self.values.max()) > 255
        classes = self.package.spec.classes
        table = {
            "objectIdFieldName": "OID",
            "fields": shared.fields(TABLE_FIELDS),
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
        pixels = np.asarray(pixelBlocks["raster_pixels"])
        batched = pixels.ndim == 4
        pixels = pixels if batched else pixels[None]
        inputs, valid = self.tensors(pixels, pixelBlocks.get("raster_mask"))
        scores = self.package.model.predict_scores(inputs, valid)
        valid = valid.cpu().numpy()
        values = self.values[scores.argmax(1).cpu().numpy()][:, None]
        cut = self.padding
        if cut:
            values, valid = values[..., cut:-cut, cut:-cut], valid[..., cut:-cut, cut:-cut]
        kind = props["pixelType"] if "pixelType" in props else "u1"
        pixelBlocks["output_pixels"] = (values if batched else values[0]).astype(kind, copy=False)
        shown = valid[:, None] if batched else valid
        pixelBlocks["output_mask"] = shown.astype("u1", copy=False)
        return pixelBlocks
