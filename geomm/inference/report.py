"""What a call of inference did, whatever its inputs were."""

from __future__ import annotations

import html
import logging
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from geomm.errors import DataError, of_system

_LOG = logging.getLogger("geomm")
#: Previews that Jupyter shows at most.
_SHOWN = 6


@dataclass
class PredictionReport:
    """What a call of inference did.

    Attributes:
      outputs: files written.
      failed: input and reason of each that could not be mapped.
      skipped: inputs whose result was already there.
      seconds: wall time.
      amount: how much was predicted, in ``unit``.
      unit: ``px``, ``points``, ``rows``, ….
    """

    outputs: list[Path] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0
    amount: int = 0
    unit: str = "px"

    def _repr_html_(self) -> str:
        """Show in Jupyter what was written, previews as pictures."""
        from geomm.visualization.notebook import picture_html, table_html

        rows = [("written", "<br>".join(html.escape(str(path)) for path in self.outputs))]
        rows += [("failed", html.escape(f"{name}: {reason}")) for name, reason in self.failed]
        rows += [("skipped", "<br>".join(map(html.escape, self.skipped)))] if self.skipped else []
        previews = [path for path in self.outputs if path.name.endswith("_preview.png")][:_SHOWN]
        title = f"{self.amount:,} {self.unit} in {self.seconds:.1f} s"
        return table_html(title, rows) + "".join(map(picture_html, previews))


def predict_each(
    inputs: Sequence[str],
    predict: Callable[[int], tuple[list[Path], int] | None],
    *,
    what: str,
    unit: str,
    on_error: str,
    finish: Callable[[PredictionReport], None] | None = None,
    at_once: int = 1,
) -> PredictionReport:
    """Predict inputs one after the other, each complete or not at all, and say what was done.

    Args:
      inputs: for messages.
      predict: from an input's position to the files written and the amount predicted; None where its
        result was already there.
      what: the inputs are, in the plural.
      unit: of the amount.
      on_error: ``skip`` goes on with the other inputs when one fails, ``raise`` stops.
      finish: called after the last input with the report so far, where inputs have a common result.
      at_once: inputs that are predicted at the same time, where the work is done elsewhere.

    Raises:
      DataError: with ``on_error="raise"``, of the first input that fails; an error of the system too, such as
        a full disk, is one.
    """
    started = time.monotonic()
    report = PredictionReport(unit=unit)
    results = _results(predict, len(inputs), at_once)
    for name, result in zip(inputs, results, strict=True):
        try:
            done = result()
        except (DataError, OSError) as error:
            failure = error if isinstance(error, DataError) else of_system(error, name)
            if on_error == "raise":
                raise failure from error
            _LOG.error("%s", failure)
            report.failed.append((name, str(failure)))
            continue
        if done is None:
            report.skipped.append(name)
        else:
            report.outputs += done[0]
            report.amount += done[1]
    results.close()
    if finish is not None:
        finish(report)
    report.seconds = time.monotonic() - started
    say(report, what, len(inputs))
    return report


def _results(
    predict: Callable[[int], tuple[list[Path], int] | None], count: int, at_once: int
) -> Generator[Callable[[], tuple[list[Path], int] | None], None, None]:
    """Yield what gives each input's result, in order; several are worked on at once in threads."""
    if at_once <= 1 or count <= 1:
        for position in range(count):
            yield partial(predict, position)
        return
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="geomm-input")
    try:
        for future in [pool.submit(predict, position) for position in range(count)]:
            yield future.result
    finally:
        pool.shutdown(cancel_futures=True)


def say(report: PredictionReport, what: str, count: int) -> None:
    """Log what was done of ``count`` inputs, ``what`` in the plural, and the files written."""
    done = count - len(report.failed) - len(report.skipped)
    rate = _short(report.amount / max(report.seconds, 1e-9), report.unit)
    said = f"{done} of {count} {what} done in {report.seconds:.1f} s ({rate}/s)"
    said += f", {len(report.skipped)} already there" if report.skipped else ""
    said += f", {len(report.failed)} failed" if report.failed else ""
    _LOG.info("%s", said)
    for name, _ in report.failed:
        _LOG.info("  failed: %s", name)
    for output in report.outputs:
        _LOG.info("  %s", output)


def _short(number: float, unit: str) -> str:
    if unit == "px":
        return f"{number / 1e6:.1f} Mpx"
    return f"{number:,.0f} {unit}"
