"""Progress over the parts of an input: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import Any

_LOG = logging.getLogger("geomm")
_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts what is done.

    Args:
      name: of the input.
      total: parts to do, None where nobody knows.
      unit: what the parts are, in the plural.
      shown: False says nothing.
      live: False for lines on a terminal too, where several inputs are worked on at once.
    """

    def __init__(
        self, name: str, total: int | None, unit: str, *, shown: bool = True, live: bool = True
    ) -> None:
        self.name, self.total, self.unit, self.shown, self.live = name, total, unit, shown, live
        self.done = 0
        self._bar: Any = None

    def __enter__(self) -> Progress:
        self._started = self._line_at = time.monotonic()
        if self.shown and self.live and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=32),
                MofNCompleteColumn(),
                TextColumn(f"{self.unit}, {{task.fields[rate]}} {self.unit}/s"),
                TimeElapsedColumn(),
                TextColumn("<"),
                TimeRemainingColumn(),
            )
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self.name, total=self.total, rate="-")
        return self

    def advance(self, count: int = 1) -> None:
        """Count some more parts."""
        self.done = self.done + count if self.total is None else min(self.done + count, self.total)
        rate = self.done / max(time.monotonic() - self._started, 1e-9)
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, rate=f"{rate:.1f}")
        elif self.shown and time.monotonic() - self._line_at > _SECONDS_BETWEEN_LINES:
            self._line_at = time.monotonic()
            of = "" if self.total is None else f" of {self.total}"
            left = f", {(self.total - self.done) / rate:.0f} s left" if self.total and self.done else ""
            told = (self.name, self.done, of, self.unit, rate, self.unit, left)
            _LOG.info("%s: %d%s %s, %.1f %s/s%s", *told)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
