"""Training step by step, for notebooks: data to look at, a model to fit, results beside the truth."""

from __future__ import annotations

import html
import itertools
import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from geomm.config.compose import written
from geomm.engine.at_once import AtOnceRunner
from geomm.engine.beginning import begin, prepare_folder
from geomm.engine.hooks import STATE
from geomm.engine.logs import log_to
from geomm.engine.lr_finder import LrFinding
from geomm.engine.runner import TrainingRunner
from geomm.engine.training import TrainingRun
from geomm.errors import DataError, GeommError
from geomm.packaging import Package, load_package
from geomm.structures import FittedAtOnce
from geomm.tasks.base import Finished
from geomm.visualization.notebook import Pictures, classes_html, scores_html, table_html

_LOG = logging.getLogger("geomm")
#: Figures that show predictions beside the truth begin with one of these.
_RESULTS = ("samples_", "hardest_", "actual_predicted_", "examples_")

#: From overrides to the resolved config.
Resolve = Callable[[Sequence[str]], dict[str, Any]]


class Data:
    """Samples that are ready: read, checked, split.

    Args:
      overrides: of the run that they are for, as on the command line.
      resolve: composes and checks overrides.

    Attributes:
      config: the resolved run.
      spec: what a model must know of the data: bands, statistics, classes.
      folder: where runs on this data write.
    """

    def __init__(self, overrides: Sequence[str], resolve: Resolve) -> None:
        self.config = resolve(overrides)
        self.folder = Path(self.config["work_dir"])
        self.overrides = (*overrides, f"work_dir={written(str(self.folder))}")
        self._resolve = resolve
        self._numbers = itertools.count(1)
        prepare_folder(self.folder, self.config)
        with log_to(self.folder / "prepare.log"):
            run = TrainingRun(self.config, self.folder)
            self.task, self.source = run.task, run.source
            self.spec = self.source.prepare(self.folder / "cache")

    def __len__(self) -> int:
        return len(self.source.split("train"))

    def show_batch(self, split: str = "train") -> Pictures:
        """Draw some samples with their truth; those of ``train`` are changed at random as in training.

        Raises:
          DataError: the split has no samples.
        """
        if not len(self.source.split(split)):
            raise DataError(f"show_batch: the split {split!r} has no samples; choose another")
        path = self.folder / "figures" / f"batch_{split}{self.task.batch_figure}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return Pictures((self.task.draw_batch(self.source, self.spec, split, path),))

    def model(self, overrides: Sequence[str] = ()) -> Learner:
        """Build a model for this data.

        Args:
          overrides: what differs from the data's run, such as ``["head=deeplabv3", "schedule.lr=1e-3"]``.

        Raises:
          ConfigError: every mistake in the overrides, one line each.
        """
        config = self._resolve([*self.overrides, *overrides])
        if Path(config["work_dir"]) == self.folder:
            config["work_dir"] = str(self.folder / f"model_{next(self._numbers)}")
        return Learner(config, self)

    def shared_with(self, config: dict[str, Any]) -> bool:
        """Say whether another run draws the same samples from the same data."""

        def drawn(one: dict[str, Any]) -> Any:
            head = one.get("head") or {}
            return [one["dataset"], one["task"], one["seed"], head.get("scale"), head.get("estimator")]

        return bool(drawn(config) == drawn(self.config))

    def _repr_html_(self) -> str:
        sizes = {name: len(self.source.split(name)) for name in ("train", "val", "test")}
        rows = [("samples", ", ".join(f"{count} {name}" for name, count in sizes.items()))]
        rows += [("data", html.escape(line.lstrip("- "))) for line in self.task.describe_spec(self.spec)]
        if getattr(self.spec, "classes", None):
            rows.append(("classes", classes_html(self.spec.classes)))
        return table_html(f"Data for {self.task.name}", rows)

    def __repr__(self) -> str:
        return f"Data({self.task.name}: {len(self)} training samples, in {self.folder})"


