"""A page of examples: texts with their entities, and the errors marked."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geomm.structures import class_color
from geomm.text import biluo_spans

_STYLE = """
body { font: 15px/1.9 system-ui, sans-serif; max-width: 60em; margin: 2em auto; color: #222 }
p { border-top: 1px solid #ddd; padding-top: .6em } small { color: #777 }
mark { border-radius: .25em; padding: .1em .25em; background: var(--label) }
mark b { font-size: .65em; margin-left: .4em; vertical-align: .15em }
mark.missed { background: none; outline: 2px dashed #c00 }
mark.wrong { outline: 2px solid #c00 }
"""


def write_examples(
    examples: Sequence[Mapping[str, Any]], labels: Sequence[str], path: Path, *, most: int = 100
) -> Path:
    """Write an HTML page of texts, those with the most errors first.

    Found entities stand on their label's colour; one that is not in the truth has a red frame, a true
    one that was not found a dashed red frame.

    Args:
      examples: dicts with ``words``, ``prediction`` and ``truth`` (BILUO tags) and ``name``.
      labels: kinds of entity.
      path: of the page; appears when complete.
      most: how many texts to show.
    """
    ranked = sorted(((_errors(item), at) for at, item in enumerate(examples)), key=lambda e: (-e[0], e[1]))
    shown = ranked[:most]
    wrong = sum(count > 0 for count, _ in ranked)
    legend = " ".join(
        f'<mark style="--label:{_color(label, labels)}">{html.escape(label)}</mark>' for label in labels
    )
    body = "\n".join(_paragraph(examples[at], labels) for _, at in shown)
    page = (
        f'<!doctype html><html><head><meta charset="utf-8"><title>Entities</title><style>{_STYLE}</style>'
        f"</head><body><h1>Entities</h1><div>{legend} "
        '<mark class="wrong">found, not true</mark> <mark class="missed">true, not found</mark></div>'
        f"<div><small>{len(examples)} texts, {wrong} with errors; {len(shown)} shown, the most errors first"
        f"</small></div>\n{body}\n</body></html>\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(page, encoding="utf-8", errors="replace")
    os.replace(temporary, path)
    return path


def _errors(item: Mapping[str, Any]) -> int:
    return len(set(biluo_spans(item["truth"])) ^ set(biluo_spans(item["prediction"])))


def _color(label: str, labels: Sequence[str]) -> str:
    red, green, blue = class_color(list(labels).index(label))
    return f"rgba({red},{green},{blue},.45)"


def _paragraph(item: Mapping[str, Any], labels: Sequence[str]) -> str:
    truth, found = (set(biluo_spans(item[key])) for key in ("truth", "prediction"))
    opens: dict[int, list[str]] = {}
    closes: dict[int, list[str]] = {}
    # Found entities are drawn as they are; missed ones around them, so that each mark is well nested
    # only where borders agree; a missed one that crosses a found one is named behind it instead.
    behind: dict[int, list[str]] = {}
    for span in sorted(found):
        kind = "" if span in truth else ' class="wrong"'
        _mark(opens, closes, span, f'<mark{kind} style="--label:{_color(span[2], labels)}">')
    for span in sorted(truth - found):
        crossed = any(span[0] <= other[1] and other[0] <= span[1] for other in found)
        if crossed:
            text = html.escape(" ".join(item["words"][span[0] : span[1] + 1]))
            note = f' <mark class="missed">{text}<b>{html.escape(span[2])}</b></mark>'
            behind.setdefault(max(o[1] for o in found if span[0] <= o[1] and o[0] <= span[1]), []).append(
                note
            )
        else:
            _mark(opens, closes, span, '<mark class="missed">')
    parts = []
    for at, word in enumerate(item["words"]):
        before, after = "".join(opens.get(at, [])), "".join(closes.get(at, []))
        parts.append(f"{before}{html.escape(word)}{after}{''.join(behind.get(at, []))}")
    return f"<p>{' '.join(parts)}<br><small>{html.escape(Path(item['name']).name)}</small></p>"


def _mark(
    opens: dict[int, list[str]], closes: dict[int, list[str]], span: tuple[int, int, str], tag: str
) -> None:
    first, last, label = span
    opens.setdefault(first, []).append(tag)
    closes.setdefault(last, []).append(f"<b>{html.escape(label)}</b></mark>")
