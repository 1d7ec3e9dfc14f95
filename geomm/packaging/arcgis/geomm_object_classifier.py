"""ArcGIS raster function: name objects with the geomm package beside this file.

ArcGIS Pro's Classify Objects Using Deep Learning calls it with a chip for each object; geomm must be
installed in its environment.
"""

import json
import os

import numpy as np

from geomm.packaging.arcgis import raster_function as shared

FIELDS = (*shared.FIELDS[:2], ("Label", "esriFieldTypeString"), *shared.FIELDS[2:])
#: From which probability on a model of several labels names one.
_NAMED = 0.5


class GeommObjectClassifier(shared.RasterFunction):
    """A Python raster function that turns chips of objects into classes."""

    source = ("rasters", "Rasters", "A chip for each object")

    def __init__(self):
        self.name = "geomm object classifier"
        self.description = "Names objects with a model trained by geomm."

    def initialize(self, **kwargs):
        """Load the model; ``model`` is the path of the .emd, or its JSON text."""
        super().initialize(folder=os.path.dirname(os.path.abspath(__file__)), **kwargs)

    def own_parameters(self):
        """Ask for nothing more: a chip has no neighbours."""
        return []

    def getConfiguration(self, **scalars):
        """Say which chips are wanted: each object's own size, as the model was trained."""
        spec = self.package.spec
        self.batch_size = max(1, int(scalars.get("batch_size", 1)))
        return {
            "extractBands": tuple(band - 1 for band in spec.bands),
            "padding": 0,
            "tx": spec.window_px,
            "ty": spec.window_px,
            "CropSizeFixed": 0,
            "BlackenAroundFeature": int(spec.blackout),
            "batch_size": self.batch_size,
            "inheritProperties": shared.INHERIT,
            "inputMask": True,
        }

    def getFields(self):
        """Describe the attributes of the output."""
        return json.dumps({"fields": shared.fields(FIELDS)})

    def getGeometryType(self):
        """Say what the output's shapes are."""
        return "esriGeometryPolygon"

    def vectorize(self, **pixelBlocks):
        """Name the objects of some chips.

        Args:
          pixelBlocks: ``rasters_pixels``, a sequence of (C, h, w) of any size, and ``rasters_mask`` of the
            same shapes, 0 where there is no data.

        Returns:
          ``output_vectors``: a feature set as JSON text, one feature a chip, its ring the chip's frame.
        """
        chips = [np.asarray(chip) for chip in pixelBlocks["rasters_pixels"]]
        masks = pixelBlocks.get("rasters_mask")
        masks = [None] * len(chips) if masks is None else [np.asarray(mask) for mask in masks]
        features = []
        for start in range(0, len(chips), self.batch_size):
            part = slice(start, start + self.batch_size)
            for chip, scores in zip(chips[part], self._scores(chips[part], masks[part]), strict=True):
                height, width = chip.shape[1:]
                frame = shared.ring(0.0, 0.0, float(width), float(height))
                attributes = {"OID": len(features) + 1, **self._attributes(scores)}
                features.append({"attributes": attributes, "geometry": {"rings": [frame]}})
        return {"output_vectors": shared.feature_set(features, FIELDS)}

    def _scores(self, chips, masks):
        """Return probabilities (n, K) of chips, each fitted into the model's window."""
        import torch

        edge = self.package.spec.window_px
        pairs = [self.tensors(chip[None], None if mask is None else mask.reshape(1, *chip.shape))
                 for chip, mask in zip(chips, masks, strict=True)]  # fmt: skip
        whole = all(chip.dtype.kind in "iu" for chip in chips)
        fitted = [_fit(pixels, valid, edge, whole) for pixels, valid in pairs]
        scores = self.package.model.predict_classes(
            torch.cat([pixels for pixels, _ in fitted]), torch.cat([valid for _, valid in fitted])
        )
        return scores.cpu().numpy()

    def _attributes(self, scores):
        spec = self.package.spec
        best = spec.classes[int(scores.argmax())]
        label = best.name
        if spec.multi_label:
            label = ", ".join(c.name for c, s in zip(spec.classes, scores, strict=True) if s >= _NAMED)
        confidence = round(float(scores.max()) * 100, 2)
        return {"Classname": best.name, "Label": label, "Classvalue": best.value, "Confidence": confidence}


def _fit(pixels, valid, edge, whole):
    """Resample a chip (1, C, h, w) in proportion into a square of an edge; what is left over is not valid.

    Where imagery has whole numbers, so has the result, as it had in training.
    """
    import torch
    from torch.nn.functional import interpolate, pad

    height, width = pixels.shape[2:]
    longer = max(height, width)
    left, top = (longer - width) // 2, (longer - height) // 2
    around = (left, longer - width - left, top, longer - height - top)
    square, shown = pad(pixels, around), pad(valid[:, None].float(), around)
    mode = {"mode": "area"} if longer > edge else {"mode": "bilinear", "align_corners": False}
    size = (edge, edge)
    # Where a part of a pixel shows nothing, only the rest of it counts.
    weight = interpolate(shown, size, **mode)
    mixed = interpolate(square * shown, size, **mode) / weight.clamp(min=1e-6)
    mixed = (mixed + 0.5).floor() if whole else mixed
    return torch.where(weight > 0, mixed, 0.0), weight[:, 0] >= 0.5
