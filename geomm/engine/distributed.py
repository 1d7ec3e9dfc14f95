"""Training by several processes, as torchrun starts them, with the result that one process would have.

A step's batch is divided over the processes; gradients, batch normalisation and the weights that losses are
divided by are those of the whole batch. The first process alone writes.
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from mmengine.dist import get_dist_info, is_distributed
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from torch import Tensor
from torch.overrides import TorchFunctionMode

from geomm.config.processes import local_rank, process_count
from geomm.errors import ConfigError, DataError, GeommError, Problem
from geomm.models.whole_batch import summed

T = TypeVar("T")
_MOMENT_S = 0.3
#: The first process scans scenes and draws figures while the others wait.
_PATIENCE = datetime.timedelta(hours=4)


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Join the processes that torchrun started while the context lasts; alone, do nothing.

    Args:
      device: of this process; its kind decides how they talk, ``nccl`` on GPUs and ``gloo`` on CPUs.
    """
    if process_count() == 1 or is_distributed():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    os.environ.setdefault("MKL_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield
        dist.barrier()
    finally:
        leave()


def leave() -> None:
    """Leave the group of processes that ``torch.distributed`` knows.

    Gloo's threads drop the tensors of a collective a moment after it is done, for which they need the
    interpreter. The end of the group waits for them and holds the interpreter meanwhile (torch 2.11), so that
    neither would go on: they are given that moment before.
    """
    time.sleep(_MOMENT_S)
    dist.destroy_process_group()


def agreed(value: T) -> T:
    """Return what the first process says."""
    if not is_distributed():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gathered(value: T) -> list[T]:
    """Return every process's value, in the order of the processes."""
    if not is_distributed():
        return [value]
    box: list[Any] = [None] * get_dist_info()[1]
    dist.all_gather_object(box, value)
    return box


def in_turns(make: Callable[[], T]) -> T:
    """Make something that is kept on disk: the first process first, then the first of each other machine.

    The rest come last, and find what was kept. All stop where one fails.

    Raises:
      DataError: with the reason of the process that failed.
    """
    if not is_distributed():
        return make()
    rank, _ = get_dist_info()
    turn = 0 if rank == 0 else 1 if local_rank() == 0 else 2
    made: list[T] = []
    for number in range(3):
        failure: GeommError | None = None
        if number == turn:
            try:
                made.append(make())
            except GeommError as error:
                failure = error
        reasons = gathered(None if failure is None else str(failure))
        if failure is not None:
            raise failure
        reason = next((text for text in reasons if text is not None), None)
        if reason is not None:
            raise DataError(reason)
    return made[0]


def share_of(batch_size: int) -> int:
    """Return how many of a step's samples are this process's.

    Raises:
      ConfigError: they cannot be divided evenly.
    """
    count = int(get_dist_info()[1])
    if batch_size % count:
        near = max(batch_size // count, 1) * count
        message = f"found {batch_size}, expected a multiple of the {count} processes, such as {near}"
        raise ConfigError([Problem("schedule.batch_size", message)])
    return batch_size // count


def spread(model: torch.nn.Module, device: torch.device) -> None:
    """Give every process the first one's weights and buffers, tensor by tensor through the device."""
    if is_distributed():
        for value in model.state_dict().values():
            moved = value.to(device)
            dist.broadcast(moved, src=0)
            value.copy_(moved)


def over_processes(
    model: Any, device: torch.device, *, shard: bool = False, dtype: torch.dtype | None = None
) -> Any:
    """Return a model on its device, wrapped where several processes train it.

    Args:
      model: an mmengine BaseModel, on any device.
      device: of this process.
      shard: divide the model over the processes; else each has a whole copy.
      dtype: of mixed precision, for a divided model; None for float32.
    """
    if not is_distributed():
        return model.to(device)
    if shard:
        from geomm.engine.sharding import ShardedModel

        spread(model, device)
        return ShardedModel(model, device, dtype)
    model = model.to(device)
    return WholeBatchModel(
        module=model,
        device_ids=[device.index or 0] if device.type == "cuda" else None,
        broadcast_buffers=False,
        # Some heads leave a part alone where a batch has nothing for it.
        find_unused_parameters=True,
    )


class WholeBatchModel(MMDistributedDataParallel):
    """A model whose training step is that of the whole batch, of which each process has a part."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.means = MeansOverProcesses()

    def _run_forward(self, data: Any, mode: str) -> Any:
        with SharedStatistics():
            return super()._run_forward(data, mode)

    def train_step(self, data: Any, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """Do a step; return the losses as means over the processes, the same in each."""
        return self.means(super().train_step(data, optim_wrapper), next(self.parameters()).device)


class MeansOverProcesses:
    """The means of named numbers over the processes, the same in each.

    The names are those that any process had at the first call. Later ones may lack some, as where a
    part of a batch has nothing for a head; each mean is over the processes that have its number.
    """

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, found: Mapping[str, Any], device: torch.device) -> dict[str, Tensor]:
        """Return the means; all processes must call.

        Args:
          found: numbers, or tensors whose means count.
          device: on which processes exchange them.
        """
        if not self.names:
            self.names = list(dict.fromkeys(name for names in gathered(list(found)) for name in names))
        own = [found.get(name) for name in self.names]
        values = [0.0 if value is None else torch.as_tensor(value).detach().float().mean() for value in own]
        there = torch.tensor([float(value is not None) for value in own])
        numbers = torch.stack([torch.as_tensor(value).to(device) for value in values])
        total, count = summed(torch.stack([numbers, there.to(device)]))
        return {name: total[i] / count[i] for i, name in enumerate(self.names) if count[i] > 0}


class SharedStatistics(TorchFunctionMode):
    """Batch normalisation by the statistics of all processes' samples, whatever module asks for it.

    Takes the place of ``torch.nn.functional.batch_norm`` in training while the context lasts, on CPUs too,
    where torch's own SyncBatchNorm does not run. Both passes are differentiable through the sums.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.batch_norm:
            return _batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Do as ``torch.nn.functional.batch_norm``, in training over the samples of all processes."""
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    axes = [axis for axis in range(input.dim()) if axis != 1]
    shape = [1, -1, *[1] * (input.dim() - 2)]
    x = input.float()
    own = x.new_tensor([x.numel() / x.shape[1]])
    totals = summed(torch.cat([x.sum(axes), own]))
    count, mean = totals[-1], totals[:-1] / totals[-1]
    centred = x - mean.view(shape)
    var = summed((centred**2).sum(axes)) / count
    with torch.no_grad():
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            unbiased = var * count / (count - 1).clamp(min=1)
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    out = centred * torch.rsqrt(var + eps).view(shape)
    if weight is not None:
        out = out * weight.view(shape)
    if bias is not None:
        out = out + bias.view(shape)
    return out.to(input.dtype)
