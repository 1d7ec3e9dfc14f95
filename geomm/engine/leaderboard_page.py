"""The leaderboard as one HTML file that needs nothing else: tables that sort, plots, links into the runs."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from geomm.engine.run_folder import CONFIG_FILE

if TYPE_CHECKING:
    from geomm.engine.leaderboard import Run

#: More plots than these are not looked at.
_MOST_CHOICES, _MOST_METRICS = 6, 4

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Leaderboard</title><style>
body { font: 14px/1.45 system-ui, sans-serif; margin: 2em; color: #222; }
h2 { margin: 1.6em 0 .5em; }
table { border-collapse: collapse; }
th, td { padding: .3em .7em; border-bottom: 1px solid #ddd; text-align: left; white-space: nowrap; }
th { cursor: pointer; position: sticky; top: 0; background: #f6f6f6; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
tr.best td { background: #fdf1d8; }
tr.failed td { color: #a33; white-space: normal; }
svg { max-width: 100%; height: auto; }
a { color: #1a5fb4; }
</style></head><body>
<h1>Leaderboard</h1>
"""
_TAIL = """<script>
for (const head of document.querySelectorAll("th")) head.addEventListener("click", () => {
  const body = head.closest("table").tBodies[0], column = head.cellIndex;
  const down = head.dataset.down = head.dataset.down === "1" ? "0" : "1";
  const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const order = (a, b) => {
    const [x, y] = [value(a), value(b)], [m, n] = [parseFloat(x), parseFloat(y)];
    const numbers = !isNaN(m) && !isNaN(n);
    return (numbers ? m - n : x.localeCompare(y)) * (down === "1" ? 1 : -1);
  };
  for (const row of [...body.rows].sort(order)) body.append(row);
});
</script></body></html>
"""


def write_page(runs: Sequence[Run], path: Path) -> Path:
    """Write the page: for each task a table, the best run first, and plots of what was chosen."""
    parts = [_HEAD, f"<p>{len(runs)} runs. A click on a heading sorts; a point opens its run.</p>\n"]
    for task in dict.fromkeys(run.task for run in runs):
        mine = [run for run in runs if run.task == task]
        parts += [f"<h2>{escape(task.replace('_', ' '))}</h2>\n", _table(mine, path), _plots(mine, path)]
    temporary = path.with_name(f"{path.name}.part")
    temporary.write_text("".join([*parts, _TAIL]), encoding="utf-8")
    os.replace(temporary, path)
    return path


def _table(runs: Sequence[Run], page: Path) -> str:
    choices = list(dict.fromkeys(key for run in runs for key in run.choices))
    metrics = list(dict.fromkeys(key for run in runs for key in run.metrics))
    monitored = next((run.metric for run in runs if run.metric), "")
    metrics.sort(key=lambda name: name != monitored)
    heads = ["run", *choices, "status", *metrics, "seconds", "files"]
    lines = ["<table><thead><tr>", *(f"<th>{escape(head)}</th>" for head in heads), "</tr></thead><tbody>\n"]
    for position, run in enumerate(runs):
        kind = (
            "failed"
            if run.status.startswith("failed")
            else "best"
            if not position and run.score is not None
            else ""
        )
        lines.append(f'<tr class="{kind}"><td>{_link(run.folder, page, run.name)}</td>')
        lines += [_cell(run.choices.get(key)) for key in choices]
        lines.append(_cell(run.status))
        lines += [_cell(run.metrics.get(key)) for key in metrics]
        lines.append(_cell(None if run.seconds is None else round(run.seconds)))
        lines.append(f"<td>{_files(run, page)}</td></tr>\n")
    return "".join([*lines, "</tbody></table>\n"])


def _files(run: Run, page: Path) -> str:
    links = [_link(run.folder / CONFIG_FILE, page, "config")]
    if run.package is not None:
        links.append(_link(run.package, page, "package"))
    links += [_link(figure, page, figure.stem) for figure in run.figures]
    return " · ".join(links)


def _link(target: Path, page: Path, text: str) -> str:
    return f'<a href="{_address(target, page)}">{escape(text)}</a>'


def _address(target: Path, page: Path) -> str:
    from geomm.engine.leaderboard import seen_from

    return quote(seen_from(page.parent, target))


def _cell(value: Any) -> str:
    from geomm.engine.leaderboard import cell

    if isinstance(value, int | float) and not isinstance(value, bool):
        return f'<td class="number" data-value="{value!r}">{escape(cell(value))}</td>'
    return f"<td>{escape(cell(value))}</td>"


def _plots(runs: Sequence[Run], page: Path) -> str:
    judged = [run for run in runs if run.score is not None]
    keys = list(dict.fromkeys(key for run in judged for key in run.choices))
    varied = [key for key in keys if len({repr(run.choices.get(key)) for run in judged}) > 1]
    if len(judged) < 2 or not varied:
        return ""
    from geomm.visualization.sweeps import draw_choices

    first = judged[0].metric
    names = sorted(
        dict.fromkeys(key for run in judged for key in run.metrics), key=lambda name: name != first
    )
    return draw_choices(
        {key: [run.choices.get(key) for run in judged] for key in varied[:_MOST_CHOICES]},
        {name: [run.metrics.get(name, math.nan) for run in judged] for name in names[:_MOST_METRICS]},
        links=[_address(run.folder, page) for run in judged],
        greater=judged[0].greater,
    )
