"""Keeping the memory of one batch for the next."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Parameters of mallopt(3) and the values that glibc starts with or would settle at.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEEP, _USUAL = 1 << 30, 1 << 25


@contextmanager
def reused_memory(device: torch.device) -> Iterator[None]:
    """Keep what a batch frees on the CPU while the context lasts, then give it back.

    glibc returns large blocks to the system as soon as they are freed, and the next batch then pays
    a page fault for every 4 kB of every activation: for a small network more than its own work. All
    threads share one arena, where a process has not made more yet: what the reader's thread frees,
    the model's can then use, and memory hardly grows with the scene's width. Nothing happens with
    other C libraries, or where the batches are on a GPU.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" and device.type == "cpu" else None
    if library is None or not (hasattr(library, "mallopt") and hasattr(library, "malloc_trim")):
        yield
        return
    library.mallopt(_M_ARENA_MAX, 1)
    _set(library, _KEEP)
    try:
        yield
    finally:
        _set(library, _USUAL)
        library.malloc_trim(0)


def _set(library: ctypes.CDLL, threshold: int) -> None:
    library.mallopt(_M_MMAP_THRESHOLD, threshold)
    library.mallopt(_M_TRIM_THRESHOLD, threshold)
