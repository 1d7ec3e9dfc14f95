"""Models for other runtimes: ONNX, TorchScript and LiteRT, each checked against torch."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import geomm
from geomm.errors import ConfigError, DependencyError, GeommError, Problem, did_you_mean
from geomm.io.json_text import json_text
from geomm.io.paths import check_folder
from geomm.structures import RasterSpec

if TYPE_CHECKING:
    from geomm.packaging.package import Package

_LOG = logging.getLogger("geomm")
ENDINGS = {"onnx": ".onnx", "torchscript": ".pt", "litert": ".tflite"}
#: Tasks whose models are one graph from pixels to probabilities.
TASKS = ("classification", "segmentation")
_INPUT, _OUTPUT = "pixels", "probabilities"
#: What lies beside the graph, and how the card says where it comes from.
_LABELS, _SPEC, _README = "labels.txt", "spec.json", "README.md"
_WRITTEN_BY = "Written by geomm"
#: Pictures that an export is checked on at least; there are whole batches of them.
_CHECKED = 4
Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class Exported:
    """An exported model.

    Attributes:
      path: of the model; its labels and card lie beside it.
      difference: largest absolute difference of a probability from torch's, on the same pictures.
    """

    path: Path
    difference: float


class ExportGraph(nn.Module):
    """What is exported: raw pixels in, probabilities out, normalisation inside.

    Args:
      model: a classifier or segmentor in eval mode.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", model.data_preprocessor.mean.detach().clone())
        self.register_buffer("std", model.data_preprocessor.std.detach().clone())

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (B, K) or (B, K, H, W) float32 from (B, C, H, W) float32 in the imagery's own units."""
        scores = self.model.scores((pixels - self.mean) / self.std)
        if hasattr(self.model, "probabilities"):
            return self.model.probabilities(scores)  # type: ignore[no-any-return]
        return scores.float().softmax(1)  # type: ignore[no-any-return]


