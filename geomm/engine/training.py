"""One training run, from a checked config to a model package."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_distributed, is_main_process

from geomm.config.processes import process_count
from geomm.devices import choose_device
from geomm.engine.at_once import AtOnceRunner
from geomm.engine.beginning import begin, prepare_folder
from geomm.engine.distributed import agreed, gathered, in_turns, joined, share_of
from geomm.engine.loaders import build_loader
from geomm.engine.logs import log_to
from geomm.engine.lr_finder import LrFinding, endless, find_lr
from geomm.engine.rounds import beside_text, run_rounds, scores_text
from geomm.engine.run_folder import LAST, METRICS_FILE, REFIT
from geomm.engine.runner import TrainingRunner, make_runner
from geomm.engine.untrained import UntrainedRunner
from geomm.errors import ConfigError, DataError
from geomm.io.json_text import json_text
from geomm.registry import TASKS, build
from geomm.structures import FittedAtOnce
from geomm.tasks.base import Finished, Task

_LOG = logging.getLogger("geomm")
LR_FILE = "lr_finder.json"


@dataclass(frozen=True)
class TrainingResult:
    """Where a run's results are, and its score by the monitored metric."""

    package: Path
    work_dir: Path
    score: float
    metrics: dict[str, Any]


def train(config: dict[str, Any]) -> TrainingResult:
    """Train what a resolved config describes.

    Args:
      config: the composed root as plain Python, as ``geomm.config.resolve`` returns it.

    Returns:
      The run's package and metrics; figures and checkpoints lie beside it.

    Raises:
      ConfigError: a type or one of its arguments does not exist; every such mistake at once.
      DataError: the data cannot be used.
    """
    from geomm.config.arguments import check_arguments

    check_arguments(config)
    with joined(choose_device(config["runtime"]["device"], "runtime.device")):
        # Without a name of the user's it is that of the moment at which each process began.
        config = {**config, "work_dir": agreed(config["work_dir"])}
        folder = Path(config["work_dir"])
        prepare_folder(folder, config)
        with log_to(folder / "train.log" if is_main_process() else None, quiet=not is_main_process()):
            rounds = run_rounds(config, folder, _train_round)
            return TrainingRun(config, folder, rounds).train()


