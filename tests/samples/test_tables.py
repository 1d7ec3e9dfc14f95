"""Sample tables: the same each time, and with something to learn that a mean does not know."""

from pathlib import Path

import geopandas
import numpy as np
import pandas
import pytest
import rasterio

from geomm.samples import SAMPLES, make

NAMES = ["disease_susceptibility", "house_prices", "solar_output"]


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_has_a_table_and_something_to_predict(made, name):
    paths = made(name)
    assert {"table", "unseen"} <= set(paths) and SAMPLES[name].__doc__
    assert all(Path(path).exists() for path in paths.values())


def test_a_sample_is_the_same_each_time(made, tmp_path):
    first, again = made("solar_output"), make("solar_output", tmp_path)
    assert Path(first["table"]).read_bytes() == Path(again["table"]).read_bytes()
    one, two = made("house_prices"), make("house_prices", tmp_path)
    assert geopandas.read_file(one["table"]).equals(geopandas.read_file(two["table"]))


def test_houses_lack_some_values_and_cost_more_near_schools(made):
    houses = geopandas.read_file(made("house_prices")["table"])
    schools = geopandas.read_file(made("house_prices")["distance_to_schools"])
    assert len(houses) == 900 and 20 < houses["heating"].isna().sum() < 80
    away = houses.geometry.apply(lambda place: schools.distance(place).min())
    each = houses["price"] / houses["area_m2"]
    assert np.corrcoef(away, each)[0, 1] < -0.2


def test_a_clear_summers_day_yields_most(made):
    days = pandas.read_csv(made("solar_output")["table"], parse_dates=["date"])
    yields = days["energy_kwh"] / days["capacity_kw"]
    summer = days["date"].dt.month.isin([6, 7])
    assert yields[summer & (days["cloud_cover"] < 0.3)].mean() > 2 * yields[~summer].mean()
    assert (
        days["date"].max()
        < pandas.read_csv(made("solar_output")["unseen"], parse_dates=["date"])["date"].min()
    )
    assert days["humidity_pct"].isna().mean() == pytest.approx(0.02, abs=0.01)


def test_the_sick_live_where_the_truth_says(made):
    paths = made("disease_susceptibility")
    villages = geopandas.read_file(paths["table"])
    with rasterio.open(paths["truth"]) as truth:
        chance = np.array([v[0] for v in truth.sample([(p.x, p.y) for p in villages.geometry])])
    sick = (villages["sick"] == "present").to_numpy()
    assert 0.1 < sick.mean() < 0.5 and chance[sick].mean() > chance[~sick].mean() + 0.2
    assert chance.mean() == pytest.approx(sick.mean(), abs=0.05)
    names = {path.name for path in Path(paths["rasters"]).iterdir()}
    assert len(names) == 6 and names == {path.name for path in Path(paths["unseen"]).iterdir()}
