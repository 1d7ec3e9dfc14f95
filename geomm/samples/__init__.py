"""Sample data made with a fixed seed: realistic enough that a model must learn to do well."""

from geomm.samples.buildings import building_footprints
from geomm.samples.crowns import tree_crowns
from geomm.samples.land_cover import land_cover_sparse
from geomm.samples.lidar import lidar_town, power_lines
from geomm.samples.store import SAMPLES, make

__all__ = [
    "SAMPLES",
    "building_footprints",
    "land_cover_sparse",
    "lidar_town",
    "make",
    "power_lines",
    "tree_crowns",
]