def _train_round(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    prepare_folder(folder, config)
    return TrainingRun(config, folder).train().metrics


class TrainingRun:
    """The steps of one run, each a method, in the order of ``train``.

    Args:
      config: the composed root as plain Python.
      folder: where the run writes.
      rounds: results of other rounds that join the metrics.
      source: of another run on the same data, prepared already; built from the config where None.
    """

    def __init__(
        self,
        config: dict[str, Any],
        folder: Path,
        rounds: Mapping[str, Any] | None = None,
        *,
        source: Any = None,
    ) -> None:
        self.config = config
        self.folder = folder
        self.rounds = dict(rounds or {})
        self.schedule = dict(config["schedule"])
        self.runtime = config["runtime"]
        self.task: Task = build(TASKS, config["task"])
        self.source = self.task.build_source(config) if source is None else source
        self.device = choose_device(self.runtime["device"], "runtime.device")
        # A divided model goes to its device in parts, and stays whole beside them on the CPU.
        self.shard = bool(self.runtime["shard"]) and is_distributed()

    def train(self) -> TrainingResult:
        started = time.monotonic()
        self.spec = in_turns(lambda: self.source.prepare(self.folder / "cache"))
        self.build_model()
        self._log_start()
        self.resolve_schedule()
        again = self.trains_again
        begin(self.folder, self.config, self.model)
        runner = self.make_runner()
        interrupted = runner.train_interruptibly()
        seconds = time.monotonic() - started
        metrics = self.finish(runner, seconds, interrupted, refit=again and not interrupted)
        gathered(None)  # none leaves before the package is written
        package = self.folder / "model.dlpk"
        if interrupted:
            _LOG.info("go on with resume=true work_dir=%s", self.folder)
            raise KeyboardInterrupt
        value = metrics["monitor"]["value"]
        return TrainingResult(package, self.folder, math.nan if value is None else value, metrics)

    def build_model(self) -> None:
        """Build the model for the prepared source's ``spec``, from the run's seed."""
        self._set_up_torch()
        torch.manual_seed(self.config["seed"])
        model = self.task.build_model(self.config, self.spec)
        waits = self.shard and self.schedule["epochs"] and not isinstance(model, FittedAtOnce)
        self.model = model if waits else model.to(self.device)

    def resolve_schedule(self) -> None:
        """Check that there is something to train on; find batch size and learning rate where ``auto``."""
        if not self.schedule["epochs"]:
            self.schedule |= {"lr": 0.0, "batch_size": process_count()}
            return
        self._check_samples()
        self._resolve_batch_size()
        if not isinstance(self.model, FittedAtOnce):
            self._resolve_lr()

    def _set_up_torch(self) -> None:
        if self.runtime["threads"]:
            torch.set_num_threads(self.runtime["threads"])
        if self.runtime["deterministic"]:
            torch.use_deterministic_algorithms(True, warn_only=True)
        elif self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True

    def _log_start(self) -> None:
        parameters = sum(p.numel() for p in self.model.parameters())
        splits = {name: len(self.source.split(name)) for name in ("train", "val")}
        _LOG.info(
            "%s on %s: %s%d training and %d validation samples; writing to %s",
            *(self.task.name, self.device, f"{parameters:,} parameters, " if parameters else ""),
            *(splits["train"], splits["val"], self.folder),
        )

    def _check_samples(self) -> None:
        if not len(self.source.split("train")):
            raise ConfigError(
                f"dataset: {type(self.source).__name__} has no samples to train on; give another dataset, or "
                "schedule.epochs=0 to make a package of weights as they are"
            )

    def _resolve_batch_size(self) -> None:
        if self.schedule["batch_size"] != "auto":
            return
        size, processes = self.task.cpu_batch_size, process_count()
        if self.device.type == "cuda":
            from geomm.engine.batch_size import largest_batch, largest_share

            data = self.source.split("train")

            def make_batch(count: int) -> Any:
                return self.task.collate([data[i % len(data)] for i in range(count)])

            find = partial(largest_share, device=self.device) if self.shard else largest_batch
            size = find(self.model, make_batch)
            size = min(*gathered(size * processes), len(data), size * processes)
        # Of all processes together, an even share for each.
        size = -(-size // processes) * processes
        self.schedule["batch_size"] = size
        _LOG.info("batch size auto: %d", size)

    def _resolve_lr(self) -> None:
        if self.schedule["lr"] != "auto":
            return
        file = self.folder / LR_FILE
        if self.config["resume"] and file.is_file():
            finding = LrFinding.load(file)  # a resumed run keeps the rate it began with
        else:
            finding = self.find_lr()
            if is_main_process():
                finding.save(file)
        self.schedule["lr"] = finding.lr
        _LOG.info("learning rate auto: %.2e (%s)", finding.lr, finding.reason)

    def find_lr(self) -> LrFinding:
        """Run the learning-rate range test on a copy of the model, and draw it."""
        from geomm.visualization.curves import draw_lr_finder

        _LOG.info("learning-rate range test: a few dozen steps on a copy of the model")
        batches = endless(self._loader("train", in_process=True))
        finding = find_lr(
            self.model, batches, self.schedule["optimizer"], device=self.device, shard=self.shard
        )
        if is_main_process():
            figures = self.folder / "figures"
            figures.mkdir(exist_ok=True)
            draw_lr_finder(finding.lrs, finding.losses, finding.lr, figures / "lr_finder.png")
        return finding

    def _loader(self, split: str, *, in_process: bool = False) -> Any:
        return self._loader_of(self.source.split(split), shuffle=split == "train", in_process=in_process)

    def _loader_of(self, samples: Any, *, shuffle: bool, in_process: bool = False) -> Any:
        return build_loader(
            samples,
            batch_size=share_of(self.schedule["batch_size"]),
            workers=0 if in_process else self.runtime["workers"],
            collate=self.task.collate,
            shuffle=shuffle,
            seed=self.config["seed"],
            device=self.device,
        )

    def make_runner(self) -> TrainingRunner | AtOnceRunner:
        """Return what trains the model: mmengine's Runner, or what stands for it."""
        if not self.schedule["epochs"]:
            return UntrainedRunner(self.model)
        if isinstance(self.model, FittedAtOnce):
            return AtOnceRunner(self.model, self.source.split("train"))
        return make_runner(
            model=self.model,
            config=self.config,
            schedule=self.schedule,
            task=self.task,
            device=self.device,
            train_loader=self._loader("train"),
            val_loader=self._loader("val"),
            metrics=self.task.metrics(self.spec),
        )

    @property
    def trains_again(self) -> bool:
        """Whether the model that is kept learns from the validation samples too, as ``schedule.refit`` says.

        Raises:
          ConfigError: it was asked for, and the source cannot join these samples.
        """
        wanted = self.schedule["refit"]
        possible = hasattr(self.source, "known")
        if wanted is True and not possible:
            raise ConfigError(
                f"schedule.refit: {type(self.source).__name__} has no method known(), which returns the "
                "training and validation samples together; use false"
            )
        if not self.schedule["epochs"] or not possible or not len(self.source.split("val")):
            return False
        return self.task.refits(self.spec) if wanted == "auto" else bool(wanted)

    def refit(self, epochs: int) -> TrainingRunner | AtOnceRunner:
        """Train a model anew on the training and the validation samples, and let it be the run's.

        What was held back to find the best number of epochs is learnt from too, for so many; nothing is
        held back to judge it by.

        Args:
          epochs: how many were best; the learning rate's course is as long.

        Raises:
          KeyboardInterrupt: Ctrl-C; a resumed run goes on with it.
        """
        samples = self.source.known()
        self.build_model()
        if isinstance(self.model, FittedAtOnce):
            _LOG.info("fitting again, to the samples of training and validation")
            again: TrainingRunner | AtOnceRunner = AtOnceRunner(self.model, samples)
        else:
            _LOG.info(
                "training again, for the best %d epochs, on all %d samples of training and validation",
                *(epochs, len(samples)),
            )
            folder = self.folder / REFIT / f"{epochs}_epochs"
            there = agreed((folder / LAST).is_file())
            resume = self.config["resume"] and there
            again = make_runner(
                model=self.model,
                config={**self.config, "work_dir": str(folder), "resume": resume, "tracking": None},
                schedule={**self.schedule, "epochs": epochs, "patience": None},
                task=self.task,
                device=self.device,
                train_loader=self._loader_of(samples, shuffle=True),
                val_loader=None,
                metrics=[],
            )
        if again.train_interruptibly():
            _LOG.info("go on with resume=true work_dir=%s", self.folder)
            raise KeyboardInterrupt
        again.load_best(LAST)
        return again

    def finish(
        self,
        runner: TrainingRunner | AtOnceRunner,
        seconds: float,
        interrupted: bool,
        *,
        refit: bool = False,
    ) -> dict[str, Any]:
        """Load the best weights, evaluate, draw, and write metrics and the package.

        Args:
          runner: that trained.
          seconds: it took.
          interrupted: whether it was ended early.
          refit: whether a model that is trained on the validation samples too takes the place of this one,
            which they judge; the test samples judge the one that is kept.
        """
        started = time.monotonic()
        runner.load_best()
        evaluations, results = {}, {}
        for split in ("val",) if refit else ("val", "test"):
            if len(self.source.split(split)):
                results[split], evaluations[split] = self.evaluate(runner, split)
        best = runner.best
        score = results.get("val", {}).get(self.task.monitor, math.nan)
        judged = best["score"] is not None or math.isfinite(score)
        if not judged and not interrupted and self.schedule["epochs"]:
            raise DataError(
                f"the validation metric {self.task.monitor!r} was never a number; "
                "is the validation set labelled?"
            )
        kept, held = runner, evaluations
        if refit:
            kept, held = self.refit(best["epoch"]), {}
            self._learn(kept, evaluations)
            if len(self.source.split("test")):
                results["test"], held["test"] = self.evaluate(kept, "test")
            seconds += time.monotonic() - started
        metrics = {
            "task": self.task.name,
            "monitor": {
                "name": self.task.monitor,
                "rule": self.task.monitor_rule,
                "value": score if math.isfinite(score) else None,
            },
            "best_epoch": best["epoch"],
            "epochs": runner.epoch,
            **({"refit": {"epochs": kept.epoch, "samples": len(self.source.known())}} if refit else {}),
            "interrupted": interrupted,
            "lr": self.schedule["lr"],
            "batch_size": self.schedule["batch_size"],
            "seed": self.config["seed"],
            "seconds": round(seconds, 1),
            "parameters": sum(p.numel() for p in self.model.parameters()),
            **results,
            **self.rounds,
        }
        if "folds" in self.rounds and self.task.monitor in self.rounds["folds"]["mean"]:
            metrics["monitor"]["value"] = self.rounds["folds"]["mean"][self.task.monitor]
        if is_main_process():
            judged_by = [(runner, evaluations), *([(kept, held)] if refit else [])]
            self._write(judged_by, metrics)
        return metrics

    def evaluate(
        self, runner: TrainingRunner | AtOnceRunner, split: str
    ) -> tuple[dict[str, float], list[Any]]:
        """Return a split's results, and the metrics that know more of them.

        The model learns from how it does on the validation samples; others are judged by what it keeps.
        """
        found = self.task.metrics(self.spec)
        if split != "val":
            self.task.judge_as_kept(found, runner.bare_model)
        results = runner.evaluate(self._loader(split), found)
        if split == "val":
            self._learn(runner, {split: found})
        return results, found

    def _learn(self, runner: TrainingRunner | AtOnceRunner, evaluations: Mapping[str, Any]) -> None:
        """Let a runner's model learn from evaluations, in the process that knows what they came to."""
        if is_main_process():
            model, figures = runner.bare_model.eval(), self.folder / "figures"
            run = Finished(model, self.spec, self.source, evaluations, runner.history(), figures)
            self.task.learn_from_evaluation(run)

    def _write(
        self, judged: list[tuple[TrainingRunner | AtOnceRunner, Any]], metrics: dict[str, Any]
    ) -> None:
        """Draw what each of the run's models was judged by; keep the last of them, and write the metrics."""
        from geomm.packaging import save_package
        from geomm.visualization.curves import draw_curves

        figures = self.folder / "figures"
        figures.mkdir(exist_ok=True)
        history = judged[0][0].history()
        if history:
            draw_curves(history, figures / "curves.png")
        model = judged[-1][0].bare_model.eval()
        for runner, part in judged:
            if part:
                own = runner.bare_model.eval()
                self.task.draw_figures(Finished(own, self.spec, self.source, part, history, figures))
        package = save_package(
            self.folder / "model.dlpk",
            model=model,
            config=self.config,
            spec=self.spec,
            task=self.task,
            metrics=metrics,
            figures=figures,
        )
        # Last: a run that has its metrics is whole.
        (self.folder / METRICS_FILE).write_text(json_text(metrics), encoding="utf-8")
        headline = scores_text(metrics.get("val", {})) or "not judged, without samples"
        _LOG.info("best epoch %d: %s", metrics["best_epoch"], headline)
        if "test" in metrics:
            _LOG.info("tested: %s", scores_text(metrics["test"]))
        if "beside" in metrics:
            _LOG.info(beside_text(self.config["dataset"]["split"]["by"], metrics))
        _LOG.info("package %s, metrics.json and figures/ beside it", package)
