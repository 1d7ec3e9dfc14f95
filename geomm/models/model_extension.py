"""Classes with the methods of arcgis.learn's ModelExtension, taken as they are.

Such a class speaks of fastai's batches: boxes as (y1, x1, y2, x2) from -1 to 1 with classes from 1,
class rasters (N, 1, H, W), and imagery normalised by ImageNet's statistics where it is RGB. What is here
turns geomm's batches into these and its results back.
https://developers.arcgis.com/python/latest/guide/add-model-using-model-extension/
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geomm.errors import ConfigError, GeommError
from geomm.structures import IGNORE_INDEX, RasterSpec

#: The methods by which such a class is known.
METHODS = (
    "get_model",
    "on_batch_begin",
    "transform_input",
    "transform_input_multispectral",
    "loss",
    "post_process",
)
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
#: Scores are logarithms of probabilities, so that their softmax gives these back.
_LEAST_PROBABILITY = 1e-6


def has_methods(cls: type) -> bool:
    """Say whether a class has every method of arcgis.learn's ModelExtension."""
    return all(callable(getattr(cls, name, None)) for name in METHODS)


def task_of(cls: Any) -> str:
    """Return the task that such a class serves: detection where it suppresses overlapping boxes."""
    return "detection" if "nms_overlap" in inspect.signature(cls.post_process).parameters else "segmentation"


def adapted(cls: type, task: str) -> type:
    """Return a network for ``geomm.extend`` around such a class.

    Raises:
      ConfigError: the task is neither detection nor segmentation.
    """
    bases: dict[str, type] = {"detection": _Boxes, "segmentation": _Pixels}
    if task not in bases:
        raise ConfigError(
            f"geomm.extend({task!r}): {cls.__name__} has the methods of ModelExtension, which knows "
            "detection and segmentation; write a torch.nn.Module with forward and loss"
        )
    body = {"definition": cls, "__module__": cls.__module__, "__doc__": cls.__doc__}
    return type(cls.__name__, (bases[task],), body)


class ChipData:
    """What a class is told of its data, under the names of arcgis.learn's data bunch.

    Attributes:
      chip_size: edge of the chips, pixels.
      classes: names, that of index 0 is the background or, where none is a class, ``NoData``.
      c: how many ``classes`` there are.
      class_mapping: names by value.
      color_mapping: RGB by value.
      device: of the model.
    """

    def __init__(self, spec: RasterSpec, *, background: bool) -> None:
        first = spec.background if background else None
        others = [item for index, item in enumerate(spec.classes) if index != first]
        zero = "background" if not background else "NoData" if first is None else spec.classes[first].name
        self.chip_size = spec.window_px
        self.classes = [zero, *(item.name for item in others)]
        self.c = len(self.classes)
        self.class_mapping = {item.value: item.name for item in spec.classes}
        self.color_mapping = {item.value: list(item.color) for item in spec.classes}
        self.device = torch.device("cpu")
        self._is_multispectral = not (spec.in_channels == 3 and spec.dtype == "uint8")
        self._extract_bands = list(range(spec.in_channels))
        self._bands = list(spec.band_names)
        self._device = self.device

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"geomm's data has no {name!r}; it has {', '.join(sorted(vars(self)))}")


