"""Which place an address means: candidates judged by name, people, and the rest of the document."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from geomm.io.gazetteer import Candidate, Gazetteer, Place

EARTH_KM = 6371.0088
#: The geoparsing field's measure: a hundred miles.
NEAR_KM = 161.0
# Weights of the evidence, in nats: a named state outweighs any difference in people; another place of
# the document nearby about one power of ten of them.
_NAMED_IN_ADDRESS, _NAMED_IN_TEXT, _NEIGHBOUR, _PER_TENFOLD_PEOPLE, _PER_POINT_OF_LIKENESS = (
    6.0,
    3.0,
    2.5,
    1.2,
    0.15,
)
_NEIGHBOUR_KM = 300.0


@dataclass(frozen=True)
class Located:
    """An address and the place it was taken for.

    Attributes:
      address: as the document has it.
      place: the best candidate.
      matched: the part of the address whose name led to it.
      likeness: of the names, 0 to 100.
      confidence: how sure, 0 to 1: the likeness times the share of the evidence that is this place's.
      gazetteer: where it was found.
    """

    address: str
    place: Place
    matched: str
    likeness: float
    confidence: float
    gazetteer: str


@dataclass(frozen=True)
class _Option:
    candidate: Candidate
    matched: str
    score: float
    gazetteer: str


class Locator:
    """Finds the places of a document's addresses.

    Args:
      gazetteers: asked in this order; the first that knows an address is believed.
    """

    def __init__(self, gazetteers: Sequence[Gazetteer]) -> None:
        self.gazetteers = list(gazetteers)

    def locate(self, addresses: Sequence[str], text: str) -> list[Located | None]:
        """Return the place of each address, None where no name is known.

        Args:
          addresses: of one document.
          text: all of it; the states and countries that it names count.
        """
        # A long document names a place many times, and is long to look through: each is done once.
        around = [gazetteer.areas(text) for gazetteer in self.gazetteers]
        options = {address: self._options(address, around) for address in dict.fromkeys(addresses)}
        # What is sure by itself helps to tell the others apart.
        first = {
            address: max(found, key=lambda o: o.score, default=None) for address, found in options.items()
        }
        named = Counter(addresses)
        everywhere: Counter[Place] = Counter()
        for address, option in first.items():
            if option is not None:
                everywhere[option.candidate.place] += named[address]
        located: dict[str, Located | None] = {}
        for address, found in options.items():
            own = first[address]
            others = everywhere - Counter({own.candidate.place: named[address]} if own else {})
            located[address] = _choose(address, found, others)
        return [located[address] for address in addresses]

    def _options(self, address: str, around: Sequence[Mapping[str, set[str]]]) -> list[_Option]:
        for gazetteer, areas in zip(self.gazetteers, around, strict=True):
            found = self._ask(gazetteer, address, areas)
            if found:
                return found
        return []

    def _ask(self, gazetteer: Gazetteer, address: str, around: Mapping[str, set[str]]) -> list[_Option]:
        names = [address] if gazetteer.whole else address_names(address)
        found = [(name, candidate) for name in names for candidate in gazetteer.candidates(name)]
        if not found and not gazetteer.whole:
            found = [(name, c) for name in inner_names(address) for c in gazetteer.exact(name)][:40]
        here = gazetteer.areas(address)
        options = []
        for name, candidate in _smallest(found):
            place = candidate.place
            score = _PER_POINT_OF_LIKENESS * (candidate.likeness - 100.0)
            score += _PER_TENFOLD_PEOPLE * math.log10(max(place.population, 1))
            for areas, weight in ((here, _NAMED_IN_ADDRESS), (around, _NAMED_IN_TEXT)):
                if areas["regions"] and place.region in areas["regions"]:
                    score += weight
                elif place.country in areas["countries"]:
                    # Beside a state, its country tells next to nothing.
                    score += weight / (6 if areas["regions"] else 2)
            options.append(_Option(candidate, name, score, gazetteer.name))
        return options


def _smallest(found: Sequence[tuple[str, Candidate]]) -> list[tuple[str, Candidate]]:
    """Keep of an address the smallest things it names: a city before its state, that before the country.

    In "Rochester, New York" the second part is a state, though there is a city of that name too.
    """
    wide = ("region", "country")
    areas = {name for name, candidate in found if candidate.place.kind in wide and candidate.likeness == 100}
    inner = [(name, c) for name, c in found if name not in areas and c.place.kind not in wide]
    return inner or list(found)


def _choose(address: str, options: Sequence[_Option], others: Counter[Place]) -> Located | None:
    if not options:
        return None
    scores = [option.score + _NEIGHBOUR * _nearness(option.candidate.place, others) for option in options]
    best = max(range(len(scores)), key=lambda at: scores[at])
    share = 1.0 / sum(math.exp(min(score - scores[best], 0.0)) for score in scores)
    chosen = options[best]
    likeness = chosen.candidate.likeness
    return Located(
        address, chosen.candidate.place, chosen.matched, likeness, share * likeness / 100, chosen.gazetteer
    )


def _nearness(place: Place, others: Counter[Place]) -> float:
    """Return from 0 to 1 how near a place is to the others, those far off counting little."""
    if not others:
        return 0.0
    near = (n * math.exp(-distance_km(place, other) / _NEIGHBOUR_KM) for other, n in others.items())
    return sum(near) / others.total()


def distance_km(one: Place, other: Place) -> float:
    """Return the great-circle distance of two places, km on the mean sphere."""
    return great_circle_km(one.latitude, one.longitude, other.latitude, other.longitude)


def great_circle_km(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Return the great-circle distance of two points in degrees, km on the mean sphere (haversine)."""
    phi, psi = math.radians(lat1), math.radians(lat2)
    half = math.sin((psi - phi) / 2) ** 2
    half += math.cos(phi) * math.cos(psi) * math.sin(math.radians(lon2 - lon1) / 2) ** 2
    return 2 * EARTH_KM * math.asin(min(1.0, math.sqrt(half)))


_LEAD = re.compile(
    r"^(?:(?:in|at|near|of|the|on|around|outside|downtown|north|south|east|west|central)\s+)+", re.IGNORECASE
)
_BLOCK = re.compile(r"^(?:the\s+)?\d+[a-z]?(?:\s+block)?(?:\s+of)?\s+", re.IGNORECASE)


def address_names(address: str) -> list[str]:
    """Return the parts of an address that may be names of places, house numbers taken off."""
    parts = re.split(r"[,;/\n]|\s(?:and|at|near)\s", address)
    names = []
    for part in parts:
        name = _LEAD.sub("", _BLOCK.sub("", part.strip())).strip()
        if any(letter.isalpha() for letter in name):
            names.append(name)
    return list(dict.fromkeys(names))


def inner_names(address: str) -> list[str]:
    """Return the runs of one to three capitalised words in an address, longer and later ones first."""
    words = address.replace(",", " ").split()
    runs = [
        (length, first)
        for length in (3, 2, 1)
        for first in range(len(words) - length, -1, -1)
        if all(word[0].isupper() for word in words[first : first + length])
    ]
    return [" ".join(words[first : first + length]) for length, first in runs]
