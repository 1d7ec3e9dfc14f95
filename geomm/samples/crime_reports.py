"""Made-up police reports, with the entities in them and the places where things happened."""

from __future__ import annotations

import csv
import datetime
import json
from pathlib import Path

import numpy as np

from geomm.samples.store import sample

#: City, state, latitude and longitude, degrees; many names are shared by cities of several states.
CITIES = (
    ("Madison", "Wisconsin", 43.07, -89.40), ("Springfield", "Illinois", 39.80, -89.65),
    ("Springfield", "Missouri", 37.21, -93.29), ("Springfield", "Massachusetts", 42.10, -72.59),
    ("Portland", "Oregon", 45.52, -122.68), ("Portland", "Maine", 43.66, -70.26),
    ("Columbus", "Ohio", 39.96, -83.00), ("Columbus", "Georgia", 32.46, -84.99),
    ("Aurora", "Colorado", 39.73, -104.83), ("Aurora", "Illinois", 41.76, -88.32),
    ("Columbia", "South Carolina", 34.00, -81.03), ("Columbia", "Missouri", 38.95, -92.33),
    ("Rochester", "New York", 43.16, -77.61), ("Rochester", "Minnesota", 44.02, -92.47),
    ("Arlington", "Texas", 32.74, -97.11), ("Arlington", "Virginia", 38.88, -77.10),
    ("Glendale", "Arizona", 33.54, -112.19), ("Glendale", "California", 34.14, -118.25),
    ("Richmond", "Virginia", 37.54, -77.44), ("Richmond", "California", 37.94, -122.35),
    ("Lafayette", "Louisiana", 30.22, -92.02), ("Lafayette", "Indiana", 40.42, -86.88),
    ("Bloomington", "Indiana", 39.17, -86.53), ("Bloomington", "Illinois", 40.48, -88.99),
    ("Fayetteville", "North Carolina", 35.05, -78.88), ("Fayetteville", "Arkansas", 36.06, -94.16),
    ("Peoria", "Illinois", 40.69, -89.59), ("Peoria", "Arizona", 33.58, -112.24),
    ("Albany", "New York", 42.65, -73.76), ("Albany", "Georgia", 31.58, -84.16),
    ("Boulder", "Colorado", 40.01, -105.27), ("Toledo", "Ohio", 41.66, -83.56),
    ("Tucson", "Arizona", 32.22, -110.93), ("Spokane", "Washington", 47.66, -117.43),
    ("Omaha", "Nebraska", 41.26, -95.94), ("Tulsa", "Oklahoma", 36.15, -95.99),
    ("Des Moines", "Iowa", 41.60, -93.61), ("Baton Rouge", "Louisiana", 30.45, -91.15),
    ("El Paso", "Texas", 31.76, -106.49), ("Little Rock", "Arkansas", 34.75, -92.29),
)  # fmt: skip
_CRIMES = (
    "armed robbery", "burglary", "residential burglary", "battery", "substantial battery", "arson", "theft",
    "theft of a bicycle", "vehicle theft", "attempted robbery", "strong-arm robbery", "weapons violation",
    "criminal damage to property", "vandalism", "disturbance", "stabbing", "shots fired", "fraud",
    "hit and run", "trespassing", "home invasion", "carjacking", "drug complaint", "identity theft",
)  # fmt: skip
_STREETS = (
    "Oak", "Maple", "Walnut", "Washington", "Lakeview", "Williamson", "State", "Park", "Cedar", "Mill",
    "Jefferson", "Highland", "Sunset", "Monroe", "Franklin", "Prospect", "Fifth", "Ridge", "Baker", "Hill",
)  # fmt: skip
_NEW_STREETS = (
    "Juniper", "Harbor", "Larkin", "Bellevue", "Osage", "Whitman", "Quarry", "Sycamore", "Twelfth",
)  # fmt: skip
_KINDS = ("Street", "Avenue", "Road", "Drive", "Boulevard", "Lane", "Court", "St", "Ave")
_WEAPONS = ("handgun", "knife", "baseball bat", "BB gun", "box cutter", "crowbar", "shotgun", "hammer")
_FIRST = (
    "Joel", "Mary", "Howard", "Dana", "Luis", "Priya", "Omar", "Kim", "Ruth", "Peter", "Elena", "Marcus",
)  # fmt: skip
_LAST = (
    "DeSpain", "Novak", "Payne", "Ortiz", "Jackson", "Madison", "Hughes", "Carter", "Lincoln", "Shaw",
    "Okafor", "Lindgren", "Franklin", "Reyes",
)  # fmt: skip
_RANKS = ("Officer", "Sgt.", "Lt.", "Det.", "PIO", "Detective", "Sergeant")
_COUNTIES = ("Dane", "Clark", "Adams", "Lake", "Union", "Marion", "Greene")


