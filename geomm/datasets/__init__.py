"""Sources of training data, one file a source or format."""

from geomm.datasets.chips import Chips
from geomm.datasets.class_folders import Folders
from geomm.datasets.footprints import Footprints
from geomm.datasets.geotiff import GeoTiffScenes
from geomm.datasets.labelled_chips import LabelledChips
from geomm.datasets.las import LasClouds
from geomm.datasets.pctd import PctdClouds
from geomm.datasets.table import Table
from geomm.datasets.text import TextDocuments

__all__ = [
    "Chips",
    "Folders",
    "Footprints",
    "GeoTiffScenes",
    "LabelledChips",
    "LasClouds",
    "PctdClouds",
    "Table",
    "TextDocuments",
]
