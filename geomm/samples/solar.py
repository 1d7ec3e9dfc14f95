"""Daily weather and yield of solar power stations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from geomm.samples.store import sample

_SITES = (
    ("Falcon Ridge", 51.09, -114.28, 1276, 260.0),
    ("Glenmore", 50.99, -114.10, 1077, 590.0),
    ("Hillhurst", 51.06, -114.08, 1072, 154.0),
    ("Manchester", 51.02, -114.06, 1061, 111.0),
    ("Richmond", 51.03, -114.17, 1111, 98.0),
    ("Southland", 50.96, -114.11, 1086, 153.0),
)


@sample
def solar_output(folder: Path) -> dict[str, str]:
    """Make three years of daily weather at six sites with ``energy_kwh``, as CSV; ``unseen`` is a fourth."""
    rng = np.random.default_rng(83)
    first, years = np.datetime64("2018-01-01"), 4
    days = first + np.arange(365 * years)
    weather = _weather(rng, days)
    rows: dict[str, list[Any]] = {}
    for site in _SITES:
        for name, values in _site(rng, site, days, weather).items():
            rows.setdefault(name, []).append(values)
    table = {name: np.concatenate(values) for name, values in rows.items()}
    last = table["date"] >= first + 365 * (years - 1)
    return {
        "table": _write(folder / "solar.csv", table, ~last),
        "unseen": _write(folder / "solar_next_year.csv", table, last),
    }


def _write(path: Path, table: dict[str, Any], rows: Any) -> str:
    import csv

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        for values in zip(*(column[rows] for column in table.values()), strict=True):
            writer.writerow(["" if isinstance(v, float) and np.isnan(v) else v for v in values])
    return str(path)


def _season(days: Any) -> Any:
    return (days - days.astype("datetime64[Y]")).astype(int) / 365.25


def _weather(rng: np.random.Generator, days: Any) -> dict[str, Any]:
    """Return what all sites share: fronts pass over them for days, so a day resembles the one before."""
    drift = np.zeros(len(days))
    for day in range(1, len(days)):
        drift[day] = 0.65 * drift[day - 1] + rng.normal(0, 1)
    turn = np.cos(2 * np.pi * (_season(days) - 0.04))
    return {
        "cloud": 1 / (1 + np.exp(-(drift * 0.9 + 0.1 * turn))),
        "temperature": 5 - 16 * turn - 2.5 * drift,
    }


def _site(rng: np.random.Generator, site: Any, days: Any, weather: dict[str, Any]) -> dict[str, Any]:
    name, latitude, longitude, altitude, capacity = site
    count = len(days)
    cloud = np.clip(weather["cloud"] + rng.normal(0, 0.06, count), 0, 1)
    temperature = weather["temperature"] - 0.0065 * (altitude - 1070) + rng.normal(0, 1.2, count)
    tilt = np.radians(latitude) - np.radians(23.44) * np.sin(2 * np.pi * (_season(days) - 0.222))
    length = 12 + 4.6 * np.sin(2 * np.pi * (_season(days) - 0.222))
    snow = np.where(temperature < -2, rng.gamma(0.7, 2.0, count) * (cloud > 0.55), 0.0)
    light = np.clip(np.cos(tilt), 0.05, None) * length / 12 * (1 - 0.75 * cloud**1.8)
    heat = 1 - 0.004 * np.clip(temperature - 20, 0, None)
    energy = capacity * 5.2 * light * heat * np.exp(-0.25 * snow) * rng.lognormal(0, 0.05, count)
    humidity = np.clip(45 + 40 * cloud + rng.normal(0, 6, count), 10, 100)
    visibility = np.clip(25 - 14 * cloud + rng.normal(0, 2, count), 1, 30)
    humidity[rng.random(count) < 0.02] = np.nan
    return {
        "date": days,
        "site": np.full(count, name, dtype=object),
        "latitude": np.full(count, latitude),
        "longitude": np.full(count, longitude),
        "altitude_m": np.full(count, altitude),
        "capacity_kw": np.full(count, capacity),
        "temperature_c": temperature.round(1),
        "cloud_cover": cloud.round(3),
        "humidity_pct": humidity.round(1),
        "snow_cm": snow.round(1),
        "visibility_km": visibility.round(1),
        "energy_kwh": energy.round(1),
    }
