"""The options of mapping tables, as configs/inference/tabular.yaml lists them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geomm.errors import ConfigError, Problem
from geomm.inference.options import MapOptions


@dataclass(frozen=True)
class TabularOptions(MapOptions):
    """What is predicted for rows and pixels; see configs/inference/tabular.yaml for what each is for."""

    format: str = "auto"
    layer: str | None = None
    probabilities: bool = True
    interval: float | None = None
    unseen: str = "warn"
    rasters: Mapping[str, str] | Sequence[str] | str | None = None
    distances: Mapping[str, str] | None = None
    grid: str | None = None

    def rows_a_batch(self) -> int:
        """Return how many rows are read, predicted and written at a time."""
        return 16384 if self.batch_size == "auto" else int(self.batch_size)

    def check_interval(self, kind: str) -> float | None:
        """Return the share of true values that an interval holds, None where none is asked for.

        Raises:
          ConfigError: it is none, or the model has no intervals.
        """
        share: Any = self.interval
        if share is None:
            return None
        if not isinstance(share, int | float) or not 0 < share < 1:
            raise ConfigError(
                [Problem("inference.interval", f"found {share!r}, expected a share between 0 and 1")]
            )
        if kind != "regression":
            raise ConfigError(
                [Problem("inference.interval", "classes have no interval; take inference.probabilities")]
            )
        return float(share)