class _Definition(nn.Module):
    """A network made by such a class's ``get_model``.

    Args:
      spec: filled in.
      backbone: passed to ``get_model``.
      options: further keyword arguments of it.
    """

    definition: ClassVar[Any]
    finds_boxes: ClassVar[bool]
    #: get_model may take any keyword.
    open_ended: ClassVar[bool] = True
    #: Networks of such a class may know one size only, so tiles are as large as chips.
    fixed_tiles: ClassVar[bool] = True
    scale: Tensor
    shift: Tensor

    def __init__(self, *, spec: RasterSpec, backbone: str | None = None, **options: Any) -> None:
        super().__init__()
        name = self.definition.__name__
        self.conf = self.definition()
        self.data = ChipData(spec, background=not self.finds_boxes)
        given = _accepted(self.conf.get_model, {"backbone": backbone}) | options
        try:
            self.network = self.conf.get_model(self.data, **given)
        except AttributeError as error:
            if not str(error).startswith("geomm's data"):
                raise
            raise ConfigError(f"head {name}: {error}") from error
        if not isinstance(self.network, nn.Module):
            raise ConfigError(
                f"head {name}: get_model returned a {type(self.network).__name__}, expected a Module"
            )
        self.multiple_px = spec.window_px
        self._learn = SimpleNamespace(model=self.network, data=self.data)
        scale, shift = _to_imagenet(spec) if not self.data._is_multispectral else (None, None)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def chips(self, pixels: Tensor) -> Tensor:
        """Return normalised pixels as the class expects them, and note their device."""
        self.data.device = self.data._device = pixels.device
        return pixels if self.scale is None else pixels * self.scale + self.shift

    def train_output(self, pixels: Tensor, target: Any, mask: Tensor | None = None) -> Tensor:
        """Return the class's loss of a batch in training; where ``mask`` is False, nothing is learnt."""
        extra = _accepted(self.conf.on_batch_begin, {"train": True})
        given, truth = self.conf.on_batch_begin(self._learn, self.chips(pixels), target, **extra)
        output = self.network(*_listed(given))
        if mask is not None:
            _keep_gradients(output, mask)
        return self.conf.loss(output, *_listed(truth))  # type: ignore[no-any-return]

    def evaluated(self, pixels: Tensor, **asked: Any) -> tuple[Any, Any]:
        """Return the network's raw output for pixels, and what ``post_process`` makes of it."""
        chips = self.chips(pixels)
        prepare = (
            self.conf.transform_input_multispectral
            if self.data._is_multispectral
            else self.conf.transform_input
        )
        asked = {**asked, "thresh": asked["thres"], "chip_size": pixels.shape[-1], "device": pixels.device}
        raw = self.network(prepare(chips, **_accepted(prepare, asked, defaults_only=True)))
        return raw, self.conf.post_process(raw, **_accepted(self.conf.post_process, asked))


