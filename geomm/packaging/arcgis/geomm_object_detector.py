"""ArcGIS raster function: find objects with the geomm package beside this file.

ArcGIS Pro's Detect Objects Using Deep Learning calls it; geomm must be installed in its environment.
"""

import json
import os
from itertools import pairwise

import numpy as np

from geomm.packaging.arcgis import raster_function as shared


class GeommObjectDetector(shared.RasterFunction):
    """A Python raster function that turns imagery into polygons around objects."""

    source = ("raster", "Input Raster", "Imagery to search")

    def __init__(self):
        self.name = "geomm object detector"
        self.description = "Finds objects with a model trained by geomm."
        self.usual_threshold = 0.5

    def initialize(self, **kwargs):
        """Load the model; ``model`` is the path of the .emd, or its JSON text."""
        super().initialize(folder=os.path.dirname(os.path.abspath(__file__)), **kwargs)
        if "model" in kwargs:
            kept = self.package.model.best_threshold
            self.usual_threshold = 0.5 if kept is None else kept

    def own_parameters(self):
        """Describe padding and threshold."""
        threshold = shared.parameter("threshold", "numeric", self.usual_threshold, False, "Threshold",
                                     "Least confidence of an object, from 0 to 1")  # fmt: skip
        return [*super().own_parameters(), threshold]

    def getConfiguration(self, **scalars):
        """Say which tiles are wanted, and keep the tool's threshold."""
        self.threshold = float(scalars.get("threshold", self.usual_threshold))
        return super().getConfiguration(**scalars)

    def getFields(self):
        """Describe the attributes of the output."""
        return json.dumps({"fields": shared.fields()})

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
        pixels = np.asarray(pixelBlocks["raster_pixels"])
        mask = pixelBlocks.get("raster_mask")
        (found,) = self.package.model.detect(*self.tensors(pixels[None], mask))
        found = found[self._own(found, pixels.shape[1:])]
        features = [
            {"attributes": self._attributes(found, index), "geometry": {"rings": _rings(found, index)}}
            for index in range(len(found))
        ]
        return {"output_vectors": shared.feature_set(features)}

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
    """Return the rings of an object in pixels: its outlines where it has a mask, else its box.

    On the map, as on the screen, outlines run clockwise and holes against it: Esri's order of polygons.
    """
    if found.masks is None:
        return [shared.ring(*(float(value) for value in found.boxes[index]))]
    from rasterio.features import shapes

    mask = found.masks[index].astype(np.uint8)
    parts = [shape["coordinates"] for shape, value in shapes(mask, mask=mask > 0) if value]
    return [_wound(ring, clockwise=place == 0) for part in parts for place, ring in enumerate(part)]


def _wound(ring, *, clockwise):
    """Return a closed ring in the order asked for, as it looks with rows downwards."""
    points = [list(point) for point in ring]
    # Twice the area, which is positive where x turns towards y: clockwise, since y grows downwards.
    turn = sum(x * down - right * y for (x, y), (right, down) in pairwise(points))
    return points if (turn > 0) == clockwise else points[::-1]
