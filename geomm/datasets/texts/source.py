"""Labelled texts as training data: read, tokenised, split by document, cut into windows."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geomm.datasets.texts.tag_schemes import SCHEMES, detect_scheme, scheme_name, spans_to_tags, tags_to_spans
from geomm.errors import ConfigError, DataError, did_you_mean
from geomm.io.labelled_text import (
    LABELLED_ENDINGS,
    BrokenText,
    Labelled,
    MarkedText,
    TaggedTokens,
    read_labelled,
)
from geomm.io.paths import expand
from geomm.registry import DATASETS
from geomm.text import Document, Entity, TextSpec
from geomm.transforms.tokens import align, split_tokens, tokenize, training_windows

_LOG = logging.getLogger("geomm")


@DATASETS.register_module()
class TextDocuments:
    """Documents with entities, from any format of ``geomm.io.labelled_text``.

    Args:
      path: a file, glob, folder or list of these.
      sample: made-up documents instead, by name.
      format: of the files, ``auto`` by their endings.
      scheme: of tags, ``auto`` by what they hold.
      malformed: ``repair`` reads broken tag sequences, overlapping entities and values that the text
        does not hold as best it can, and counts them; ``refuse`` stops at them.
      language: code of spaCy's tokenizer, for documents that come as text.
      text_field: column or key of the text, in csv and JSON lines.
      labels: kinds of entity to learn, None for all.
      address_tag: the label whose entities inference places on the map; None for no such label.
      window_tokens: most tokens that the model reads at once; whole sentences where they fit.
      split: shares of validation and test, by whole documents, and their seed.
      val_path: documents kept for validation alone.
      test_path: documents kept for the test alone.
      encoding: of the files, ``auto`` to find it out.
      on_error: ``raise`` stops at a document that cannot be used, ``skip`` leaves it out, counted.
      augment: changes of training samples; texts have none.
      seed: of the run.
    """

    def __init__(
        self,
        *,
        path: str | Sequence[str] | None = None,
        sample: str | None = None,
        format: str = "auto",
        scheme: str = "auto",
        malformed: str = "repair",
        language: str = "en",
        text_field: str = "text",
        labels: Sequence[str] | None = None,
        address_tag: str | None = "Address",
        window_tokens: int = 64,
        split: Mapping[str, Any] | None = None,
        val_path: str | Sequence[str] | None = None,
        test_path: str | Sequence[str] | None = None,
        encoding: str = "auto",
        on_error: str = "raise",
        augment: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.paths = {"train": path, "val": val_path, "test": test_path}
        self.sample = sample
        self.format, self.text_field, self.encoding = format, text_field, encoding
        self.scheme = scheme if scheme == "auto" else scheme_name(scheme)
        self.malformed, self.on_error = malformed, on_error
        self.language, self.window_tokens = language, window_tokens
        self.labels, self.address_tag = labels, address_tag
        self.shares = {"val": 0.2, "test": 0.0, **(split or {})}
        self.seed = seed
        self.documents: dict[str, list[Document]] = {}
        self._windows: dict[str, TextWindows] = {}
        self._met: set[str] = set()

    def prepare(self, cache: Path) -> TextSpec:
        """Read and split all documents; return what a model must know of them.

        Args:
          cache: unused, since reading texts takes less time than a copy of them would.

        Raises:
          DataError: there are no documents or entities, or a document cannot be used.
          ConfigError: an option names what the documents do not have.
        """
        paths: dict[str, Any] = dict(self.paths)
        if self.sample is not None:
            from geomm.samples import make

            made = make(self.sample)
            if "labelled_text" not in made:
                raise ConfigError(f"dataset.sample={self.sample}: this sample holds no labelled texts")
            paths["train"] = made["labelled_text"]
        if paths["train"] is None:
            raise ConfigError("dataset.path: a value is required and missing; give a file, glob or folder")
        given = {name: self._read(path) for name, path in paths.items() if path is not None}
        self.documents = self._split(given)
        counts = _count_labels(self.documents["train"])
        labels = self._choose_labels(counts)
        self._windows = {
            name: TextWindows(documents, self.window_tokens) for name, documents in self.documents.items()
        }
        self._say(counts)
        tag = self.address_tag if self.address_tag in labels else None
        if self.address_tag and tag is None and self.address_tag != "Address":
            raise ConfigError(f"dataset.address_tag: unknown label; {did_you_mean(self.address_tag, labels)}")
        if self.address_tag and tag is None:
            _LOG.info("no entity is called Address: none is placed on the map; dataset.address_tag names one")
        return TextSpec(labels, self.language, self.window_tokens, tag, {k: counts[k] for k in labels})

    def split(self, name: str) -> TextWindows:
        """Return the windows of a split."""
        return self._windows[name]

    def _choose_labels(self, counts: Counter[str]) -> tuple[str, ...]:
        if not counts and not self._met:
            raise DataError(f"{self.paths['train'] or self.sample}: no training document holds an entity")
        if self.labels is None:
            return tuple(sorted(counts))
        missing = [label for label in self.labels if label not in counts]
        if missing:
            raise ConfigError(
                f"dataset.labels: no training document holds {missing[0]!r}; "
                f"{did_you_mean(missing[0], self._met)}"
            )
        return tuple(sorted(self.labels))

    def _say(self, counts: Counter[str]) -> None:
        shown = ", ".join(f"{label} {count}" for label, count in counts.most_common(12))
        sizes = ", ".join(f"{len(docs)} {name}" for name, docs in self.documents.items() if docs)
        _LOG.info("documents: %s; entities to learn from: %s", sizes, shown)

    def _split(self, given: Mapping[str, list[Document]]) -> dict[str, list[Document]]:
        """Draw validation and test documents from the training ones, where they have none of their own."""
        own_seed = self.shares.get("seed")
        rng = np.random.default_rng(self.seed if own_seed is None else own_seed)
        rest = given["train"]
        order = rng.permutation(len(rest)).tolist()
        out = {"train": rest, "val": given.get("val", []), "test": given.get("test", [])}
        at = 0
        for name in ("val", "test"):
            if name not in given and self.shares[name] > 0 and len(rest) > 1:
                count = max(1, round(self.shares[name] * len(rest)))
                out[name] = [rest[i] for i in sorted(order[at : at + count])]
                at += count
        out["train"] = [rest[i] for i in sorted(order[at:])]
        if not out["train"]:
            raise DataError(f"{len(rest)} documents leave none to learn from; lower dataset.split")
        return out

    def _read(self, path: Any) -> list[Document]:
        tally: Counter[str] = Counter()
        found: list[Document] = []
        broken: list[str] = []
        for file in self._files(path):
            try:
                records = list(
                    read_labelled(
                        file, format=self.format, text_field=self.text_field, encoding=self.encoding
                    )
                )
            except DataError as error:
                if self.on_error == "raise":
                    raise
                broken.append(str(error))
                continue
            scheme = self._scheme_of(records)
            for record in records:
                try:
                    document = self._document(record, scheme, tally)
                except DataError as error:
                    if self.on_error == "raise":
                        raise
                    broken.append(str(error))
                    continue
                if document.offsets:
                    found.append(document)
                else:
                    tally["empty documents left out"] += 1
        for what, count in tally.items():
            _LOG.warning("%s: %d %s", path or self.sample, count, what)
        if broken:
            _LOG.warning("%d documents or files left out, the first: %s", len(broken), broken[0])
        if not found:
            raise DataError(f"{path}: no document with text")
        return found

    def _files(self, path: Any) -> list[str]:
        files = expand(path, LABELLED_ENDINGS)
        names = {Path(file).name.lower() for file in files}
        skip = {"tags.csv", "tag.csv"} if names & {"tokens.csv", "token.csv"} else set()
        return [file for file in files if Path(file).name.lower() not in skip]

    def _scheme_of(self, records: Iterable[Labelled]) -> str:
        if self.scheme != "auto":
            return self.scheme
        return detect_scheme(record.tags for record in records if isinstance(record, TaggedTokens))

    def _document(self, record: Labelled, scheme: str, tally: Counter[str]) -> Document:
        if isinstance(record, BrokenText):
            raise DataError(f"{record.name}: {record.reason}")
        if isinstance(record, TaggedTokens):
            return self._from_tags(record, scheme, tally)
        return self._from_offsets(record, tally)

    def _from_tags(self, record: TaggedTokens, scheme: str, tally: Counter[str]) -> Document:
        spans, faults = tags_to_spans(record.tags, scheme)
        if faults and self.malformed == "refuse":
            raise DataError(
                f"{record.name}: {faults} tags break the scheme {scheme} (of {', '.join(SCHEMES)}); give "
                "dataset.scheme, correct them, or let dataset.malformed=repair read them"
            )
        if faults:
            tally[f"tags that break the scheme {scheme}, repaired"] += faults
        self._met.update(span[2] for span in spans)
        wanted = [span for span in spans if self.labels is None or span[2] in self.labels]
        tags = spans_to_tags(wanted, len(record.tokens), "BILUO")
        offsets, at = [], 0
        for token in record.tokens:
            offsets.append((at, at + len(token)))
            at += len(token) + 1
        text = " ".join(record.tokens)
        return Document(text, tuple(offsets), tuple(tags), record.breaks, record.name)

    def _from_offsets(self, record: MarkedText, tally: Counter[str]) -> Document:
        bare = [_without_space(record.text, entity) for entity in record.entities]
        self._met.update(entity.label for entity in bare)
        wanted = [e for e in bare if e.start < e.end and (self.labels is None or e.label in self.labels)]
        entities = _apart(wanted)
        problems = {
            "entities that overlap another, left out": len(set(wanted)) - len(entities),
            "values that their text does not hold, left out": record.lost,
        }
        for what, count in problems.items():
            if count and self.malformed == "refuse":
                raise DataError(
                    f"{record.name}: {count} {what.partition(',')[0]}; correct them or let "
                    "dataset.malformed=repair leave them out"
                )
            if count:
                tally[what] += count
        offsets, breaks = tokenize(record.text, self.language)
        cut, _ = split_tokens(offsets, entities)
        if cut != offsets:
            starts = {offsets[at][0] for at in breaks}
            breaks = tuple(at for at, (start, _) in enumerate(cut) if start in starts)
        tags = spans_to_tags(align(cut, entities), len(cut), "BILUO")
        return Document(record.text, cut, tuple(tags), breaks, record.name)


def _without_space(text: str, entity: Entity) -> Entity:
    inner = text[entity.start : entity.end]
    start = entity.start + len(inner) - len(inner.lstrip())
    return Entity(start, max(start, entity.start + len(inner.rstrip())), entity.label)


def _apart(entities: Iterable[Entity]) -> list[Entity]:
    """Return entities that do not overlap, longer ones first come."""
    kept: list[Entity] = []
    for entity in sorted(set(entities), key=lambda e: (e.start - e.end, e.start, e.label)):
        if all(entity.end <= other.start or other.end <= entity.start for other in kept):
            kept.append(entity)
    return sorted(kept)


def _count_labels(documents: Iterable[Document]) -> Counter[str]:
    return Counter(tag[2:] for document in documents for tag in document.tags or () if tag[0] in "BU")


class TextWindows:
    """The windows of a split; sample ``i`` is the window at ``i`` modulo their number.

    Args:
      documents: labelled.
      window_tokens: most tokens a window.
    """

    def __init__(self, documents: Sequence[Document], window_tokens: int) -> None:
        self.windows = [
            piece for document in documents for piece in training_windows(document, window_tokens)
        ]

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, number: int) -> Document:
        return self.windows[number % len(self.windows)]