def export_package(
    package: Package,
    output: str | Path,
    *,
    format: str = "onnx",
    window_px: int | None = None,
    batch_size: int = 1,
    tolerance: float = 1e-3,
) -> Exported:
    """Export a package's model, check it against torch, and write labels and a card beside it.

    Args:
      package: a classification or segmentation model.
      output: folder for the files.
      format: ``onnx``, ``torchscript`` or ``litert``.
      window_px: edge of the pictures it takes, None for that of training.
      batch_size: pictures a call; ONNX and TorchScript take any number, LiteRT exactly this.
      tolerance: largest difference of a probability from torch's that is accepted.

    Raises:
      ConfigError: no such format, or a task that is not one graph.
      DependencyError: what the format needs is not installed.
      GeommError: an operator has no counterpart, the results differ by more than the tolerance, or the
        folder holds files of another origin with the names of the export's.
    """
    if format not in ENDINGS:
        raise ConfigError([Problem("format", f"found {format!r}; {did_you_mean(format, ENDINGS)}")])
    if window_px is not None and window_px < 1:
        raise ConfigError([Problem("window_px", f"found {window_px}; use a number from 1 up, or null")])
    if batch_size < 1:
        raise ConfigError([Problem("batch_size", f"found {batch_size}; use a number from 1 up")])
    if package.task.name not in TASKS:
        raise ConfigError(
            f"{package.path}: a model of {package.task.name} is more than one graph and cannot be exported; "
            f"those of {', '.join(TASKS)} can"
        )
    edge = window_px or package.spec.window_px
    graph = ExportGraph(package.model.to("cpu")).eval()
    pictures = made_up_pictures(package.spec, edge, -(-_CHECKED // batch_size) * batch_size)
    folder = Path(output)
    target = folder / f"model{ENDINGS[format]}"
    _check_folder(folder, target)
    folder.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".part_{target.name}")
    try:
        with _quiet(), torch.no_grad():
            expected = torch.cat([graph(part) for part in pictures.split(batch_size)]).numpy()
            run = _WRITERS[format](graph, pictures[:batch_size], partial)
            found = np.concatenate([run(part.numpy()) for part in pictures.split(batch_size)])
        difference = float(np.abs(found - expected).max())
        # Not a number is no agreement either.
        if not difference <= tolerance:
            raise GeommError(
                f"{format}: probabilities differ from torch's by up to {difference:.2g}, more than "
                f"tolerance={tolerance:g}; nothing was exported"
            )
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    _write_beside(folder, package, format, pictures, batch_size, difference, target, found.shape[2:])
    _LOG.info("%s: differs from torch by at most %.1e on %d pictures", target, difference, len(pictures))
    return Exported(target, difference)


def _check_folder(folder: Path, target: Path) -> None:
    """Raise a GeommError where an export would take the place of anything but an earlier one."""
    check_folder(folder, "output")
    readme = folder / _README
    if readme.is_file() and f"\n{_WRITTEN_BY}" in readme.read_text(encoding="utf-8", errors="replace"):
        return
    for path in (target, folder / _LABELS, folder / _SPEC, readme):
        if path.exists():
            raise GeommError(f"{path} is there and is of no export by geomm; give another output folder")


def made_up_pictures(spec: RasterSpec, edge: int, count: int = _CHECKED) -> Tensor:
    """Return pictures (count, C, edge, edge) float32, spread as the training pixels are, always the same."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((count, spec.in_channels, edge, edge))
    coarse = rng.standard_normal((count, spec.in_channels, -(-edge // 8), -(-edge // 8)))
    mixed = 0.7 * np.kron(coarse, np.ones((8, 8)))[..., :edge, :edge] + 0.7 * noise
    low, high, mean, std = (
        np.array(getattr(spec.statistics, key))[:, None, None] for key in ("min", "max", "mean", "std")
    )
    return torch.from_numpy(np.clip(mean + std * mixed, low, high).astype(np.float32))


def _onnx(graph: ExportGraph, example: Tensor, path: Path) -> Run:
    for module in ("onnx", "onnxscript", "onnxruntime"):
        _need(module, "onnx")
    import onnxruntime

    # From an example of two: torch takes a one for a constant.
    two = example.repeat(2, 1, 1, 1)[:2]
    sizes = {_INPUT: {0: torch.export.Dim("batch", min=1)}}
    try:
        torch.onnx.export(
            graph, (two,), str(path), dynamo=True, dynamic_shapes=sizes, external_data=False,
            input_names=[_INPUT], output_names=[_OUTPUT], verbose=False,
        )  # fmt: skip
    except Exception as error:  # torch raises its own kinds, which are private
        raise _refused("onnx", error) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run([_OUTPUT], {_INPUT: pixels})[0]  # type: ignore[no-any-return]


def _torchscript(graph: ExportGraph, example: Tensor, path: Path) -> Run:
    try:
        torch.jit.save(torch.jit.trace(graph, example, check_trace=False), str(path))  # type: ignore[no-untyped-call]
    except Exception as error:  # as above
        raise _refused("torchscript", error) from error
    loaded = torch.jit.load(str(path))  # type: ignore[no-untyped-call]
    return lambda pixels: loaded(torch.from_numpy(pixels)).numpy()  # type: ignore[no-any-return]


def _litert(graph: ExportGraph, example: Tensor, path: Path) -> Run:
    for module in ("litert_torch", "ai_edge_litert"):
        _need(module, "litert")
    import litert_torch
    from ai_edge_litert.interpreter import Interpreter

    try:
        litert_torch.convert(graph, (example,)).export(str(path))
    except Exception as error:  # as above
        raise _refused("litert", error) from error
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def run(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        interpreter.set_tensor(taken["index"], pixels)
        interpreter.invoke()
        return np.array(interpreter.get_tensor(given["index"]))

    return run


_WRITERS: dict[str, Callable[[ExportGraph, Tensor, Path], Run]] = {
    "onnx": _onnx,
    "torchscript": _torchscript,
    "litert": _litert,
}


def _need(module: str, extra: str) -> None:
    import importlib.util

    if importlib.util.find_spec(module) is None:
        raise DependencyError(
            f"format={extra} needs the package {module.replace('_', '-')}, which is not installed; "
            f"pip install 'geomm[{extra}]'"
        )


def _refused(format: str, error: Exception) -> GeommError:
    """Return why a graph has no counterpart: the operator, where the converter names one."""
    texts = []
    cause: BaseException | None = error
    while cause is not None:
        texts.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    whole = "\n".join(texts)
    found = re.search(r"(?:aten|torchvision|prims|quantized|geomm)(?:::|\.)\w+(?:\.\w+)?", whole)
    reason = next((line.strip() for line in whole.splitlines() if line.strip()), type(error).__name__)
    what = f"operator {found.group(0)} has no counterpart" if found else "the graph cannot be expressed"
    return GeommError(f"format={format}: {what} ({reason[:200]}); try another format or head")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what converters print of their own progress."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _write_beside(
    folder: Path,
    package: Package,
    format: str,
    checked: Tensor,
    batch: int,
    difference: float,
    target: Path,
    each: tuple[int, ...],
) -> None:
    spec = package.spec
    names = [item.name for item in spec.classes]
    (folder / _LABELS).write_text("\n".join(names) + "\n", encoding="utf-8")
    edge = checked.shape[-1]
    taken = package.task.spec_to_dict(replace(spec, window_px=edge))
    (folder / _SPEC).write_text(json_text(taken), encoding="utf-8")
    pictures = str(batch) if format == "litert" else "any number"
    tail = "".join(f", {number}" for number in each)
    several = getattr(spec, "multi_label", False)
    sums = "each class's own" if several else "that sum to 1 over the classes"
    lines = [
        f"# {target.name}: {package.task.name}",
        "",
        f"{_WRITTEN_BY} {geomm.__version__} as {format}, from weights {package.model_id}.",
        "",
        "## What goes in and comes out",
        "",
        f"- `{_INPUT}`: float32, ({pictures}, {spec.in_channels}, {edge}, {edge}): pictures, bands "
        f"({', '.join(spec.band_names)}), rows, columns; values as the imagery has them ({spec.dtype}), "
        "normalisation is part of the model",
        f"- `{_OUTPUT}`: float32, ({pictures}, {len(names)}{tail}): probabilities, {sums}; classes as in "
        "labels.txt",
        *(
            ["- pictures of other proportions: resample the longer side, pad with the bands' mean values "
             f"({', '.join(f'{m:g}' for m in spec.statistics.mean)})"]
            if not each else []
        ),
        "",
        "## Check",
        "",
        f"On {len(checked)} pictures the probabilities differ from torch's by at most {difference:.2e}.",
        "",
        "## Limits",
        "",
        package.task.limits,
        "",
    ]  # fmt: skip
    (folder / _README).write_text("\n".join(lines), encoding="utf-8")
