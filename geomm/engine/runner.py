"""mmengine's Runner, set up from geomm's config."""

from __future__ import annotations

import gc
import io
import logging
import math
import multiprocessing
import os
import pickle
import time
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import is_distributed, is_main_process
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import EMAHook
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from geomm.engine.distributed import agreed, over_processes, spread
from geomm.engine.hooks import BEST, LAST, EpochCheckpointHook, EpochSeedHook, save_checkpoint
from geomm.engine.optimization import optim_wrapper, param_scheduler
from geomm.engine.progress import ProgressHook
from geomm.errors import GeommError
from geomm.tasks.base import Task

_LOG = logging.getLogger("geomm")


class TrainingRunner(Runner):
    """A Runner whose console stays quiet, that keeps its device, and that can be interrupted.

    ``geomm_training`` tells hooks whether a validation belongs to training.
    """

    geomm_training = False
    device: torch.device = torch.device("cpu")
    shard: bool = False
    model: Any
    dtype: torch.dtype | None = None

    def build_logger(self, log_level: Any = "INFO", log_file: str | None = None, **kwargs: Any) -> MMLogger:
        """Send mmengine's own messages to its log file; the console has geomm's."""
        logger = super().build_logger(log_level=log_level, log_file=log_file, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.setLevel(logging.ERROR)
        return logger

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """Let loaders fork in a joblib worker too, as mmengine does with a warning."""
        if multiprocessing.get_start_method(allow_none=True) == "loky":
            multiprocessing.set_start_method("fork", force=True)
        super().setup_env(env_cfg)

    def dump_config(self) -> None:
        """Do nothing: the run's config.yaml is written before."""

    def wrap_model(self, model_wrapper_cfg: Any, model: Any) -> Any:
        if self.shard:
            # What training begins with is done to the whole model: a divided one has parts of tensors.
            model.init_weights()
        return over_processes(model, self.device, shard=self.shard, dtype=self.dtype)

    def _init_model_weights(self) -> None:
        if not self.shard:
            super()._init_model_weights()

    def build_optim_wrapper(self, optim_wrapper: Any) -> OptimWrapper:
        """Build the optimizer; that of a divided model saves and loads whole states."""
        built = super().build_optim_wrapper(optim_wrapper)
        if self.shard and built is not optim_wrapper:
            self.model.follow(built.optimizer)
        return built

    def save_checkpoint(self, *args: Any, **options: Any) -> None:
        """Save from the first process; what is divided is gathered by all."""
        if is_main_process():
            super().save_checkpoint(*args, **options)
        elif self.shard:
            self.model.module.state_dict()
            self.optim_wrapper.state_dict()  # type: ignore[attr-defined]

    def resume(self, filename: str, *args: Any, **options: Any) -> None:
        """Go on from a checkpoint at the rate that the config's own course has there.

        So a longer course than the checkpoint's, or another one, counts. Of a model that will be divided
        no GPU holds the whole.
        """
        groups = self.optim_wrapper.param_groups  # type: ignore[attr-defined]
        fresh = [{key: value for key, value in group.items() if key != "params"} for group in groups]
        options = {**options, "resume_param_scheduler": False}
        said = io.StringIO()
        with redirect_stdout(said):  # mmengine prints how it reads a file; that is for its log
            super().resume(filename, *args, **{**options, **({"map_location": "cpu"} if self.shard else {})})
        self.logger.info(said.getvalue().strip())
        self._run_through_course(fresh)

    def _run_through_course(self, fresh: Sequence[dict[str, Any]]) -> None:
        """Bring rate and momentum from their beginning to the epoch that comes next."""
        groups = self.optim_wrapper.param_groups  # type: ignore[attr-defined]
        schedulers: Any = self.param_schedulers
        for group, begun in zip(groups, fresh, strict=True):
            group.update(begun)
        done = min(self.epoch, self.max_epochs) * len(self.train_dataloader)
        with warnings.catch_warnings():
            # No step of the optimizer comes before these, as mmengine would have it.
            warnings.filterwarnings("ignore", message="Detected call of `scheduler.step")
            for _ in range(done):
                for scheduler in schedulers:
                    scheduler.step()

    def train_interruptibly(self) -> bool:
        """Train; return whether Ctrl-C ended it. A checkpoint is left either way.

        Raises:
          KeyboardInterrupt: a divided model was interrupted before its first checkpoint.
        """
        self.geomm_training = True
        try:
            self.train()
        except KeyboardInterrupt:
            if not (Path(self.work_dir) / LAST).is_file():
                if self.shard:  # in the middle of a step the parts are not gathered any more
                    raise
                save_checkpoint(self, BEST)
            _LOG.warning("interrupted in epoch %d", self.epoch + 1)
            return True
        finally:
            self.geomm_training = False
            for hook in self.hooks:
                if isinstance(hook, ProgressHook):
                    hook.close()
        return False

    @property
    def bare_model(self) -> Any:
        """The whole model, without a distributed wrapper."""
        if self.shard and hasattr(self.model, "whole"):
            return self.model.whole
        return self.model.module if hasattr(self.model, "module") else self.model

    @property
    def best(self) -> dict[str, Any]:
        """Score and epoch of the best checkpoint."""
        hook = next(hook for hook in self.hooks if isinstance(hook, EpochCheckpointHook))
        return hook.state(self)

    def load_best(self, name: str = BEST) -> None:
        """Load the best checkpoint's weights, where one was saved; the model is whole from then on.

        Args:
          name: of the checkpoint; ``last.pth`` of a run that was not validated.
        """
        file = Path(self.work_dir) / name
        saved = agreed(file.is_file())
        if self.shard:
            if not saved:
                self.model.eval()  # gathers
            self.model = self.model.whole.to(self.device)
            self.optim_wrapper = self.param_schedulers = None
            gc.collect()
        if is_main_process() and saved:
            state = torch.load(file, map_location="cpu", weights_only=False)["state_dict"]
            self.bare_model.load_state_dict(state)
        spread(self.bare_model, self.device)

    def evaluate(self, loader: DataLoader[Any], metrics: Sequence[BaseMetric]) -> dict[str, float]:
        """Run an evaluation outside training; the metric objects keep what they accumulated."""
        return evaluate(self.model, loader, metrics)

    def history(self) -> dict[str, list[tuple[int, float]]]:
        """Return every scalar of the run as name -> [(training step, value), …]."""
        curves: dict[str, list[tuple[int, float]]] = {}
        steps_an_epoch = max(len(self.train_dataloader), 1)
        for name, buffer in self.message_hub.log_scalars.items():
            values = [float(value) for value in buffer.data[0]]
            stride = steps_an_epoch * self.train_loop.val_interval if name.startswith("val/") else 1
            curves[name] = [((i + 1) * stride, v) for i, v in enumerate(values) if math.isfinite(v)]
        return curves


def evaluate(model: Any, loader: DataLoader[Any], metrics: Sequence[BaseMetric]) -> dict[str, float]:
    """Run a model over a loader and return every metric's results."""
    evaluator = Evaluator([collected(metric) for metric in metrics])
    model = model.eval()
    with torch.inference_mode():
        for batch in loader:
            evaluator.process(data_samples=model.val_step(batch), data_batch=batch)
    results = evaluator.evaluate(len(loader.dataset))  # type: ignore[arg-type]
    return {key: float(value) for key, value in results.items()}


def collected(metric: BaseMetric) -> BaseMetric:
    """Let a metric collect what several processes found by messages, not by files in a shared folder."""
    metric.collect_device = "gpu" if is_distributed() else "cpu"
    return metric


def make_runner(
    *,
    model: Any,
    config: dict[str, Any],
    schedule: dict[str, Any],
    task: Task,
    device: torch.device,
    train_loader: DataLoader[Any],
    val_loader: DataLoader[Any] | None,
    metrics: list[BaseMetric],
) -> TrainingRunner:
    """Build the Runner of a run: loops, optimizer, schedule, hooks, trackers, resume.

    Without a ``val_loader`` nothing is validated, and training ends with its last epoch.
    """
    folder = Path(config["work_dir"])
    last = folder / LAST
    resume = agreed(bool(config["resume"]) and last.is_file())
    if config["resume"] and not resume:
        _LOG.warning("resume=true: %s is not there yet, so the run starts from the beginning", last)
    wrapper = optim_wrapper(schedule, config["runtime"], device)
    TrainingRunner.device = device
    TrainingRunner.shard = bool(config["runtime"]["shard"]) and is_distributed()
    TrainingRunner.dtype = getattr(torch, wrapper["dtype"]) if "dtype" in wrapper else None
    if val_loader is not None and not len(val_loader.dataset):  # type: ignore[arg-type]
        raise GeommError(
            "there are no validation samples; raise dataset.split.val or name dataset.val_images"
        )
    return TrainingRunner(
        model=model,
        work_dir=str(folder),
        train_dataloader=train_loader,
        val_dataloader=val_loader,
        val_evaluator=None if val_loader is None else Evaluator([collected(metric) for metric in metrics]),
        train_cfg={
            "type": "EpochBasedTrainLoop",
            "max_epochs": schedule["epochs"],
            "val_interval": schedule["val_interval"],
        },
        val_cfg=None if val_loader is None else {"type": "ValLoop"},
        optim_wrapper=wrapper,
        param_scheduler=param_scheduler(schedule, len(train_loader)),
        default_hooks=_default_hooks(),
        custom_hooks=[
            EpochSeedHook(seed=config["seed"]),
            ProgressHook(monitor=task.monitor, plain=config["runtime"]["plain_progress"]),
            EpochCheckpointHook(monitor=task.monitor, rule=task.monitor_rule, patience=schedule["patience"]),
            *([EMAHook("MovingAverage", decay=float(schedule["ema"]))] if schedule["ema"] else []),
            *(dict(hook) for hook in (config.get("hooks") or {}).values() if hook),
        ],
        visualizer={
            "type": "Visualizer",
            "vis_backends": list((config["tracking"] or {}).get("backends", {}).values()) or None,
        },
        launcher="pytorch" if is_distributed() else "none",
        resume=resume,
        load_from=str(last) if resume else None,
        randomness={"seed": config["seed"]},
        default_scope="geomm",
        experiment_name=f"{folder.name}_{os.getpid()}_{time.monotonic_ns()}",
        cfg=Config({"work_dir": str(folder)}),
    )


def check_same_model(model: nn.Module, last: Path) -> None:
    """Raise a GeommError where a checkpoint to go on with is of another model."""
    saved = {name: tuple(value.shape) for name, value in _checkpoint(last)["state_dict"].items()}
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    for name in (*own, *saved):
        if saved.get(name) != own.get(name):
            found, expected = (str(each.get(name, "none")) for each in (saved, own))
            raise GeommError(
                f"resume=true: {last} is of another model ({name}: found {found}, expected {expected}); "
                "take the settings it was begun with, another work_dir, or resume=false to begin again"
            )


def _checkpoint(path: Path) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False)
        return loaded
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise GeommError(
            f"resume=true: {path} cannot be read ({str(error).splitlines()[0]}); resume=false begins again"
        ) from error


def _default_hooks() -> dict[str, Any]:
    return {
        "runtime_info": {"type": "RuntimeInfoHook"},
        "timer": {"type": "IterTimerHook"},
        "sampler_seed": {"type": "DistSamplerSeedHook"},
        "logger": {"type": "LoggerHook", "interval": 10},
        "param_scheduler": {"type": "ParamSchedulerHook"},
        "checkpoint": None,
    }
