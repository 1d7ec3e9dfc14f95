"""Sources of training data, one file a source or format."""

from geomm.datasets.chips import Chips
from geomm.datasets.geotiff import GeoTiffScenes
from geomm.datasets.las import LasClouds
from geomm.datasets.no_data import NoData
from geomm.datasets.pctd import PctdClouds
from geomm.datasets.table import Table
from geomm.datasets.text import TextDocuments

__all__ = [
    "Chips",
    "GeoTiffScenes",
    "LasClouds",
    "NoData",
    "PctdClouds",
    "Table",
    "TextDocuments",
]
