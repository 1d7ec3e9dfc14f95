"""Sources of training data, one file a source or format."""

from geomm.datasets.chips import Chips
from geomm.datasets.class_folders import Folders
from geomm.datasets.coco import CocoChips
from geomm.datasets.footprints import Footprints
from geomm.datasets.geotiff import GeoTiffScenes
from geomm.datasets.las import LasClouds
from geomm.datasets.no_data import NoData
from geomm.datasets.pctd import PctdClouds
from geomm.datasets.table import Table
from geomm.datasets.text import TextDocuments
from geomm.datasets.voc import VocChips
from geomm.datasets.yolo import YoloChips

__all__ = [
    "Chips",
    "CocoChips",
    "Folders",
    "Footprints",
    "GeoTiffScenes",
    "LasClouds",
    "NoData",
    "PctdClouds",
    "Table",
    "TextDocuments",
    "VocChips",
    "YoloChips",
]
