"""What the raster functions of all packages share: loading the package, parameters, tiles, features.

The files beside this one are carried by packages and import it, so it is of the geomm that runs them.
"""

import json
import os

import numpy as np

#: Attributes of the features that models find.
FIELDS = (
    ("OID", "esriFieldTypeOID"),
    ("Classname", "esriFieldTypeString"),
    ("Classvalue", "esriFieldTypeInteger"),
    ("Confidence", "esriFieldTypeDouble"),
    ("Shape", "esriFieldTypeGeometry"),
)
#: Pixels of a tile's border that belong to its neighbours, unless the tool says otherwise.
PADDING_PX = 64
#: Keys, statistics and the histogram are not the input's; its place on the map is.
INHERIT = 2 | 4 | 8


class RasterFunction:
    """A Python raster function over a geomm package; derived classes say what comes out."""

    #: What the tool calls the imagery, and of which kind it is: ``raster``, or ``rasters`` for many chips.
    source = ("raster", "Input Raster", "Imagery to work on")

    def initialize(self, **kwargs):
        """Load the model; ``model`` is the path of the .emd, or its JSON text."""
        if "model" not in kwargs:
            return
        import geomm

        self.package = geomm.load(_folder_of(str(kwargs["model"]), kwargs.get("folder")))
        self.device = _device(kwargs.get("device"))
        self.package.model.to(self.device)

    def getParameterInfo(self):
        """Describe the tool's parameters: the three that it insists on, then the function's own."""
        name, shown, said = self.source
        return [
            parameter(name, name, None, True, shown, said),
            parameter("model", "string", None, True, "Model Definition", "The .emd of the package"),
            parameter("device", "numeric", 0, False, "Device", "Number of the GPU, -1 for the CPU"),
            *self.own_parameters(),
            parameter("batch_size", "numeric", 1, False, "Batch Size", "Tiles a step"),
        ]

    def own_parameters(self):
        """Describe what this function asks for beside raster, model, device and batch size."""
        return [
            parameter("padding", "numeric", PADDING_PX, False, "Padding", "Pixels of a tile's border that "
                      "belong to its neighbours"),
        ]  # fmt: skip

    def getConfiguration(self, **scalars):
        """Say which tiles are wanted: twice the training window, its padding included."""
        spec = self.package.spec
        edge = max(2 * spec.window_px, 256)
        self.padding = min(max(0, int(scalars.get("padding", PADDING_PX))), edge // 2 - 1)
        inner = edge - 2 * self.padding
        return {
            "extractBands": tuple(band - 1 for band in spec.bands),
            "padding": self.padding,
            "tx": inner,
            "ty": inner,
            "fixedTileSize": 1,
            "batch_size": int(scalars.get("batch_size", 1)),
            "inheritProperties": INHERIT,
            "inputMask": True,
        }

    def tensors(self, pixels, mask):
        """Return pixels (B, C, H, W) and what is valid (B, H, W) as the model takes them.

        Args:
          pixels: (B, C, H, W) of any type.
          mask: of the same shape, 0 where there is no data; None where all is valid.
        """
        import torch

        valid = np.ones((len(pixels), *pixels.shape[2:]), bool)
        if mask is not None:
            valid = np.asarray(mask).reshape(pixels.shape).astype(bool).any(1)
        inputs = torch.from_numpy(np.ascontiguousarray(pixels, np.float32))
        return inputs.to(self.device), torch.from_numpy(valid).to(self.device)


def _folder_of(text, folder):
    """Return the unpacked package's folder, from the path or the text of its definition."""
    if os.path.isfile(text):
        return os.path.dirname(os.path.abspath(text))
    return json.loads(text).get("ModelPath") or folder


def _device(number):
    """Return torch's device for the host's number: from 0 a GPU, -1 the CPU, -2 whatever there is."""
    import torch

    if not torch.cuda.is_available() or number in (None, "cpu", "-1", -1):
        return torch.device("cpu")
    return torch.device("cuda", max(int(number), 0))


def parameter(name, kind, value, required, display, description):
    """Describe a parameter of the tool."""
    return {
        "name": name,
        "dataType": kind,
        "value": value,
        "required": required,
        "displayName": display,
        "description": description,
    }


def fields(kinds=FIELDS):
    """Describe attributes."""
    return [{"name": name, "type": kind, "alias": name} for name, kind in kinds]


def feature_set(features, kinds=FIELDS):
    """Return features as the JSON text that the tool reads."""
    return json.dumps(
        {
            "displayFieldName": "Classname",
            "fieldAliases": {name: name for name, _ in kinds},
            "geometryType": "esriGeometryPolygon",
            "fields": fields(kinds),
            "features": features,
        }
    )


def ring(left, top, right, bottom):
    """Return a box as a closed ring."""
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
