"""Sources of training data, one file a source or format."""

from geomm.datasets.chips import Chips
from geomm.datasets.clouds.las import LasClouds
from geomm.datasets.clouds.pctd import PctdClouds
from geomm.datasets.maps.geotiff import GeoTiffScenes
from geomm.datasets.no_data import NoData
from geomm.datasets.objects.coco import CocoChips
from geomm.datasets.objects.voc import VocChips
from geomm.datasets.objects.yolo import YoloChips
from geomm.datasets.pictures.folders import Folders
from geomm.datasets.pictures.footprints import Footprints
from geomm.datasets.tables.source import Table
from geomm.datasets.texts.source import TextDocuments

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
