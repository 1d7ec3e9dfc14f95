"""Texts to entities, a table and a map, streamed: thousands of files in one call."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from geomm.errors import ConfigError, DataError, did_you_mean
from geomm.inference.inputs import check_preview, check_target, find_inputs
from geomm.inference.options import InferenceOptions
from geomm.inference.progress import Progress
from geomm.inference.report import PredictionReport, say
from geomm.inference.stream import stream
from geomm.inference.texts.places import Located, Locator
from geomm.inference.work import file_stamps, fingerprint, open_work
from geomm.io.documents import DOCUMENT_ENDINGS, read_documents
from geomm.io.paths import expand
from geomm.text import Document, Entity, TextSpec
from geomm.transforms.tokens import TokenWindow, overlapping_windows, tokenize

_LOG = logging.getLogger("geomm")
#: Windows that are read before the model runs, so that it can take those of like length together.
_GROUP_WINDOWS = 512
_WINDOWS_A_STEP = 32
#: Folder, in that of the results, of what a run has found so far.
_WORK = ".entities.work"
#: What the model found in each window of each document of a group: first and last token, label, confidence.
GroupSpans = list[list[list[tuple[int, int, str, float]]]]


@dataclass(frozen=True)
class TextOptions(InferenceOptions):
    """How texts are read and placed; see configs/inference/ner.yaml for what each is for."""

    text_field: str = "text"
    language: str | None = None
    address_tag: str | bool | None = None
    min_confidence: float = 0.0
    keep_unlocated: bool = True
    encoding: str = "auto"
    gazetteer: str | Sequence[str] = "geonames"
    gazetteer_field: str = "name"
    countries: Sequence[str] | None = None
    min_likeness: float = 85
    user_agent: str = "geomm"
    seconds_between: float = 1.0
    truth: str | None = None


@dataclass
class TextFindings:
    """A document with what was found in it.

    Attributes:
      document: tokenised.
      entities: in the order of the text.
      places: of the entities that were to be located, in order: the address and its place, if any.
    """

    document: Document
    entities: list[Entity] = field(default_factory=list)
    places: list[tuple[Entity, Located | None]] = field(default_factory=list)


@dataclass
class _Group:
    """Documents whose windows go through the model together, and the files they complete."""

    number: int = 0
    documents: list[Document] = field(default_factory=list)
    windows: list[list[TokenWindow]] = field(default_factory=list)
    files: int = 0

    @property
    def size(self) -> int:
        return sum(map(len, self.windows))


def predict_texts(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    model: Any,
    spec: TextSpec,
    options: TextOptions,
    model_id: str,
) -> PredictionReport:
    """Find the entities of texts and locate them.

    Args:
      inputs: files, globs, folders or a list of these, of the kinds in ``DOCUMENT_ENDINGS``.
      output: folder for the results: ``entities.csv``, ``entities.jsonl``, and where the model knows an
        address tag ``places.gpkg``; with ``truth`` also ``distances.json``.
      model: a ``TokenTagger`` in eval mode.
      spec: of the model.
      options: see ``TextOptions``.
      model_id: tells models apart, so that a run is only resumed with its own.

    Raises:
      DataError: nothing matches ``inputs``; or, with ``on_error="raise"``, an input fails.
      ConfigError: an option that does not hold.
    """
    from geomm.inference.texts.output import DISTANCES, ENTITIES, PLACES, PREVIEW, TABLE, TextOutput, is_own

    started = time.monotonic()
    folder = Path(output)
    find = partial(expand, endings=DOCUMENT_ENDINGS)
    files = find_inputs(inputs, folder, find=find, is_result=is_own, what="documents")
    report = PredictionReport(unit="tokens")
    tag = address_tag(options, spec)
    for name in (TABLE, ENTITIES, *([PLACES] if tag else []), *([DISTANCES] if options.truth else [])):
        check_target(folder / name, files, is_result=is_own, what="table of entities")
    if options.skips(folder / TABLE, folder / _WORK):
        report.skipped += files
        return report
    if tag and options.preview:
        check_preview(folder / PREVIEW, files)
    folder.mkdir(parents=True, exist_ok=True)
    locator = make_locator(options) if tag else None
    reader = _Reader(files, spec, options, report)
    step = _WINDOWS_A_STEP if options.batch_size == "auto" else int(options.batch_size)
    mark = _mark(files, options, spec, step, model_id)
    with (
        _DoneGroups(folder / _WORK, mark, resume=options.resume) as done,
        TextOutput(folder, spec, options, tag) as writer,
    ):
        with Progress(folder.name, len(files), "files", shown=options.progress) as progress:

            def merge(group: _Group, spans: GroupSpans) -> Iterator[TextFindings]:
                for findings in _join(group, spans, options.min_confidence):
                    report.amount += len(findings.document.offsets)
                    yield _place(findings, tag, locator)

            stream(
                reader.groups(),
                lambda group: done.get(group, lambda: _predict(model, group, step)),
                merge,
                writer.add,
                done=lambda group: progress.advance(group.files),
            )
        report.outputs += writer.finish()
    if reader.empty:
        _LOG.warning("%d documents hold no text, the first: %s", len(reader.empty), reader.empty[0])
    if reader.broken:
        _LOG.warning("%d documents left out, the first: %s", len(reader.broken), reader.broken[0])
    report.seconds = time.monotonic() - started
    say(report, "files", len(files))
    return report


def _mark(files: Sequence[str], options: TextOptions, spec: TextSpec, step: int, model_id: str) -> str:
    """Return a text that differs whenever what is found in a group of documents could."""
    reading = [options.text_field, options.language or spec.language, options.encoding]
    running = [step, options.precision, str(options.resolve_device()), torch.__version__]
    return fingerprint(model_id, file_stamps(files), spec.to_dict(), reading, running)


class _DoneGroups:
    """What was found in groups of documents so far, a file a group.

    A group is made of the same documents whenever the same files are read, so a run that was killed
    reads them again but runs the model on what is left alone. Use as a context manager: the folder is
    removed when the run is through, or has nothing to go on from.
    """

    def __init__(self, folder: Path, mark: str, *, resume: bool) -> None:
        self.folder = folder
        open_work(folder, mark, resume=resume)

    def __enter__(self) -> _DoneGroups:
        if count := self._count():
            _LOG.info("going on after %d groups of documents", count)
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None or not self._count():
            shutil.rmtree(self.folder)

    def _count(self) -> int:
        return len(list(self.folder.glob("group_*.json")))

    def get(self, group: _Group, predict: Callable[[], GroupSpans]) -> GroupSpans:
        """Return what is known of a group, or else predict and keep it."""
        path = self.folder / f"group_{group.number:06d}.json"
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]
        spans = predict()
        temporary = path.with_suffix(".part")
        temporary.write_text(json.dumps(spans), encoding="utf-8")
        temporary.replace(path)
        return spans


def address_tag(options: TextOptions, spec: TextSpec) -> str | None:
    """Return the label to place on the map, None for none.

    Raises:
      ConfigError: the model knows no such label.
    """
    if options.address_tag is False:
        return None
    wanted = spec.address_tag if options.address_tag in (None, True) else str(options.address_tag)
    if wanted is not None and wanted not in spec.labels:
        raise ConfigError(f"inference.address_tag: unknown label; {did_you_mean(wanted, spec.labels)}")
    return wanted


def make_locator(options: TextOptions) -> Locator:
    """Return a locator over the gazetteers that the options name.

    Raises:
      ConfigError: a name that is no gazetteer, file or service.
    """
    from geomm.io.gazetteer import GeonamesGazetteer, LayerGazetteer
    from geomm.io.geocoding import ServiceGazetteer

    named = [options.gazetteer] if isinstance(options.gazetteer, str) else list(options.gazetteer)
    gazetteers: list[Any] = []
    for name in named:
        if name == "geonames":
            gazetteers.append(
                GeonamesGazetteer(countries=options.countries, min_likeness=options.min_likeness)
            )
        elif Path(name).exists() or "." in name:
            gazetteers.append(
                LayerGazetteer(name, field=options.gazetteer_field, min_likeness=options.min_likeness)
            )
        else:
            gazetteers.append(
                ServiceGazetteer(
                    name,
                    user_agent=options.user_agent,
                    seconds_between=options.seconds_between,
                    countries=options.countries,
                )
            )
    return Locator(gazetteers)


class _Reader:
    """Reads and tokenises files into groups of windows.

    Args:
      files: to read.
      spec: of the model.
      options: of the run.
      report: takes the files that fail.
    """

    def __init__(
        self, files: Sequence[str], spec: TextSpec, options: TextOptions, report: PredictionReport
    ) -> None:
        self.files, self.spec, self.options, self.report = files, spec, options, report
        self.language = options.language or spec.language
        self.names = document_names(files)
        self.empty: list[str] = []
        self.broken: list[str] = []

    def groups(self) -> Iterator[_Group]:
        """Yield groups of at least ``_GROUP_WINDOWS`` windows, the last one smaller."""
        group = _Group()
        for file, name in zip(self.files, self.names, strict=True):
            try:
                for document in self._documents(file, name):
                    group.documents.append(document)
                    group.windows.append(overlapping_windows(document, self.spec.window_tokens))
                    if group.size >= _GROUP_WINDOWS:
                        yield group
                        group = _Group(group.number + 1)
            except DataError as error:
                if self.options.on_error == "raise":
                    raise
                _LOG.error("%s", error)
                self.report.failed.append((file, str(error)))
            group.files += 1
        yield group

    def _documents(self, file: str, name: str) -> Iterator[Document]:
        options = self.options
        broken: list[str] = []
        used = False
        for raw in read_documents(file, text_field=options.text_field, encoding=options.encoding):
            if raw.problem:
                if options.on_error == "raise":
                    raise DataError(raw.problem)
                broken.append(raw.problem)
                continue
            used = True
            full = f"{name}, {raw.part}" if raw.part else name
            if not raw.text.strip():
                self.empty.append(full)
            offsets, breaks = tokenize(raw.text, self.language)
            yield Document(raw.text, offsets, None, breaks, full)
        if broken and not used:
            raise DataError(broken[0])
        self.broken += broken


def document_names(files: Sequence[str]) -> list[str]:
    """Return the files' own names where they tell them apart, else the paths."""
    names = [Path(file).name for file in files]
    return names if len(set(names)) == len(names) else list(files)


