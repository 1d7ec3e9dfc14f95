"""The learning-rate range test: raise the rate step by step and watch the loss.

Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017.
"""

from __future__ import annotations

import copy
import gc
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from geomm.engine.distributed import over_processes


@dataclass(frozen=True)
class LrFinding:
    """What the range test chose, why, and the curve it looked at."""

    lr: float
    reason: str
    lrs: tuple[float, ...] = field(repr=False)
    losses: tuple[float, ...] = field(repr=False)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    def _repr_html_(self) -> str:
        import tempfile

        from geomm.visualization.curves import draw_lr_finder
        from geomm.visualization.notebook import picture_html

        with tempfile.TemporaryDirectory() as folder:
            picture = picture_html(
                draw_lr_finder(self.lrs, self.losses, self.lr, Path(folder, "lr_finder.png"))
            )
        return f"{picture}<br>learning rate {self.lr:.1e}: {self.reason}"

    @classmethod
    def load(cls, path: Path) -> LrFinding:
        data = json.loads(path.read_text(encoding="utf-8"))
        return cls(data["lr"], data["reason"], tuple(data["lrs"]), tuple(data["losses"]))


def find_lr(
    model: nn.Module,
    batches: Iterator[Any],
    optimizer: dict[str, Any],
    *,
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 80,
    device: torch.device | None = None,
    shard: bool = False,
) -> LrFinding:
    """Run the range test on a copy of the model.

    Args:
      model: an mmengine BaseModel on its device; left as it was.
      batches: endless training batches.
      optimizer: config of the optimizer that training will use.
      lowest: first rate.
      highest: last rate, reached after ``steps`` steps unless the loss blows up before.
      steps: how many batches to spend.
      device: where the model is; the CPU where not given.
      shard: divide the copy over the processes.
    """
    # A divided model is a copy already.
    begun = model if shard else copy.deepcopy(model)
    trial: Any = over_processes(begun.train(), device or torch.device("cpu"), shard=shard)
    wrapper = _wrapper(trial, {**optimizer, "lr": lowest})
    factor = (highest / lowest) ** (1 / max(steps - 1, 1))
    lrs: list[float] = []
    losses: list[float] = []
    best = math.inf
    for step in range(steps):
        lr = lowest * factor**step
        for group in wrapper.optimizer.param_groups:
            group["lr"] = lr
        loss = float(trial.train_step(next(batches), wrapper)["loss"].detach())
        lrs.append(lr)
        losses.append(loss)
        best = min(best, loss)
        if not math.isfinite(loss) or (step > 10 and loss > 4 * best + 1e-3):
            break
    del trial, wrapper
    gc.collect()  # the parts of a divided model know each other
    return choose_lr(np.asarray(lrs), np.asarray(losses))


def _wrapper(model: nn.Module, optimizer: dict[str, Any]) -> Any:
    from mmengine.optim import build_optim_wrapper

    return build_optim_wrapper(model, {"type": "OptimWrapper", "optimizer": optimizer})


def choose_lr(lrs: NDArray[np.float64], losses: NDArray[np.float64]) -> LrFinding:
    """Choose the rate at which the smoothed loss falls fastest per decade of rate.

    The choice is capped at a tenth of the rate at which the loss is lowest: beyond, training is on
    the verge of diverging. A curve that never falls gives 1e-3.
    """
    finite = np.isfinite(losses)
    lrs, losses = lrs[finite], losses[finite]
    curve = tuple(lrs.tolist()), tuple(losses.tolist())
    if len(losses) < 10:
        return LrFinding(1e-3, "the loss blew up at once; 1e-3 is a cautious guess", *curve)
    smooth = _smooth(losses, 0.85)
    lowest = int(np.argmin(smooth))
    if lowest < 3 or smooth[0] - smooth[lowest] < 0.01 * abs(smooth[0]):
        return LrFinding(1e-3, "the loss never fell clearly; 1e-3 is a cautious guess", *curve)
    slope = np.gradient(smooth, np.log10(lrs))
    steepest = int(np.argmin(slope[: lowest + 1]))
    lr = min(lrs[steepest], lrs[lowest] / 10)
    rounded = float(f"{lr:.1e}")
    reason = (
        f"the loss falls fastest at {lrs[steepest]:.1e} and is lowest at {lrs[lowest]:.1e}; "
        "the smaller of the first and a tenth of the second"
    )
    return LrFinding(rounded, reason, *curve)


def _smooth(values: NDArray[np.float64], beta: float) -> NDArray[np.float64]:
    """Exponential moving average, corrected for its start, run both ways so that it does not lag."""

    def one_way(series: NDArray[np.float64]) -> NDArray[np.float64]:
        average, out = 0.0, []
        for index, value in enumerate(series):
            average = beta * average + (1 - beta) * float(value)
            out.append(average / (1 - beta ** (index + 1)))
        return np.asarray(out)

    return (one_way(values) + one_way(values[::-1])[::-1]) / 2


def endless(loader: Any) -> Iterator[Any]:
    """Yield a loader's batches again and again."""
    while True:
        yield from loader
