"""What every task answers, so that one training engine and one inference command serve all of them."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from geomm.errors import ConfigError
from geomm.registry import DATASETS, METRICS, build

if TYPE_CHECKING:
    from mmengine.evaluator import BaseMetric
    from mmengine.model import BaseModel

    from geomm.inference import InferenceOptions, PredictionReport
    from geomm.inference.inputs import Inputs


#: Raster functions that packages carry; read as files, never imported here.
ARCGIS_FUNCTIONS = Path(__file__).resolve().parent.parent / "packaging" / "arcgis"


@dataclass(frozen=True)
class Finished:
    """A run whose best weights are loaded, as its figures see it.

    Attributes:
      model: in eval mode, on its device.
      spec: what the model knows of its data.
      source: the dataset source it was trained from.
      evaluations: metric objects after their last evaluation, by split (``val``, ``test``).
      history: scalar curves, name -> [(step, value), …].
      folder: where figures go.
    """

    model: Any
    spec: Any
    source: Any
    evaluations: Mapping[str, Sequence[Any]]
    history: Mapping[str, Sequence[tuple[int, float]]]
    folder: Path


class Task(abc.ABC):
    """One task: how its model is built and judged, and what it puts on the map.

    Args:
      monitor: validation metric that the best checkpoint and early stopping look at.
      monitor_rule: ``greater`` or ``less``, what is better.
      augment: transforms of training samples by name, in order; None switches one off.
      metrics: further metrics by name, beside the task's own.
    """

    name: ClassVar[str]
    #: What the model knows of its data: a dataclass with ``to_dict`` and ``from_dict``.
    spec_type: ClassVar[Any]
    #: The file that a package carries for ArcGIS, None where the task has none.
    raster_function: ClassVar[Path | None] = None
    #: Ending of the file that ``draw_batch`` writes.
    batch_figure: ClassVar[str] = ".png"
    #: Samples a step on a CPU, where the batch size is ``auto``.
    cpu_batch_size: ClassVar[int] = 8
    #: What the model card shows as an input.
    example_input: ClassVar[str] = "scene.tif"
    #: What the model card says of where the model holds.
    limits: ClassVar[str] = (
        "It was judged on imagery of the same scenes or export as it was trained on. On another sensor, "
        "season, ground resolution or region, check its results against samples of your own first."
    )

    def __init__(
        self,
        *,
        monitor: str,
        monitor_rule: str = "greater",
        augment: Mapping[str, Mapping[str, Any] | None] | None = None,
        metrics: Mapping[str, Mapping[str, Any] | None] | None = None,
    ) -> None:
        self.monitor = monitor
        self.monitor_rule = monitor_rule
        self.augment = augment or {}
        self.further_metrics = metrics or {}

    def build_source(self, config: Mapping[str, Any]) -> Any:
        """Build the dataset source that ``config`` describes, with what the task adds to it."""
        dataset = {key: value for key, value in config["dataset"].items() if key != "tasks"}
        target = self.target(config)
        asked = {} if target is None else {"target": target}
        return build(DATASETS, dataset, augment=self.augment, seed=config["seed"], **asked)

    def target(self, config: Mapping[str, Any]) -> Any:
        """Return what a source is to make of labels; None where it needs no telling."""
        return None

    @abc.abstractmethod
    def build_model(self, config: Mapping[str, Any], spec: Any) -> BaseModel:
        """Build the model that ``config``'s backbone, head and loss describe, for this data."""

    def complete_config(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a run's config with what it names by files in it, as a package must have it."""
        return config

    @abc.abstractmethod
    def collate(self, samples: Sequence[Any]) -> dict[str, Any]:
        """Turn dataset samples into the keyword arguments of the model's forward."""

    def metrics(self, spec: Any) -> list[BaseMetric]:
        """Return the metrics of an evaluation, the task's own first.

        Raises:
          ConfigError: a further metric is one of the task's own, whose results it would name alike.
        """
        own = self.own_metrics(spec)
        further = {name: build(METRICS, dict(cfg)) for name, cfg in self.further_metrics.items() if cfg}
        for name, metric in further.items():
            if type(metric) in map(type, own):
                kind = type(metric).__name__
                raise ConfigError(
                    f"task.metrics.{name}: {kind} judges this task already; its settings are keys of the "
                    "task, and a metric of your own needs a class of its own"
                )
        return [*own, *further.values()]

    @abc.abstractmethod
    def own_metrics(self, spec: Any) -> list[BaseMetric]:
        """Return the metrics that the task is judged by; the first one draws its figures."""

    def learn_from_evaluation(self, run: Finished) -> None:  # noqa: B027 - most tasks learn nothing more
        """Let the model learn what only the validation samples show, such as how far it errs."""

    def judge_as_kept(self, metrics: Sequence[BaseMetric], model: Any) -> None:  # noqa: B027
        """Let metrics judge other samples than validation's by what the model keeps, such as a threshold.

        Args:
          metrics: those of the task, before the evaluation.
          model: after ``learn_from_evaluation``, where there are validation samples.
        """

    def refits(self, spec: Any) -> bool:
        """Say whether ``schedule.refit=auto`` trains again on the validation samples too."""
        return False

    @abc.abstractmethod
    def draw_batch(self, source: Any, spec: Any, split: str, path: Path) -> Path:
        """Draw some samples of a split with their truth; return the file."""

    @abc.abstractmethod
    def draw_figures(self, run: Finished) -> list[Path]:
        """Draw the task's own figures into the run's folder; return the files."""

    def spec_to_dict(self, spec: Any) -> dict[str, Any]:
        """Return the spec as JSON types, for the package."""
        return spec.to_dict()  # type: ignore[no-any-return]

    def spec_from_dict(self, data: Mapping[str, Any]) -> Any:
        """Read back what ``spec_to_dict`` returned."""
        return self.spec_type.from_dict(dict(data))

    def infer(
        self,
        model: Any,
        spec: Any,
        inputs: Inputs,
        output: str | Path,
        options: Mapping[str, Any],
        *,
        model_id: str,
    ) -> PredictionReport:
        """Map inputs with a trained model and write the results.

        Args:
          model: of a package.
          spec: what the model knows of its data.
          inputs: files, globs, folders or a list of these.
          output: folder for the results.
          options: of configs/inference, by name.
          model_id: tells models apart, so that a run is only resumed with its own.

        Raises:
          ConfigError: an option that does not hold.
          DataError: nothing matches ``inputs``; or, with ``on_error="raise"``, an input fails.
        """
        import torch

        chosen = self.inference_options(model, spec, options)
        if chosen.threads:
            torch.set_num_threads(chosen.threads)
        model.to(chosen.resolve_device())
        return self.predict(model, spec, inputs, output, chosen, model_id=model_id)

    @abc.abstractmethod
    def inference_options(self, model: Any, spec: Any, given: Mapping[str, Any]) -> InferenceOptions:
        """Return the task's options, with what the model knows where nothing is given."""

    @abc.abstractmethod
    def predict(
        self,
        model: Any,
        spec: Any,
        inputs: Inputs,
        output: str | Path,
        options: Any,
        *,
        model_id: str,
    ) -> PredictionReport:
        """Map inputs with a model that is on its device; arguments are those of ``infer``."""

    @abc.abstractmethod
    def describe_spec(self, spec: Any) -> list[str]:
        """Return lines of the model card that say what the model reads and writes."""

    @abc.abstractmethod
    def emd_keys(self, spec: Any) -> dict[str, Any]:
        """Return this task's keys of an Esri model definition."""

    def stac_keys(self, spec: Any) -> dict[str, Any]:
        """Return ``mlm:tasks``, ``mlm:input`` and ``mlm:output`` of STAC's Machine Learning Model extension.

        A task that does not say what goes in and out has empty lists.
        """
        return {"mlm:tasks": [], "mlm:input": [], "mlm:output": []}
