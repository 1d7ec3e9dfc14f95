"""Geocoding services of the web by way of geopy: limited in rate, and asked once for each address."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geomm.errors import ConfigError, DependencyError, GeommError, did_you_mean
from geomm.io.cache import cache_folder
from geomm.io.gazetteer import Candidate, Place, plain_name


class ServiceGazetteer:
    """One of geopy's services. It is sent addresses, never documents.

    Args:
      service: geopy's name of it, such as ``nominatim`` or ``photon``.
      user_agent: your programme's name; services refuse requests without one.
      seconds_between: least seconds between two requests, as the service's terms say.
      countries: only places in these, by two letters, where the service takes such a limit.
      geocode: asks the service, from an address to geopy locations; None makes geopy's own.
      cache: folder of the answers; None takes geomm's own, ``$GEOMM_CACHE/geocoding``.
    """

    whole = True

    def __init__(
        self,
        service: str,
        *,
        user_agent: str = "geomm",
        seconds_between: float = 1.0,
        countries: Sequence[str] | None = None,
        geocode: Any = None,
        cache: Path | None = None,
    ) -> None:
        self.name = service
        self._options = {"country_codes": list(countries)} if countries and service == "nominatim" else {}
        self._geocode = geocode or _make_geocode(service, user_agent)
        from geopy.extra.rate_limiter import RateLimiter

        # It logs each attempt that fails with its traceback; what matters of them comes as an error.
        logging.getLogger("geopy").setLevel(logging.CRITICAL)
        self._limited = RateLimiter(
            self._geocode, min_delay_seconds=seconds_between, max_retries=2, swallow_exceptions=False
        )
        folder = cache or cache_folder("geocoding")
        folder.mkdir(parents=True, exist_ok=True)
        self._cache = sqlite3.connect(folder / f"{service}.sqlite", check_same_thread=False)
        self._cache.execute("CREATE TABLE IF NOT EXISTS answers (question TEXT PRIMARY KEY, answer TEXT)")

    def candidates(self, name: str) -> Sequence[Candidate]:
        """Return what the service answers, best first.

        Raises:
          GeommError: the service cannot be reached or refuses.
        """
        question = json.dumps([plain_name(name), self._options], sort_keys=True)
        row = self._cache.execute("SELECT answer FROM answers WHERE question = ?", (question,)).fetchone()
        if row is None:
            answer = self._ask(name)
            self._cache.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?)", (question, json.dumps(answer))
            )
            self._cache.commit()
        else:
            answer = json.loads(row[0])
        # The services' own order is their judgement; each later answer counts a little less.
        return [
            Candidate(Place(label, lat, lon, "service"), max(100.0 - 5 * rank, 50.0))
            for rank, (label, lat, lon) in enumerate(answer)
        ]

    def _ask(self, address: str) -> list[tuple[str, float, float]]:
        from geopy.exc import GeopyError

        try:
            found = self._limited(address, exactly_one=False, **self._options)
        except GeopyError as error:
            reason = " ".join(str(error).split())[:160]
            raise GeommError(
                f"inference.gazetteer={self.name}: the service cannot be asked ({reason}); "
                "gazetteer=geonames works without a network"
            ) from error
        return [(item.address, float(item.latitude), float(item.longitude)) for item in found or []]

    def exact(self, name: str) -> Sequence[Candidate]:
        return ()

    def areas(self, text: str) -> Mapping[str, set[str]]:
        return {"regions": set(), "countries": set()}


def service_names() -> list[str]:
    """Return geopy's services by name."""
    try:
        from geopy.geocoders import SERVICE_TO_GEOCODER
    except ImportError as error:
        raise DependencyError("geocoding services need geopy; pip install 'geomm[text]'") from error
    return sorted(SERVICE_TO_GEOCODER)


def _make_geocode(service: str, user_agent: str) -> Any:
    import inspect

    from geopy.geocoders import SERVICE_TO_GEOCODER

    known = service_names()
    if service not in known:
        hint = did_you_mean(service, ["geonames", *known])
        raise ConfigError(f"inference.gazetteer: unknown {service!r}; {hint}")
    cls = SERVICE_TO_GEOCODER[service]
    required = [
        name
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.default is parameter.empty and parameter.kind is not parameter.KEYWORD_ONLY
    ]
    # Keys stay out of configs, which travel in packages.
    names = {name: f"GEOMM_{service}_{name}".upper() for name in required}
    missing = [name for name in names.values() if name not in os.environ]
    if missing:
        raise ConfigError(f"inference.gazetteer={service}: set {', '.join(missing)} in the environment")
    keys = {name: os.environ[variable] for name, variable in names.items()}
    return cls(user_agent=user_agent, **keys).geocode
