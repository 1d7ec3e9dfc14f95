"""Sample data made with a fixed seed: realistic enough that a model must learn to do well."""

from geomm.samples.bioclim import disease_susceptibility
from geomm.samples.buildings import building_footprints, building_instances
from geomm.samples.crime_reports import crime_reports
from geomm.samples.crowns import tree_crowns
from geomm.samples.damage import damage_assessment
from geomm.samples.fish import fish_in_video
from geomm.samples.houses import house_prices
from geomm.samples.land_cover import land_cover_sparse
from geomm.samples.lidar import buildings_and_trees, power_lines
from geomm.samples.plants import plant_species
from geomm.samples.pools import swimming_pools
from geomm.samples.solar import solar_output
from geomm.samples.store import LAYER, SAMPLES, make, sample_root
from geomm.samples.wrecks import shipwrecks

__all__ = [
    "LAYER",
    "SAMPLES",
    "building_footprints",
    "building_instances",
    "buildings_and_trees",
    "crime_reports",
    "damage_assessment",
    "disease_susceptibility",
    "fish_in_video",
    "house_prices",
    "land_cover_sparse",
    "make",
    "plant_species",
    "power_lines",
    "sample_root",
    "shipwrecks",
    "solar_output",
    "swimming_pools",
    "tree_crowns",
]
