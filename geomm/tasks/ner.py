"""Entities in text, and where on the map they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomm.registry import MODELS, TASKS, build
from geomm.tasks.base import Finished, Task
from geomm.text import Document, TextSpec, biluo_tags

if TYPE_CHECKING:
    from mmengine.evaluator import BaseMetric
    from mmengine.model import BaseModel

    from geomm.inference import PredictionReport
    from geomm.inference.inputs import Inputs
    from geomm.inference.texts.predict import TextOptions


@TASKS.register_module()
class Ner(Task):
    """Named entity recognition.

    A sample is a window of a labelled ``Document``; a prediction is a BILUO tag a token; the output is a
    table with a row a document and place, and a layer of points for what could be located.

    Args:
      monitor: validation metric that the best checkpoint looks at.
      monitor_rule: ``greater`` or ``less``, what is better.
      metrics: further metrics by name.
    """

    name = "ner"
    spec_type = TextSpec
    batch_figure = ".html"
    example_input = "reports/"
    limits = (
        "It was judged on documents of the same collection as it was trained on. On texts of another "
        "writer, form or language, check its results against documents of your own first."
    )

    def __init__(
        self,
        *,
        monitor: str = "F1",
        monitor_rule: str = "greater",
        metrics: Mapping[str, Mapping[str, Any] | None] | None = None,
    ) -> None:
        super().__init__(monitor=monitor, monitor_rule=monitor_rule, metrics=metrics)

    def build_model(self, config: Mapping[str, Any], spec: TextSpec) -> BaseModel:
        head = {key: value for key, value in config["head"].items() if key != "tasks"}
        model: BaseModel = build(MODELS, head, spec=spec)
        return model

    def collate(self, samples: Sequence[Document]) -> dict[str, Any]:
        batch: dict[str, Any] = {
            "words": [sample.tokens for sample in samples],
            "breaks": [list(sample.breaks) for sample in samples],
            "name": [sample.name for sample in samples],
        }
        if all(sample.tags is not None for sample in samples):
            batch["tags"] = [list(sample.tags or ()) for sample in samples]
        return batch

    def own_metrics(self, spec: TextSpec) -> list[BaseMetric]:
        from geomm.metrics.ner import NerMetric

        return [NerMetric(labels=spec.labels)]

    def draw_batch(self, source: Any, spec: Any, split: str, path: Path) -> Path:
        from geomm.visualization.text import write_examples

        data = source.split(split)
        samples = [data[index] for index in range(min(len(data), 12))]
        examples = [
            {"words": item.tokens, "truth": item.tags, "prediction": item.tags, "name": item.name}
            for item in samples
        ]
        return write_examples(examples, spec.labels, path)

    def draw_figures(self, run: Finished) -> list[Path]:
        from geomm.metrics.ner import NOTHING
        from geomm.visualization.confusion import draw_confusion
        from geomm.visualization.text import write_examples

        drawn = []
        for split, metrics in run.evaluations.items():
            names = [*run.spec.labels, NOTHING]
            drawn.append(draw_confusion(metrics[0].confusion, names, run.folder / f"confusion_{split}.png"))
            page = run.folder / f"examples_{split}.html"
            drawn.append(write_examples(metrics[0].examples, run.spec.labels, page))
        return drawn

    def inference_options(self, model: Any, spec: TextSpec, given: Mapping[str, Any]) -> TextOptions:
        from geomm.inference.texts.predict import TextOptions

        return TextOptions(**given)

    def predict(
        self,
        model: Any,
        spec: TextSpec,
        inputs: Inputs,
        output: str | Path,
        options: TextOptions,
        *,
        model_id: str,
    ) -> PredictionReport:
        from geomm.inference.texts.predict import predict_texts

        return predict_texts(inputs, output, model=model, spec=spec, options=options, model_id=model_id)

    def describe_spec(self, spec: TextSpec) -> list[str]:
        placed = f"; {spec.address_tag} is placed on the map" if spec.address_tag else ""
        return [
            f"- texts in the language {spec.language}, {spec.window_tokens} tokens at once",
            f"- entities {', '.join(spec.labels)}{placed}",
        ]

    def stac_keys(self, spec: TextSpec) -> dict[str, Any]:
        from geomm.structures import make_classes
        from geomm.tasks.stac_model import output, tensor

        names = biluo_tags(spec.labels)
        tokens = {
            "name": "tokens",
            "description": f"words of a text in the language {spec.language}",
            "input": tensor([-1, spec.window_tokens], ["batch", "token"], "other"),
        }
        tags = tensor([-1, spec.window_tokens, len(names)], ["batch", "token", "class"])
        classes = make_classes(names, range(len(names)))
        result = output("tags", "classification", tags, classes=classes, description="BILUO tags")
        return {"mlm:tasks": result["tasks"], "mlm:input": [tokens], "mlm:output": [result]}

    def emd_keys(self, spec: TextSpec) -> dict[str, Any]:
        return {
            "ModelType": "EntityRecognition",
            "Labels": list(spec.labels),
            "AddressTag": spec.address_tag,
            "Language": spec.language,
        }
