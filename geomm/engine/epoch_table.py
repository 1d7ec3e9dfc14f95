"""Progress of a training run in Jupyter: a table with a row an epoch, below the cell."""

from __future__ import annotations

import html
import time
from collections.abc import Mapping
from typing import Any

_SECONDS_BETWEEN_STEPS = 0.5
_MOST_COLUMNS = 6


class EpochTable:
    """A table that grows while a cell runs.

    Args:
      monitor: the validation metric that comes first.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self.rows: list[tuple[str, ...]] = []
        self.columns: list[str] = []
        self._line, self._stepped = "", 0.0
        self._display: Any = None

    def show(self, epoch: int, epochs: int) -> None:
        """Put the table on the page."""
        from IPython.display import HTML, display

        self._line = f"epoch {epoch + 1} of {epochs}"
        self._display = display(HTML(self.html()), display_id=True)  # type: ignore[no-untyped-call]

    def step(self, done: int, steps: int, loss: float, rate: float) -> None:
        """Say how far training is; at most twice a second."""
        if time.monotonic() - self._stepped > _SECONDS_BETWEEN_STEPS or done == steps:
            self._stepped = time.monotonic()
            self._line = f"step {done} of {steps}: loss {loss:.4f}, {rate:.2f} steps/s"
            self._update()

    def add(self, epoch: int, loss: float, metrics: Mapping[str, float], seconds: float) -> None:
        """Add an epoch's row."""
        if not self.columns:
            names = [name for name in metrics if "/" not in name and name != self.monitor]
            self.columns = [self.monitor, *names][:_MOST_COLUMNS]
        values = (f"{metrics.get(name, float('nan')):.4f}" for name in self.columns)
        self.rows.append((str(epoch), f"{loss:.4f}", *values, f"{seconds:.0f} s"))
        self._update()

    def _update(self) -> None:
        if self._display is not None:
            from IPython.display import HTML

            self._display.update(HTML(self.html()))  # type: ignore[no-untyped-call]

    def html(self) -> str:
        """Return the table, and below it how far training is."""
        names = ("epoch", "loss", *self.columns, "time") if self.rows else ()
        head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows
        )
        return f"<table><tr>{head}</tr>{body}</table><small>{html.escape(self._line)}</small>"
