"""Where geomm's own messages go: plain lines on stderr, and a file beside a run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geomm.visualization.notebook import in_notebook


@contextmanager
def log_to(file: Path | None = None, *, quiet: bool = False) -> Iterator[None]:
    """Send the ``geomm`` logger to stderr (in Jupyter to stdout), and to ``file``, within the context.

    Args:
      file: appended to.
      quiet: errors alone, where another process says the rest.
    """
    logger = logging.getLogger("geomm")
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout if in_notebook() else sys.stderr)]
    if file is not None:
        handlers.append(logging.FileHandler(file, encoding="utf-8"))
        handlers[1].setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.ERROR if quiet else logging.INFO)
    logger.propagate = False
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(level)
        logger.propagate = propagate
