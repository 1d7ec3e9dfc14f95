"""Models for other runtimes: ONNX, TorchScript and LiteRT, each checked against torch."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geomm.errors import ConfigError, DependencyError, GeommError, Problem, did_you_mean
from geomm.io.paths import check_folder
from geomm.packaging.export_card import INPUT, LABELS, OUTPUT, README, SPEC, WRITTEN_BY, write_beside
from geomm.structures import RasterSpec

if TYPE_CHECKING:
    from geomm.packaging.package import Package

_LOG = logging.getLogger("geomm")
ENDINGS = {"onnx": ".onnx", "torchscript": ".pt", "litert": ".tflite"}
#: Tasks whose models are one graph from pixels to probabilities.
TASKS = ("classification", "segmentation")
#: Pictures that an export is checked on at least; there are whole batches of them.
_CHECKED = 4
Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class Exported:
    """An exported model.

    Attributes:
      path: of the model; its labels and card lie beside it.
      difference: largest absolute difference of a probability from torch's, on the same pictures.
      at_a_time: pictures that it takes, no more and no fewer; None for any number.
    """

    path: Path
    difference: float
    at_a_time: int | None = None


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
      batch_size: pictures a call, of which LiteRT takes exactly this number; ONNX and TorchScript take
        any, or exactly this where the model's graph holds for one number alone.
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
    part = target.with_name(f".part_{target.name}")
    try:
        with _quiet(), torch.no_grad():
            expected = torch.cat([graph(some) for some in pictures.split(batch_size)]).numpy()
            difference, at_a_time = _write(
                graph, pictures, expected, part, format=format, batch_size=batch_size, tolerance=tolerance
            )
        # Not a number is no agreement either.
        if not difference <= tolerance:
            raise GeommError(
                f"{format}: probabilities differ from torch's by up to {difference:.2g}, more than "
                f"tolerance={tolerance:g}; nothing was exported"
            )
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    write_beside(
        target, package, format=format, checked=pictures, difference=difference, at_a_time=at_a_time,
        each=expected.shape[2:],
    )  # fmt: skip
    _LOG.info("%s: differs from torch by at most %.1e on %d pictures", target, difference, len(pictures))
    if at_a_time is not None and format in _OF_ONE_NUMBER:
        _LOG.warning(
            "%s: the graph holds for one number of pictures alone; give exactly %d at a time, or export it "
            "with another batch_size", target, at_a_time,
        )  # fmt: skip
    return Exported(target, difference, at_a_time)


def _write(
    graph: ExportGraph,
    pictures: Tensor,
    expected: NDArray[np.float32],
    path: Path,
    *,
    format: str,
    batch_size: int,
    tolerance: float,
) -> tuple[float, int | None]:
    """Write a graph, for any number of pictures where that can be.

    Returns:
      Its largest difference from what is expected, and the number of pictures it takes, None for any.
    """
    if format not in _OF_ONE_NUMBER:
        run = _WRITERS[format](graph, pictures[:batch_size], path)
        return _difference(run, pictures, expected, batch_size), batch_size
    with contextlib.suppress(GeommError):  # one number of pictures may do where any is refused
        # From an example of two: torch takes a one for a constant.
        run = _WRITERS[format](graph, pictures[:2], path)
        difference = _difference(run, pictures[:_CHECKED], expected[:_CHECKED], 2)
        if not difference <= tolerance:
            return difference, None  # whatever their number
        try:
            others = [
                _difference(run, pictures, expected, number)
                for number in (batch_size, len(pictures), len(pictures) - 1)
            ]
        except Exception:  # runtimes raise kinds of their own
            others = [math.inf]
        difference = float(np.max([difference, *others]))
        if difference <= tolerance:
            return difference, None
    run = _OF_ONE_NUMBER[format](graph, pictures[:batch_size], path)
    return _difference(run, pictures, expected, batch_size), batch_size


def _difference(run: Run, pictures: Tensor, expected: NDArray[np.float32], number: int) -> float:
    """Return the largest difference from what is expected, of so many pictures at a time."""
    found = [run(part.numpy()) for part in pictures.split(number)]
    if [len(part) for part in found] != [len(part) for part in pictures.split(number)]:
        return math.inf
    return float(np.abs(np.concatenate(found) - expected).max())


def _check_folder(folder: Path, target: Path) -> None:
    """Raise a GeommError where an export would take the place of anything but an earlier one."""
    check_folder(folder, "output")
    readme = folder / README
    if readme.is_file() and f"\n{WRITTEN_BY}" in readme.read_text(encoding="utf-8", errors="replace"):
        return
    for path in (target, folder / LABELS, folder / SPEC, readme):
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


def _onnx(graph: ExportGraph, example: Tensor, path: Path, *, any_number: bool = True) -> Run:
    for module in ("onnx", "onnxscript", "onnxruntime"):
        _need(module, "onnx")
    import onnxruntime

    sizes = {INPUT: {0: torch.export.Dim("batch", min=1)}} if any_number else None
    try:
        torch.onnx.export(
            graph, (example,), str(path), dynamo=True, dynamic_shapes=sizes, external_data=False,
            input_names=[INPUT], output_names=[OUTPUT], verbose=False,
        )  # fmt: skip
    except Exception as error:  # torch raises its own kinds, which are private
        raise _refused("onnx", error) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run([OUTPUT], {INPUT: pixels})[0]  # type: ignore[no-any-return]


class _OneNumber(nn.Module):
    """A traced graph that holds for one number of pictures, and takes no other."""

    def __init__(self, traced: Any, number: int) -> None:
        super().__init__()
        self.traced, self.number = traced, number

    def forward(self, pixels: Tensor) -> Tensor:
        if pixels.shape[0] != self.number:
            raise ValueError(f"found {pixels.shape[0]} pictures; give exactly {self.number} at a time")
        return self.traced(pixels)  # type: ignore[no-any-return]


def _torchscript(graph: ExportGraph, example: Tensor, path: Path, *, any_number: bool = True) -> Run:
    try:
        traced = torch.jit.trace(graph, example, check_trace=False)  # type: ignore[no-untyped-call]
        if not any_number:
            traced = torch.jit.script(_OneNumber(traced, len(example)))
        torch.jit.save(traced, str(path))  # type: ignore[no-untyped-call]
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
#: Those of formats that take any number of pictures, for models that do not.
_OF_ONE_NUMBER: dict[str, Callable[[ExportGraph, Tensor, Path], Run]] = {
    "onnx": partial(_onnx, any_number=False),
    "torchscript": partial(_torchscript, any_number=False),
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
