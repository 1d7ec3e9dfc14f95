"""Sample data made with a fixed seed: realistic enough that a model must learn to do well."""

from geomm.samples.bioclim import disease_susceptibility
from geomm.samples.buildings import building_footprints
from geomm.samples.crime_reports import crime_reports
from geomm.samples.crowns import tree_crowns
from geomm.samples.damage import damage_assessment
from geomm.samples.houses import house_prices
from geomm.samples.land_cover import land_cover_sparse
from geomm.samples.lidar import buildings_and_trees, power_lines
from geomm.samples.plants import plant_species
from geomm.samples.solar import solar_output
from geomm.samples.store import SAMPLES, make

__all__ = [
    "SAMPLES",
    "building_footprints",
    "buildings_and_trees",
    "crime_reports",
    "damage_assessment",
    "disease_susceptibility",
    "house_prices",
    "land_cover_sparse",
    "make",
    "plant_species",
    "power_lines",
    "solar_output",
    "tree_crowns",
]