def _predict(model: Any, group: _Group, step: int) -> GroupSpans:
    """Return the spans of each window of each document, tokens counted from the window's first."""
    found: list[list[Any]] = [[None] * len(windows) for windows in group.windows]
    places = [(d, w) for d, windows in enumerate(group.windows) for w in range(len(windows))]
    pieces = {
        (d, w): group.documents[d].piece(group.windows[d][w].first, group.windows[d][w].last)
        for d, w in places
    }
    places.sort(key=lambda place: len(pieces[place].offsets))
    for at in range(0, len(places), step):
        batch = places[at : at + step]
        spans = model.predict_spans(
            [pieces[place].tokens for place in batch], [list(pieces[place].breaks) for place in batch]
        )
        for (d, w), result in zip(batch, spans, strict=True):
            found[d][w] = result
    return found


def find_entities(
    model: Any,
    documents: Sequence[Document],
    window_tokens: int,
    *,
    step: int = _WINDOWS_A_STEP,
    min_confidence: float = 0.0,
) -> Iterator[TextFindings]:
    """Yield documents with the entities that a model finds in them, nothing read or written.

    Args:
      model: a ``TokenTagger`` in eval mode.
      documents: tokenised.
      window_tokens: tokens that the model sees at once.
      step: windows a batch.
      min_confidence: entities of less are left out.
    """
    cuts = [overlapping_windows(document, window_tokens) for document in documents]
    group = _Group(documents=list(documents), windows=cuts)
    yield from _join(group, _predict(model, group, step), min_confidence)


