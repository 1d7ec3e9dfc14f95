"""What torchrun says of the processes that it started, without loading torch."""

from __future__ import annotations

import os


def process_count() -> int:
    """Return how many processes torchrun started, 1 without it; needs no process group."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def local_rank() -> int:
    """Return this process's number on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))
