"""Houses sold in a made-up town: what they are, where they are, and their price."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from geomm.samples.store import LAYER, sample
from geomm.samples.texture import write_features

_CRS, _CENTRE = "EPSG:26985", (432000.0, 181000.0)
_HEATING = ("gas", "oil", "electric", "heat pump")


@sample
def house_prices(folder: Path) -> dict[str, str]:
    """Make 900 houses as points with ``price`` and ten fields, some of them empty here and there.

    ``distance_to_schools`` is a layer whose nearness counts; ``unseen`` are 300 further houses,
    their price known.
    """
    from shapely import Point

    rng = np.random.default_rng(61)
    schools = np.asarray(_CENTRE) + rng.normal(0, 3500, (14, 2))
    paths = {
        f"{LAYER}schools": write_features(
            folder / "schools.gpkg",
            [Point(*place) for place in schools],
            crs=_CRS,
            fields={"name": [f"School {i}" for i in range(14)]},
        )
    }
    for role, count in (("table", 900), ("unseen", 300)):
        places, fields = _houses(rng, count, schools)
        shapes = [Point(*place) for place in places]
        paths[role] = write_features(folder / f"houses_{role}.gpkg", shapes, crs=_CRS, fields=fields)
    return paths


def _houses(rng: np.random.Generator, count: int, schools: Any) -> tuple[Any, dict[str, Any]]:
    places = np.asarray(_CENTRE) + rng.normal(0, 3200, (count, 2))
    rooms = rng.integers(3, 10, count)
    area = np.clip(rooms * 19 + rng.normal(0, 22, count), 45, None).round(1)
    built = rng.integers(1890, 2021, count)
    heating = rng.choice(4, count, p=[0.5, 0.2, 0.2, 0.1])
    sold = np.datetime64("2016-01-01") + rng.integers(0, 365 * 6, count).astype("timedelta64[D]")
    lot = np.round(rng.lognormal(6, 0.6, count))
    garage = rng.random(count) < 0.45
    baths = np.clip(np.round(rooms / 3 + rng.normal(0, 0.5, count)), 1, None)
    centre = np.hypot(*(places - np.asarray(_CENTRE)).T)
    school = np.hypot(*(places[:, None] - schools[None]).T).min(0)
    years = (sold - np.datetime64("2016-01-01")).astype(int) / 365
    # A river splits the town: across it houses cost less.
    across = np.where(places[:, 0] + 0.3 * places[:, 1] > _CENTRE[0] + 0.3 * _CENTRE[1], 1.0, 0.82)
    price = 900 * area + 9000 * baths + 14000 * garage + 18 * lot + 520 * (built - 1890)
    price = price * np.exp(-centre / 9000) * np.exp(-school / 12000) * across * 1.05**years
    price = price * np.array([1.0, 0.95, 0.93, 1.06])[heating] * rng.lognormal(0, 0.06, count)
    heated = np.array(_HEATING, dtype=object)[heating]
    heated[rng.random(count) < 0.05] = None
    shown_lot = np.where(rng.random(count) < 0.06, np.nan, lot)
    return places, {
        "price": price.round(-2),
        "rooms": rooms,
        "baths": baths,
        "area_m2": area,
        "built": built,
        "heating": heated,
        "garage": garage,
        "lot_m2": shown_lot,
        "sold": sold.astype("datetime64[ms]"),
        "condition": rng.choice(["poor", "fair", "good"], count),
        "remarks": [f"House {i}, viewed {rng.integers(1, 30)} times" for i in range(count)],
    }