def _join(group: _Group, spans: GroupSpans, least: float) -> Iterator[TextFindings]:
    """Yield each document's entities: of every window those whose middle is in its core."""
    for document, windows, results in zip(group.documents, group.windows, spans, strict=True):
        kept: list[tuple[int, int, str, float]] = []
        for window, result in zip(windows, results, strict=True):
            for first, last, label, confidence in result:
                span = (window.first + first, window.first + last, label, confidence)
                if window.core[0] <= (span[0] + span[1]) // 2 < window.core[1] and confidence >= least:
                    # Two windows may draw an entity's borders apart; the surer one is right.
                    while kept and kept[-1][1] >= span[0] and kept[-1][3] < span[3]:
                        kept.pop()
                    if not kept or kept[-1][1] < span[0]:
                        kept.append(span)
        entities = [
            Entity(document.offsets[a][0], document.offsets[b][1], label, confidence)
            for a, b, label, confidence in kept
        ]
        yield TextFindings(document, entities)


def _place(findings: TextFindings, tag: str | None, locator: Locator | None) -> TextFindings:
    if locator is None:
        return findings
    text = findings.document.text
    addresses = [entity for entity in findings.entities if entity.label == tag]
    # An address that a document repeats is one place.
    named = {" ".join(text[e.start : e.end].split()): e for e in reversed(addresses)}
    entities = sorted(named.values())
    names = [" ".join(text[e.start : e.end].split()) for e in entities]
    findings.places = list(zip(entities, locator.locate(names, text), strict=True))
    return findings