@sample
def crime_reports(folder: Path) -> dict[str, str]:
    """Make 320 labelled reports and 60 unseen ones, in which new streets and wordings turn up.

    ``labelled_text`` is JSON lines with the entities Crime, Address, Crime_datetime, Reported_datetime,
    Reported_by and Weapon. ``reports`` is a folder of unseen reports as plain text, ``truth`` a table of
    where each happened (document, latitude, longitude), ``unseen`` the same reports with their entities.
    """
    rng = np.random.default_rng(20)
    labelled = [_Report(rng, new=False) for _ in range(320)]
    unseen = [_Report(rng, new=True) for _ in range(60)]
    reports = folder / "reports"
    reports.mkdir()
    with (folder / "truth.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["document", "latitude", "longitude"])
        for number, report in enumerate(unseen, 1):
            name = f"report_{number:03d}.txt"
            (reports / name).write_text(report.text, encoding="utf-8")
            table.writerow([name, report.city[2], report.city[3]])
    return {
        "labelled_text": _write(folder / "reports.jsonl", labelled),
        "unseen": _write(folder / "unseen.jsonl", unseen),
        "reports": str(reports),
        "truth": str(folder / "truth.csv"),
    }


def _write(path: Path, reports: list[_Report]) -> str:
    lines = [json.dumps({"text": report.text, "labels": report.labels}) for report in reports]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


class _Report:
    """One report; its facts are drawn first, then told in sentences.

    Args:
      rng: draws it all.
      new: streets that the labelled reports never name come up too.
    """

    def __init__(self, rng: np.random.Generator, *, new: bool) -> None:
        self.rng = rng
        self.text = ""
        self.labels: list[tuple[int, int, str]] = []
        self.city = CITIES[rng.integers(len(CITIES))]
        self.streets = _STREETS + _NEW_STREETS * 2 if new else _STREETS
        happened = datetime.datetime(2017, 1, 1) + datetime.timedelta(minutes=int(rng.integers(0, 2_000_000)))
        self.happened = happened
        self.told = happened + datetime.timedelta(minutes=int(rng.integers(20, 4000)))
        self._compose()

    def pick(self, *words: str) -> str:
        return words[self.rng.integers(len(words))]

    def say(self, *parts: str | tuple[str, str]) -> None:
        """Append words; a pair is an entity's words and label."""
        for part in parts:
            words, label = part if isinstance(part, tuple) else (part, "")
            if self.text.endswith("."):  # "at 9 p.m." ends a sentence too
                words = words.removeprefix(".")
            if label:
                self.labels.append((len(self.text), len(self.text) + len(words), label))
            self.text += words

    def _compose(self) -> None:
        self.state_told = bool(self.rng.random() < 0.6)
        self._header()
        story = [self._what, self._weapon, self._person, self._elsewhere, self._closing]
        keep = [True, self.rng.random() < 0.6, self.rng.random() < 0.7, self.rng.random() < 0.6, True]
        for tell in [tell for tell, kept in zip(story, keep, strict=True) if kept]:
            tell()
            self.say(self.pick(" ", " ", "\n"))
        self.text = self.text.rstrip()

    def _header(self) -> None:
        city, state, *_ = self.city
        self.say(self.pick("Incident Report", "Case Summary", "INCIDENT REPORT", "Media Release"))
        self.say(f" #{self.rng.integers(2015, 2024)}-{self.rng.integers(1000, 400000)}\n")
        if not self.state_told:  # then the state stands here, and tells apart cities of one name
            self.say(f"{city} Police Department, {self.pick(*_COUNTIES)} County, {state}\n")
        when = self._date(self.told)
        if self.rng.random() < 0.5:
            self.say(self.pick("Released ", "Reported: ", "Date of report: "), (when, "Reported_datetime"))
            self.say(" by ", (self._officer(), "Reported_by"), "\n")
        else:
            self.say(self.pick("Report taken on ", "This was reported on "), (when, "Reported_datetime"))
            self.say(", ", (self._officer(), "Reported_by"), " reporting.\n")

    def _what(self) -> None:
        crime = (self.pick(*_CRIMES), "Crime")
        where = (self._address(), "Address")
        when = (self._date(self.happened), "Crime_datetime")
        kind = self.rng.integers(5)
        if kind == 0:
            self.say("Officers were sent to ", where, " at ", when, " for a ", crime, ".")
        elif kind == 1:
            self.say("A ", crime, " occurred at ", where, " on ", when, ".")
        elif kind == 2:
            self.say("On ", when, ", a caller told of a ", crime, " near ", where, ".")
        elif kind == 3:
            self.say("Police are looking into a ", crime, " that took place ", when, " in ", where, ".")
        else:
            self.say("Around ", when, " patrol responded to ", where, "; the complaint was ", crime, ".")

    def _weapon(self) -> None:
        weapon = (self.pick(*_WEAPONS), "Weapon")
        if self.rng.random() < 0.5:
            self.say("The suspect displayed a ", weapon, " and fled on foot.")
        else:
            self.say("A ", weapon, " was recovered from the scene.")

    def _person(self) -> None:
        city, state, *_ = CITIES[self.rng.integers(len(CITIES))]
        name = f"{self.pick(*_FIRST)} {self.pick(*_LAST)}"
        age = self.rng.integers(18, 80)
        self.say(
            self.pick(
                f"{name}, {age}, of {city}, was arrested.",
                f"The victim, a {age}-year-old woman who lives in {city}, {state}, was not hurt.",
                f"The suspect is wanted in {city} since {self.happened.year}.",
                f"Witness {name} gave a description of a man in a grey hood.",
            )
        )

    def _elsewhere(self) -> None:
        city = CITIES[self.rng.integers(len(CITIES))][0]
        self.say(
            self.pick(
                f"The car carried plates from {self.pick('Ohio', 'Texas', 'Iowa')}.",
                f"A similar case was handled by the {city} police last year.",
                "Nothing was taken, and nobody was hurt.",
                f"The {city} Tribune asked about the case.",
                f"K9 {self.pick('Rocky', 'Bear')} tracked to {self.pick(*self.streets)} Park and lost him.",
            )
        )

    def _closing(self) -> None:
        self.say(
            self.pick(
                "Anyone with information may call Crime Stoppers at 555-0142.",
                "The case remains open.",
                "Detectives will follow up this week.",
                "No arrest has been made.",
            )
        )

    def _officer(self) -> str:
        return f"{self.pick(*_RANKS)} {self.pick(*_FIRST)} {self.pick(*_LAST)}"

    def _address(self) -> str:
        city, state, *_ = self.city
        place = f"{city}, {state}" if self.state_told else city
        street = f"{self.pick(*self.streets)} {self.pick(*_KINDS)}"
        number = int(self.rng.integers(1, 60)) * 100
        return self.pick(
            f"{number + int(self.rng.integers(1, 99))} {street}, {place}",
            f"the {number} block of {street}, {place}",
            f"{street} and {self.pick(*self.streets)} {self.pick(*_KINDS)}, {place}",
            place,
        )

    def _date(self, moment: datetime.datetime) -> str:
        hour = f"{moment.hour % 12 or 12}:{moment:%M} {'a.m.' if moment.hour < 12 else 'p.m.'}"
        day = f"{moment:%B} {moment.day}, {moment.year}"
        return self.pick(
            day, f"{hour} on {day}", f"{moment:%m/%d/%Y}", f"{moment:%m/%d/%Y} {moment:%H:%M}",
            f"{moment:%A}, {day}", f"{moment:%Y-%m-%d} at {hour}",
        )  # fmt: skip
