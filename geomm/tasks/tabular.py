"""Tables and feature layers: a quantity or a class for every row, or for every pixel of rasters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomm.registry import HEADS, TASKS, build
from geomm.structures import FittedAtOnce
from geomm.tasks.base import Finished, Task
from geomm.transforms.table import TableSpec

if TYPE_CHECKING:
    from mmengine.evaluator import BaseMetric
    from mmengine.model import BaseModel

    from geomm.inference import PredictionReport
    from geomm.inference.inputs import Inputs
    from geomm.inference.tables.options import TabularOptions

#: What ``monitor: auto`` looks at, and which way is better.
_MONITORS = {
    "regression": ("RMSE", "less"),
    "classification": ("log_loss", "less"),
    "choice": ("F1", "greater"),
}


@TASKS.register_module()
class Tabular(Task):
    """Regression and classification of rows.

    A sample is a row; a prediction is a value a target or a probability a class; the output is the table
    with these added, or a raster where all variables are rasters.

    Args:
      monitor: validation metric that the best checkpoint looks at; ``auto`` takes RMSE, log loss, or F1
        where a model gives no probabilities.
      monitor_rule: ``greater`` or ``less``, what is better; not used with ``auto``.
      augment: none; tables are not changed at random.
      metrics: further metrics by name.
    """

    name = "tabular"
    spec_type = TableSpec
    cpu_batch_size = 256
    example_input = "rows.gpkg"
    limits = (
        "It was judged on rows of the same table as it was trained on. Rows of one neighbourhood resemble "
        "each other: the error of a split by blocks of the map is nearer to that in a new place."
    )

    def __init__(
        self,
        *,
        monitor: str = "auto",
        monitor_rule: str = "less",
        augment: Mapping[str, Mapping[str, Any] | None] | None = None,
        metrics: Mapping[str, Mapping[str, Any] | None] | None = None,
    ) -> None:
        super().__init__(monitor=monitor, monitor_rule=monitor_rule, augment=augment, metrics=metrics)

    def build_source(self, config: Mapping[str, Any]) -> Any:
        if config["head"].get("estimator"):
            from geomm.models.tables.estimators import build_estimator

            # A wrong name is said before any data is read.
            build_estimator(config["head"]["estimator"], config["head"].get("kwargs") or {}, seed=None)
        return super().build_source(config)

    def build_model(self, config: Mapping[str, Any], spec: TableSpec) -> BaseModel:
        head = {key: value for key, value in config["head"].items() if key != "tasks"}
        if head["type"] == "SklearnModel":
            head["seed"] = config["seed"]
        model: Any = self._built(head, spec)
        self._probable = not isinstance(model, FittedAtOnce) or self._estimator_is_probable(head)
        if self.monitor == "auto":
            kind = "choice" if spec.classes and not self._probable else spec.kind
            self.monitor, self.monitor_rule = _MONITORS[kind]
        return model  # type: ignore[no-any-return]

    def _built(self, head: Mapping[str, Any], spec: TableSpec) -> Any:
        from geomm.models.external import is_external
        from geomm.models.tables.external import ExternalTable

        if is_external(head, None):
            return ExternalTable(head=head, spec=spec)
        return build(HEADS.registry, dict(head), spec=spec)

    def _estimator_is_probable(self, head: Mapping[str, Any]) -> bool:
        from geomm.errors import GeommError
        from geomm.models.tables.estimators import TRUSTED, build_estimator

        if not str(head["estimator"]).startswith(TRUSTED):
            return True
        try:
            estimator = build_estimator(head["estimator"], head.get("kwargs") or {}, seed=None)
        except GeommError:  # not installed: a package that is only looked at
            return True
        return hasattr(estimator, "predict_proba")

    def collate(self, samples: Any) -> dict[str, Any]:
        from geomm.datasets.tables.collate import collate_rows

        return collate_rows(samples)

    def own_metrics(self, spec: TableSpec) -> list[BaseMetric]:
        from geomm.metrics.tables import ClassificationMetric, RegressionMetric

        if spec.classes:
            return [ClassificationMetric([item.name for item in spec.classes], self._probable)]
        return [RegressionMetric([item.name for item in spec.targets])]

    def learn_from_evaluation(self, run: Finished) -> None:
        if not run.spec.classes and "val" in run.evaluations:
            run.model.learn_spread(run.evaluations["val"][0].rows["errors"])

    def refits(self, spec: TableSpec) -> bool:
        return spec.is_small

    def draw_batch(self, source: Any, spec: Any, split: str, path: Path) -> Path:
        from geomm.visualization.tables import draw_columns

        rows = source.frame.iloc[source.split(split).rows]
        names = [target.name for target in spec.targets] + [column.name for column in spec.columns]
        return draw_columns(rows[[name for name in names if name in rows]], path)

    def draw_figures(self, run: Finished) -> list[Path]:
        from geomm.tasks.table_figures import draw_table_figures

        return draw_table_figures(run)

    def inference_options(self, model: Any, spec: TableSpec, given: Mapping[str, Any]) -> TabularOptions:
        from geomm.inference.tables.options import TabularOptions

        return TabularOptions(**given)

    def predict(
        self,
        model: Any,
        spec: TableSpec,
        inputs: Inputs,
        output: str | Path,
        options: TabularOptions,
        *,
        model_id: str,
    ) -> PredictionReport:
        from geomm.inference.tables.predict import predict_tables
        from geomm.inference.tables.rasters import are_rasters, predict_stack

        if are_rasters(inputs):
            return predict_stack(inputs, output, model=model, spec=spec, options=options, model_id=model_id)
        return predict_tables(inputs, output, model=model, spec=spec, options=options)

    def describe_spec(self, spec: TableSpec) -> list[str]:
        names = ", ".join(f"{item.name} ({item.kind})" for item in spec.columns)
        lines = [f"- explained by {names}", f"- predicts {', '.join(item.name for item in spec.targets)}"]
        if spec.classes:
            lines.append(f"- classes: {', '.join(item.name for item in spec.classes)}")
        return lines

    def stac_keys(self, spec: TableSpec) -> dict[str, Any]:
        from geomm.tasks.stac_model import output, tensor

        columns = ", ".join(f"{item.name} ({item.kind})" for item in spec.columns)
        rows = {
            "name": "rows",
            "description": f"columns {columns}",
            "input": tensor([-1, len(spec.columns)], ["batch", "feature"], "other"),
        }
        if spec.classes:
            scores = tensor([-1, len(spec.classes)], ["batch", "class"])
            result = output("scores", "classification", scores, classes=spec.classes)
        else:
            values = tensor([-1, len(spec.targets)], ["batch", "target"])
            names = ", ".join(item.name for item in spec.targets)
            result = output("values", "regression", values, description=names)
        return {"mlm:tasks": result["tasks"], "mlm:input": [rows], "mlm:output": [result]}

    def emd_keys(self, spec: TableSpec) -> dict[str, Any]:
        return {
            "ModelType": "FullyConnectedNetwork",
            "ExplanatoryVariables": [{"Name": item.name, "Kind": item.kind} for item in spec.columns],
            "PredictionVariables": [item.name for item in spec.targets],
        }
