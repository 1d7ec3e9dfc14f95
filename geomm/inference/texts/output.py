"""What is written of texts: a table, the entities with their offsets, and a layer of points."""

from __future__ import annotations

import csv
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from geomm.errors import DataError
from geomm.inference.texts.places import NEAR_KM, Located, great_circle_km
from geomm.io.table_stream import has_columns

if TYPE_CHECKING:
    from geomm.inference.texts.predict import TextFindings, TextOptions
    from geomm.text import Entity, TextSpec

TABLE, ENTITIES, PLACES, DISTANCES = "entities.csv", "entities.jsonl", "places.gpkg", "distances.json"
PREVIEW = "places_preview.png"
_PLACE_COLUMNS = (
    "place", "latitude", "longitude", "place_kind", "place_region", "place_country", "place_matched",
    "place_likeness", "place_confidence", "gazetteer",
)  # fmt: skip
_JOINED = "; "


class TextOutput:
    """Writes findings as they come; every file appears under its own name when it is complete.

    Use as a context manager: what is unfinished when an error leaves it is removed.

    Args:
      folder: for the files.
      spec: of the model.
      options: of the run.
      tag: the label that is located, None for none.
    """

    def __init__(self, folder: Path, spec: TextSpec, options: TextOptions, tag: str | None) -> None:
        self.folder, self.spec, self.options, self.tag = folder, spec, options, tag
        self.truth = read_truth(options.truth) if options.truth else None
        self.points: list[dict[str, Any]] = []
        self.best: dict[str, Located] = {}
        self.names = label_columns(spec.labels)
        self.columns = ["document"]
        for name in self.names.values():
            self.columns += [name, f"{name}_confidence"]
        self.columns += _PLACE_COLUMNS if tag else ()

    def __enter__(self) -> TextOutput:
        self._temporary = {name: self.folder / f".{name}.part" for name in (TABLE, ENTITIES)}
        self._files = {
            name: path.open("w", encoding="utf-8", errors="replace", newline="")
            for name, path in self._temporary.items()
        }
        self._rows = csv.DictWriter(self._files[TABLE], self.columns)
        self._rows.writeheader()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, file in self._files.items():
            file.close()
            self._temporary[name].unlink(missing_ok=True)

    def add(self, findings: TextFindings) -> None:
        """Write a document: a row a place, one where there is none."""
        document = findings.document
        labels = [[e.start, e.end, e.label, round(e.confidence, 4)] for e in findings.entities]
        record = {"document": document.name, "text": document.text, "labels": labels}
        self._files[ENTITIES].write(json.dumps(record, ensure_ascii=False) + "\n")
        common: dict[str, Any] = {"document": document.name}
        for label in self.spec.labels:
            common |= _cells(
                self.names[label], [e for e in findings.entities if e.label == label], document.text
            )
        placed = [(entity, located) for entity, located in findings.places]
        if not placed and self.options.keep_unlocated:
            self._rows.writerow(common)
        for entity, located in placed:
            if located is None and not self.options.keep_unlocated:
                continue
            row = {**common, **_cells(self.names[entity.label], [entity], document.text)}
            if located is not None:
                row |= _place_cells(located)
                self.points.append(row)
                known = self.best.get(document.name)
                if known is None or located.confidence > known.confidence:
                    self.best[document.name] = located
            self._rows.writerow(row)

    def finish(self) -> list[Path]:
        """Put the finished files in place; return them, the table first."""
        written = []
        for name, file in self._files.items():
            file.close()
            os.replace(self._temporary[name], self.folder / name)
            written.append(self.folder / name)
        if self.tag:
            written.append(self._write_places())
            if self.options.preview and self.points:
                from geomm.visualization.places import draw_places

                written.append(draw_places(self.points, self.folder / PREVIEW))
        if self.truth is not None:
            target = self.folder / DISTANCES
            target.write_text(json.dumps(distances(self.best, self.truth), indent=2), encoding="utf-8")
            written.append(target)
        return written

    def _write_places(self) -> Path:
        from geomm.io.points import write_points

        columns = [name for name in self.columns if name not in ("latitude", "longitude")]
        return write_points(self.points, columns, self.folder / PLACES, layer="places")


def is_own(path: Path) -> bool:
    """Say whether a file is one of those that ``TextOutput`` writes."""
    if path.name == PLACES:
        return has_columns("document")(path)
    try:
        with path.open(encoding="utf-8") as file:
            first = file.readline()
    except (OSError, UnicodeDecodeError):
        return False
    begins = {TABLE: "document,", ENTITIES: '{"document": ', DISTANCES: "{"}.get(path.name)
    return begins is not None and (not first or first.startswith(begins))


def label_columns(labels: Sequence[str]) -> dict[str, str]:
    """Return a column's name by label: another one where the table has a column of that name already.

    Case does not tell names apart, since in SQL it does not.
    """
    taken = {"document", "text", "fid", "geom", *_PLACE_COLUMNS}
    names: dict[str, str] = {}
    for label in labels:
        name = label
        while taken & {name.lower(), f"{name}_confidence".lower()}:
            name = f"entity_{name}"
        taken |= {name.lower(), f"{name}_confidence".lower()}
        names[label] = name
    return names


def _cells(label: str, entities: list[Entity], text: str) -> dict[str, Any]:
    """Return a label's words, each once, and the least of their confidences."""
    if not entities:
        return {}
    words = dict.fromkeys(" ".join(text[e.start : e.end].split()) for e in entities)
    least = min(entity.confidence for entity in entities)
    return {label: _JOINED.join(words), f"{label}_confidence": round(least, 4)}


def _place_cells(located: Located) -> dict[str, Any]:
    place = located.place
    values = (
        place.name, round(place.latitude, 6), round(place.longitude, 6), place.kind, place.region,
        place.country, located.matched, round(located.likeness, 1), round(located.confidence, 4),
        located.gazetteer,
    )  # fmt: skip
    return dict(zip(_PLACE_COLUMNS, values, strict=True))


def read_truth(path: str) -> dict[str, tuple[float, float]]:
    """Return true latitude and longitude by document.

    Raises:
      DataError: the table cannot be read, or lacks a column.
    """
    from geomm.io.text_bytes import read_text

    rows = list(csv.DictReader(read_text(path).splitlines()))
    try:
        return {row["document"]: (float(row["latitude"]), float(row["longitude"])) for row in rows}
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(
            f"{path}: expected the columns document, latitude and longitude ({type(error).__name__}: {error})"
        ) from error


def distances(
    best: Mapping[str, Located], truth: Mapping[str, tuple[float, float]]
) -> dict[str, float | int | None]:
    """Return the geoparsing field's measures (Gritta et al., "A pragmatic guide to geoparsing", 2020).

    Args:
      best: each document's surest place.
      truth: latitude and longitude by document.

    Returns:
      ``documents`` with truth, the share ``located``, ``accuracy_161km`` (what was not located counts
      as far), and ``median_error_km`` and ``mean_error_km`` of what was.
    """
    errors = [
        great_circle_km(best[name].place.latitude, best[name].place.longitude, *point)
        for name, point in truth.items()
        if name in best
    ]
    count = len(truth)
    return {
        "documents": count,
        "located": len(errors) / count if count else None,
        "accuracy_161km": sum(error <= NEAR_KM for error in errors) / count if count else None,
        "median_error_km": round(statistics.median(errors), 3) if errors else None,
        "mean_error_km": round(statistics.mean(errors), 3) if errors else None,
    }
