"""Finding the batch size that fits a GPU."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


def largest_batch(model: nn.Module, make_batch: Any, *, most: int = 256) -> int:
    """Return the largest power-of-two batch that a training step on the GPU has memory for.

    Args:
      model: an mmengine BaseModel on a CUDA device; left as it was.
      make_batch: called with a batch size, returns a collated batch.
      most: where to stop trying.
    """
    fits, size = 1, 1
    while size <= most:
        trial: Any = copy.deepcopy(model).train()
        try:
            data = trial.data_preprocessor(make_batch(size), True)
            losses = trial(**data, mode="loss")
            trial.parse_losses(losses)[0].backward()
        except torch.cuda.OutOfMemoryError:
            break
        finally:
            del trial
            torch.cuda.empty_cache()
        fits, size = size, size * 2
    # The optimizer's own state and fragmentation need room too.
    return max(1, fits // 2)