class _Boxes(_Definition):
    """A class that finds boxes, as ``geomm.extend("detection")`` takes it."""

    finds_boxes = True

    def __init__(
        self,
        *,
        spec: RasterSpec,
        backbone: str | None = None,
        score_threshold: float = 0.05,
        nms_iou: float = 0.5,
        **options: Any,
    ) -> None:
        super().__init__(spec=spec, backbone=backbone, **options)
        self.asked = {"thres": float(score_threshold or 0.0), "nms_overlap": float(nms_iou or 1.0)}

    def loss(self, pixels: Tensor, targets: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Return the class's loss; pictures are squares."""
        edge = max(pixels.shape[-2:])
        pixels = F.pad(pixels, (0, edge - pixels.shape[-1], 0, edge - pixels.shape[-2]))
        most = max([1, *(len(item["boxes"]) for item in targets)])
        boxes = pixels.new_zeros(len(targets), most, 4)
        labels = torch.zeros(len(targets), most, dtype=torch.int64, device=pixels.device)
        for index, item in enumerate(targets):
            count = len(item["boxes"])
            boxes[index, :count] = item["boxes"][:, [1, 0, 3, 2]] * (2 / edge) - 1
            labels[index, :count] = item["labels"] + 1
        self.data.chip_size = edge
        return self.train_output(pixels, [boxes, labels])

    def forward(self, pixels: Tensor) -> list[dict[str, Tensor]]:
        """Return boxes in pixels, labels from 0 and scores of each picture."""
        edge = max(pixels.shape[-2:])
        pixels = F.pad(pixels, (0, edge - pixels.shape[-1], 0, edge - pixels.shape[-2]))
        _, found = self.evaluated(pixels, **self.asked)
        return [self._picture(item, edge) for item in found]

    def _picture(self, item: Any, edge: int) -> dict[str, Tensor]:
        try:
            boxes, labels, scores = item
        except (TypeError, ValueError) as error:
            raise GeommError(
                f"head {self.definition.__name__}: post_process gave a {type(item).__name__} for a picture, "
                "expected (bboxes, labels, scores)"
            ) from error
        boxes = (boxes.reshape(-1, 4)[:, [1, 0, 3, 2]] + 1) * (edge / 2)
        kept = labels > 0
        return {"boxes": boxes[kept], "labels": labels[kept] - 1, "scores": scores[kept]}


class _Pixels(_Definition):
    """A class that classifies pixels, as ``geomm.extend("segmentation")`` takes it."""

    finds_boxes = False
    order: Tensor

    def __init__(
        self, *, spec: RasterSpec, backbone: str | None = None, score_threshold: float = 0.5, **options: Any
    ) -> None:
        super().__init__(spec=spec, backbone=backbone, **options)
        self.asked = {"thres": float(score_threshold)}
        first = spec.background
        others = [index for index in range(spec.num_classes) if index != first]
        #: For each of geomm's classes, its index among the class's own.
        table = [0] * spec.num_classes
        for place, index in enumerate(others):
            table[index] = place + 1
        self.register_buffer("order", torch.tensor(table), persistent=False)

    def loss(self, pixels: Tensor, target: Tensor) -> Tensor:
        """Return the class's loss; what is unlabelled is 0 to it and teaches nothing."""
        labelled = target != IGNORE_INDEX
        own = torch.where(labelled, self.order[torch.where(labelled, target, 0)], 0)
        return self.train_output(pixels, own[:, None], labelled)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logarithms of probabilities (B, K, H, W): votes, where the class gives classes alone."""
        raw, found = self.evaluated(pixels, **self.asked)
        found = torch.stack(list(found)) if isinstance(found, list | tuple) else found
        if found.ndim == 4 and found.shape[1] == self.data.c and found.is_floating_point():
            shares = found
        else:
            chosen = found.reshape(len(pixels), *found.shape[-2:]).long()
            shares = F.one_hot(chosen, self.data.c).permute(0, 3, 1, 2).float()
        nothing = shares[:, self.order].sum(1, keepdim=True) <= 0
        shares = shares[:, self.order].clamp(min=0)
        scores = (shares / shares.sum(1, keepdim=True).clamp(min=1e-12)).clamp(min=_LEAST_PROBABILITY).log()
        if isinstance(raw, Tensor) and raw.shape == (len(pixels), self.data.c, *scores.shape[-2:]):
            # Where it says NoData, geomm asks which class is the nearest.
            return torch.where(nothing, raw[:, self.order].float(), scores)
        return scores


def _to_imagenet(spec: RasterSpec) -> tuple[Tensor, Tensor]:
    """Return what geomm's normalised bytes (1, 3, 1, 1) are to be multiplied by and added to."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in _IMAGENET)
    own_mean, own_std = (
        torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)
        for values in (spec.statistics.mean, spec.statistics.std)
    )
    own_std = torch.where(own_std > 0, own_std, 1.0)
    return own_std / 255 / std, (own_mean / 255 - mean) / std


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _accepted(method: Any, offered: Mapping[str, Any], *, defaults_only: bool = False) -> dict[str, Any]:
    """Return what a method takes by name of what it is offered.

    Args:
      method: bound.
      offered: arguments by name.
      defaults_only: those alone for which it has a default: its first argument is given by place.
    """
    parameters = inspect.signature(method).parameters
    anything = any(item.kind is item.VAR_KEYWORD for item in parameters.values())
    names = [n for n, p in parameters.items() if not defaults_only or p.default is not p.empty]
    return {key: value for key, value in offered.items() if key in names or (anything and key == "train")}


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for item in output.values():
            yield from _tensors(item)
    elif isinstance(output, list | tuple):
        for item in output:
            yield from _tensors(item)


def _keep_gradients(output: Any, mask: Tensor) -> None:
    """Let no gradient through maps (B, C, h, w) of an output where ``mask`` (B, H, W) is False."""
    if mask.all():
        return
    for item in _tensors(output):
        if item.ndim == 4 and item.requires_grad and len(item) == len(mask):
            kept = F.interpolate(mask[:, None].float(), item.shape[-2:], mode="nearest")
            item.register_hook(lambda gradient, kept=kept: gradient * kept)