class Learner:
    """A model in training.

    Args:
      config: the resolved run.
      data: what it learns from.

    Attributes:
      metrics: results by split, after ``fit``.
      package: what ``save`` wrote, None before.
    """

    def __init__(self, config: dict[str, Any], data: Data) -> None:
        from geomm.config.arguments import check_arguments

        check_arguments(config)
        self.config, self.data = config, data
        self.folder = Path(config["work_dir"])
        prepare_folder(self.folder, config)
        with log_to(self.folder / "train.log"):
            shared = data.shared_with(config)
            self.run = TrainingRun(config, self.folder, source=data.source if shared else None)
            self.run.spec = data.spec if shared else self.run.source.prepare(self.folder / "cache")
            self.run.build_model()
        self._fitted = _Fitted(self.run.model)
        self.metrics: dict[str, dict[str, float]] = {}
        self.package: Package | None = None

    @property
    def model(self) -> Any:
        """The network itself, an ``mmengine`` BaseModel."""
        return self.run.model

    def lr_find(self) -> LrFinding:
        """Run the learning-rate range test on a copy of the model; ``fit`` then takes what it chose.

        Raises:
          GeommError: the model is not trained by gradients.
        """
        if isinstance(self.model, FittedAtOnce):
            raise GeommError("lr_find: this model is fitted at once and has no learning rate; call fit")
        with log_to(self.folder / "train.log"):
            self.run.schedule["lr"] = self.run.schedule["lr"] if self.run.schedule["lr"] != "auto" else 0.0
            self.run.resolve_schedule()
            finding = self.run.find_lr()
            self.run.schedule["lr"] = finding.lr
            _LOG.info("learning rate: %.2e (%s)", finding.lr, finding.reason)
        return finding

    def fit(self, epochs: int | None = None, *, lr: float | str | None = None) -> Learner:
        """Train, and load the best weights; called again, training goes on from these with a new schedule.

        Args:
          epochs: passes over the training samples, ``schedule.epochs`` by default.
          lr: highest learning rate; ``auto`` runs the range test; by default what ``lr_find`` chose, or
            ``schedule.lr``.

        Returns:
          Itself. Ctrl-C ends training and keeps what was learnt.
        """
        schedule = self.run.schedule
        schedule["epochs"] = int(schedule["epochs"] if epochs is None else epochs)
        schedule["lr"] = schedule["lr"] if lr is None else lr
        started = time.monotonic()
        with log_to(self.folder / "train.log"):
            self.run.resolve_schedule()
            if self._fitted.best["score"] is None:
                begin(self.folder, self.config, self.model)
            runner = self.run.make_runner()
            self._fitted.before(runner)
            runner.train_interruptibly()
            self._fitted.after(runner, time.monotonic() - started)
            self.metrics = {"val": self.run.evaluate(self._fitted, "val")[0]}
        return self

    def plot_losses(self) -> Pictures:
        """Draw training loss, learning rate and validation metrics of every step so far.

        Raises:
          GeommError: nothing was trained by steps.
        """
        from geomm.visualization.curves import draw_curves

        history = self._fitted.history()
        if not history:
            raise GeommError("plot_losses: there are no steps yet; call fit")
        path = self.folder / "figures" / "curves.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        return Pictures((draw_curves(history, path),))

    def show_results(self, split: str = "val") -> Pictures:
        """Evaluate a split and draw predictions beside the truth.

        Raises:
          DataError: the split has no samples.
        """
        if not len(self.run.source.split(split)):
            raise DataError(f"show_results: the split {split!r} has no samples; choose another")
        with log_to(self.folder / "train.log"):
            self.metrics[split], found = self.run.evaluate(self._fitted, split)
            figures = self.folder / "figures"
            figures.mkdir(exist_ok=True)
            model, history = self.model.eval(), self._fitted.history()
            run = Finished(model, self.run.spec, self.run.source, {split: found}, history, figures)
            drawn = self.run.task.draw_figures(run)
        telling = [path for path in drawn if path.name.startswith(_RESULTS)]
        return Pictures(tuple(telling or drawn))

    def save(self, path: str | Path | None = None) -> Package:
        """Evaluate, draw every figure, and write the model package.

        Args:
          path: of the ``.dlpk``; ``model.dlpk`` in the run's folder by default, and there in any case.

        Returns:
          The package, ready to ``predict``; it does not change when training goes on.
        """
        with log_to(self.folder / "train.log"):
            found = self.run.finish(self._fitted, self._fitted.seconds, not self._fitted.epoch)
        self.metrics = {split: found[split] for split in ("val", "test") if split in found}
        written = self.folder / "model.dlpk"
        if path is not None:
            target = Path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(written.read_bytes())
            written = target
        self.package = load_package(written)
        return self.package

    def predict(self, input: Any, *, output: str | Path, **options: Any) -> Any:
        """Map an input with the model as it is; see ``Package.predict``. It is saved before."""
        return self.save().predict(input, output=output, **options)

    @property
    def figures(self) -> Pictures:
        """Every figure drawn so far."""
        return Pictures(tuple(sorted((self.folder / "figures").glob("*.png"))))

    def _repr_html_(self) -> str:
        head, backbone = self.config.get("head") or {}, self.config.get("backbone") or {}
        rows = [("head", str(head.get("type")))]
        rows += [("backbone", str(backbone.get("name") or backbone.get("type")))] if backbone else []
        rows.append(("parameters", f"{sum(p.numel() for p in self.model.parameters()):,}"))
        rows.append(("epochs", str(self._fitted.epoch)))
        rows += [(split, scores_html(scores.items())) for split, scores in self.metrics.items()]
        return table_html(f"Model for {self.run.task.name}", rows)

    def __repr__(self) -> str:
        kind = (self.config.get("head") or {}).get("type")
        return f"Learner({self.run.task.name}: {kind}, {self._fitted.epoch} epochs, in {self.folder})"


class _Fitted(AtOnceRunner):
    """All that several fits of one model left behind; answers as a ``TrainingRunner`` does to who asks."""

    def __init__(self, model: Any) -> None:
        super().__init__(model, ())
        self.seconds = 0.0
        self._best: dict[str, Any] = {"score": None, "epoch": 0, "waited": 0}
        self._curves: dict[str, list[tuple[int, float]]] = {}
        self._steps = 0

    @property
    def best(self) -> dict[str, Any]:
        """Score and epoch of the best weights of all fits."""
        return self._best

    def before(self, runner: Any) -> None:
        """Let the best weights of earlier fits stay unless a new epoch is better."""
        if isinstance(runner, TrainingRunner) and self._best["score"] is not None:
            runner.message_hub.update_info(STATE, {**self._best, "epoch": 0, "waited": 0})

    def after(self, runner: Any, seconds: float) -> None:
        """Load the best weights and add up what was done."""
        runner.load_best()
        best = runner.best
        if best["epoch"]:
            self._best = {**best, "epoch": self.epoch + best["epoch"]}
        for name, curve in runner.history().items():
            self._curves.setdefault(name, []).extend((self._steps + at, value) for at, value in curve)
        self._steps += runner.iter if isinstance(runner, TrainingRunner) else 0
        self.epoch += runner.epoch
        self.seconds += seconds

    def history(self) -> dict[str, list[tuple[int, float]]]:
        """Return the curves of all fits, one after the other."""
        return {
            name: [item for item in curve if math.isfinite(item[1])] for name, curve in self._curves.items()
        }
