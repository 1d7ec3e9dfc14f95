"""Sources of training data, one file a source or format."""

from geomm.datasets.chips import Chips
from geomm.datasets.geotiff import GeoTiffScenes
from geomm.datasets.table import Table

__all__ = ["Chips", "GeoTiffScenes", "Table"]
