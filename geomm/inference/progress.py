"""Progress over the tiles of a scene: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import Any

from geomm.inference.tiles import TileBatch

_LOG = logging.getLogger("geomm")
_SECONDS_BETWEEN_LINES = 10.0


class TileProgress:
    """Counts tiles.

    Args:
      name: of the scene.
      total: tiles to do.
      shown: False says nothing.
    """

    def __init__(self, name: str, total: int, *, shown: bool = True) -> None:
        self.name, self.total, self.shown = name, total, shown
        self.done = 0
        self._bar: Any = None

    def __enter__(self) -> TileProgress:
        self._started = self._line_at = time.monotonic()
        if self.shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=32),
                MofNCompleteColumn(),
                TextColumn("tiles, {task.fields[rate]} tiles/s"),
                TimeElapsedColumn(),
                TextColumn("<"),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self.name, total=self.total, rate="-")
        return self

    def advance(self, batch: TileBatch) -> None:
        """Count a batch."""
        self.done = min(self.done + len(batch.tiles), self.total)
        rate = self.done / max(time.monotonic() - self._started, 1e-9)
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, rate=f"{rate:.1f}")
        elif self.shown and time.monotonic() - self._line_at > _SECONDS_BETWEEN_LINES:
            self._line_at = time.monotonic()
            left = (self.total - self.done) / max(rate, 1e-9)
            _LOG.info(
                "%s: %d of %d tiles, %.1f tiles/s, %.0f s left",
                self.name,
                self.done,
                self.total,
                rate,
                left,
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
