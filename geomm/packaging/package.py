"""Saving a trained model as one file, and building it again from that file alone."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomm.errors import ConfigError, PackageError
from geomm.io.json_text import json_text
from geomm.packaging.archive import (
    CONFIG,
    EMD,
    FILES,
    SUMS,
    WEIGHTS,
    Archive,
    checksums,
    open_archive,
    write_archive,
)
from geomm.packaging.card import model_card
from geomm.packaging.emd import model_definition
from geomm.packaging.mlm import model_item
from geomm.packaging.untrusted import registered_alone, without_weights
from geomm.plugins import installed_plugins
from geomm.registry import TASKS, build
from geomm.structures import WithFiles
from geomm.tasks.base import Task

if TYPE_CHECKING:
    from geomm.inference import PredictionReport
    from geomm.packaging.export import Exported


def save_package(
    path: Path,
    *,
    model: Any,
    config: Mapping[str, Any],
    spec: Any,
    task: Task,
    metrics: Mapping[str, Any],
    figures: Path | None = None,
) -> Path:
    """Write a model package.

    Args:
      path: the ``.dlpk`` to write.
      model: the trained module. What it needs beside its weights it gives by ``package_files()``, bytes
        by name, and takes back by ``load_package_files(files)``.
      config: the resolved run; what it says of files and machines is for people to read only.
      spec: what the model knows of its data.
      task: the model's task.
      metrics: results of the run.
      figures: folder of PNGs to put in.

    Returns:
      The path.
    """
    import yaml
    from safetensors.torch import save

    state = {key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()}
    emd = model_definition(config, spec, task, metrics)
    if needed := _plugins_of(model, task):
        emd["geomm"]["plugins"] = needed
    plain = json.loads(json.dumps(task.complete_config(config), default=list))
    members = {
        EMD: json_text(emd).encode(),
        WEIGHTS: save(state),
        CONFIG: yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).encode(),
        "mlm.json": json_text(model_item(config, spec, task, metrics)).encode(),
        "metrics.json": json_text(metrics).encode(),
        "README.md": model_card(config, spec, task, metrics).encode(),
    }
    function = task.raster_function
    if function is not None:
        members[function.name] = function.read_bytes()
    if isinstance(model, WithFiles):
        members |= {f"{FILES}{name}": content for name, content in model.package_files().items()}
    for figure in sorted(figures.glob("*.png")) if figures is not None else []:
        members[f"figures/{figure.name}"] = figure.read_bytes()
    members[SUMS] = checksums(members)
    return write_archive(Path(path), members)


def _plugins_of(model: Any, task: Task) -> list[str]:
    """Return the installed plugins that a model or its task is made of; others the config names."""
    made_of = {type(part).__module__.partition(".")[0] for part in (task, *model.modules())}
    return [name for name in installed_plugins() if name.partition(".")[0] in made_of]


@dataclass(frozen=True)
class Package:
    """A trained model, ready to map.

    Attributes:
      path: the file it came from.
      model: in eval mode, on the CPU until a prediction moves it.
      task: what it does.
      spec: what it knows of its data: bands, statistics, classes.
      config: the run it came from.
    """

    path: Path
    model: Any
    task: Task
    spec: Any
    config: dict[str, Any]
    model_id: str

    def predict(
        self,
        input: str | Path | Sequence[str | Path],
        *,
        output: str | Path,
        **options: Any,
    ) -> PredictionReport:
        """Map an input and write the results.

        Args:
          input: a file, a glob, a folder, or several of these.
          output: folder for the results.
          options: those of the ``inference`` config group, such as ``polygons=True``.

        Raises:
          ConfigError: an option that there is not.
          DataError: no input, or none that can be read.
        """
        from geomm.config.options import inference_options

        chosen = inference_options(options, self.task.name)
        return self.task.infer(self.model, self.spec, input, output, chosen, model_id=self.model_id)

    def export(self, output: str | Path, **options: Any) -> Exported:
        """Export the model for another runtime, checked against torch.

        Args:
          output: folder for the model, its labels and its card.
          options: ``format`` (``onnx``, ``torchscript`` or ``litert``), ``window_px``, ``batch_size`` and
            ``tolerance``; see ``geomm.packaging.export.export_package``.
        """
        from geomm.packaging.export import export_package

        return export_package(self, output, **options)

    def _repr_html_(self) -> str:
        """Show in Jupyter what the model reads and writes."""
        from geomm.visualization.notebook import classes_html, table_html

        head, backbone = self.config.get("head") or {}, self.config.get("backbone") or {}
        rows = [("file", html.escape(str(self.path))), ("head", html.escape(str(head.get("type"))))]
        rows += [("backbone", html.escape(str(backbone.get("name"))))] if backbone.get("name") else []
        rows += [("model", html.escape(line.lstrip("- "))) for line in self.task.describe_spec(self.spec)]
        if getattr(self.spec, "classes", None):
            rows.append(("classes", classes_html(self.spec.classes)))
        return table_html(f"Package for {self.task.name}", rows)

    def __repr__(self) -> str:
        backbone = (self.config.get("backbone") or {}).get("name", "")
        head = (self.config.get("head") or {}).get("type", "")
        over = f" over {backbone}" if backbone else ""
        return f"Package({self.path}, {self.task.name}: {head}{over})"


def load_package(path: str | Path) -> Package:
    """Build the model that a package holds. No code and no pickle from it is run.

    Raises:
      PackageError: the package is damaged, foreign, or needs a plugin that is not loaded.
    """
    return load_archive(open_archive(path))


def load_archive(archive: Archive) -> Package:
    """Build the model of a package that was read.

    Raises:
      PackageError: it does not fit its config, or needs a plugin that is not loaded.
    """
    import hashlib

    task, spec, model = build_model(archive)
    # The files first: they may say what the weights belong to.
    if isinstance(model, WithFiles):
        model.load_package_files(archive.files)
    _load_weights(archive, model)
    digest = hashlib.sha256(archive.weights)
    for name, content in sorted(archive.files.items()):
        digest.update(name.encode() + content)
    return Package(archive.path, model.eval(), task, spec, archive.config, digest.hexdigest()[:16])


def build_model(archive: Archive) -> tuple[Task, Any, Any]:
    """Return a package's task, spec and model, the model without its weights.

    Raises:
      PackageError: its config does not build one.
    """
    config = dict(archive.config)
    config["backbone"] = without_weights(config.get("backbone"))
    config["head"] = without_weights(config.get("head"))
    try:
        with registered_alone():
            task: Task = build(TASKS, config["task"])
            spec = task.spec_from_dict(archive.own["spec"])
            return task, spec, task.build_model(config, spec)
    except ConfigError as error:
        plugins = config.get("plugins") or []
        cure = f"; it was trained with plugins={plugins}: give the same" if plugins else ""
        if missing := sorted({*archive.own.get("plugins", ())} - {*installed_plugins()}):
            cure += f"; it needs the plugin {', '.join(missing)}: install the package that brings it"
        raise PackageError(f"{archive.path}: {error}{cure}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise PackageError(
            f"{archive.path}: its config does not build a model ({type(error).__name__}: {error})"
        ) from error


def _load_weights(archive: Archive, model: Any) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        model.load_state_dict(load(archive.weights))
    except SafetensorError as error:
        raise PackageError(f"{archive.path}: {WEIGHTS} is not safetensors ({error})") from error
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise PackageError(f"{archive.path}: the weights do not fit its config ({first})") from error
