"""What Jupyter shows: pictures and small tables as HTML, written by hand so that nothing is needed for it."""

from __future__ import annotations

import base64
import html
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from geomm.structures import ClassSpec


def in_notebook() -> bool:
    """Say whether this runs in a Jupyter kernel, where pages are shown rather than a terminal."""
    shell = sys.modules.get("IPython")
    kernel = shell.get_ipython() if shell is not None else None
    return kernel is not None and type(kernel).__name__ == "ZMQInteractiveShell"


@dataclass(frozen=True)
class Pictures:
    """Figures as files; Jupyter shows them below a cell.

    Attributes:
      paths: PNG and HTML files.
    """

    paths: tuple[Path, ...]

    def __iter__(self) -> Iterator[Path]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def _repr_html_(self) -> str:
        return "\n".join(map(picture_html, self.paths)) or "<i>no figures</i>"

    def _repr_png_(self) -> bytes | None:
        """Return the one figure's bytes, None where there are several or none is a PNG."""
        if len(self.paths) != 1 or self.paths[0].suffix != ".png":
            return None
        return self.paths[0].read_bytes()


def picture_html(path: Path) -> str:
    """Return a PNG or an HTML page as a part of another page, with everything in it."""
    if path.suffix == ".png":
        data = base64.b64encode(path.read_bytes()).decode()
        return (
            f'<img alt="{html.escape(path.stem)}" style="max-width:100%" src="data:image/png;base64,{data}">'
        )
    page = html.escape(path.read_text(encoding="utf-8"))
    return (
        f'<iframe title="{html.escape(path.stem)}" style="width:100%;height:30em" srcdoc="{page}"></iframe>'
    )


def table_html(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """Return a table of names and values; values are HTML."""
    lines = "".join(
        f'<tr><th style="text-align:left">{html.escape(name)}</th>'
        f'<td style="text-align:left">{value}</td></tr>'
        for name, value in rows
    )
    return f"<b>{html.escape(title)}</b><table>{lines}</table>"


def classes_html(classes: Sequence[ClassSpec]) -> str:
    """Return classes' values and names beside their colours."""
    return "<br>".join(
        f'<span style="background:rgb{item.color};padding:0 .6em;margin-right:.4em"></span>'
        f"{item.value} {html.escape(item.name)}"
        for item in classes
    )


def scores_html(scores: Iterable[tuple[str, float]]) -> str:
    """Return metrics by name as one line, those of single classes left out."""
    return ", ".join(f"{html.escape(name)} {value:.4g}" for name, value in scores if "/" not in name)
