"""Sample data made with a fixed seed: realistic enough that a model must learn to do well."""

from geomm.samples.bioclim import disease_susceptibility
from geomm.samples.buildings import building_footprints
from geomm.samples.crime_reports import crime_reports
from geomm.samples.crowns import tree_crowns
from geomm.samples.fish import fish_in_video
from geomm.samples.houses import house_prices
from geomm.samples.land_cover import land_cover_sparse
from geomm.samples.lidar import buildings_and_trees, power_lines
from geomm.samples.solar import solar_output
from geomm.samples.store import LAYER, SAMPLES, make

__all__ = [
    "LAYER",
    "SAMPLES",
    "building_footprints",
    "buildings_and_trees",
    "crime_reports",
    "disease_susceptibility",
    "fish_in_video",
    "house_prices",
    "land_cover_sparse",
    "make",
    "power_lines",
    "solar_output",
    "tree_crowns",
]
