"""Reading weights files and fitting them to a network."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn

from geomm.errors import DataError, DependencyError

_LOG = logging.getLogger("geomm")
#: What trainers put before the names of a network's tensors.
_PREFIXES = ("module.", "backbone.", "body.", "generator.")


def read_weights(path: str, *, key: str = "backbone.checkpoint") -> dict[str, Tensor]:
    """Read the tensors of a weights file, without running any code that it may hold.

    Args:
      path: safetensors, or a pickle of tensors only, bare or under ``state_dict`` or ``model``.
      key: where the path stands in the config, for messages.

    Returns:
      Tensor by name, prefixes such as ``module.`` and ``backbone.`` taken off.

    Raises:
      DataError: the file is missing, damaged, or holds more than tensors.
    """
    return {_bare(name): value for name, value in read_named_tensors(path, key=key).items()}


def read_named_tensors(path: str, *, key: str) -> dict[str, Tensor]:
    """Read the tensors of a weights file by the names that it has, as ``read_weights`` does.

    Raises:
      DataError: the file is missing, damaged, or holds more than tensors.
    """
    try:
        content = _read(path)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{key}: {path} cannot be read as weights ({reason}); expected "
            "safetensors or a torch file of tensors only"
        ) from error
    for part in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(part), Mapping):
            content = content[part]
    tensors = content.items() if isinstance(content, Mapping) else ()
    state = {str(name): value for name, value in tensors if isinstance(value, Tensor)}
    if not state:
        raise DataError(f"{key}: {path} holds no named tensors")
    return state


def fetch_weights(path: str, *, key: str) -> str:
    """Return the file of weights that a path or an address names, downloaded once to torch's cache.

    Raises:
      DependencyError: the address cannot be reached; names what to fetch and where to put it.
    """
    if "://" not in path:
        return path
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / Path(urlsplit(path).path).name
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(path, str(file), progress=False)
        except (OSError, ValueError, HTTPException) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise DependencyError(
                f"{key}: {path} cannot be fetched ({reason}); download it where there is a network and "
                f"give {key}=FILE, or put it at {file}"
            ) from error
    return str(file)


def _read(path: str) -> object:
    if not path.endswith(".safetensors"):
        return torch.load(path, map_location="cpu", weights_only=True)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _bare(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def count_shared(body: nn.Module, state: Mapping[str, Tensor]) -> int:
    """Count the network's tensors that ``state`` holds, by timm's names or by the network's own.

    Where only features are asked for, timm joins the names of nested stages by underscores, or puts
    ``model.`` before them all.
    """
    flat = {name.replace(".", "_") for name in state}
    own = (name.removeprefix("model.").replace(".", "_") for name in body.state_dict())
    return sum(name in flat for name in own)


def load_weights(body: nn.Module, state: Mapping[str, Tensor], in_channels: int) -> int:
    """Copy the tensors that fit by name and shape; a first layer for other bands is adapted.

    Returns:
      How many of the network's tensors were set.
    """
    own = body.state_dict()
    fitting = {}
    for name, value in state.items():
        target = own.get(name)
        if target is not None and _differs_in_bands(value, target, in_channels):
            value = adapt_bands(value, in_channels)
        if target is not None and value.shape == target.shape:
            fitting[name] = value
    body.load_state_dict(fitting, strict=False)
    return len(fitting)


def _differs_in_bands(found: Tensor, wanted: Tensor, in_channels: int) -> bool:
    same = found.ndim == wanted.ndim == 4 and found.shape[::2] == wanted.shape[::2]
    return bool(same and wanted.shape[1] == in_channels != found.shape[1])


def adapt_bands(weight: Tensor, in_channels: int) -> Tensor:
    """Return a first layer's weights for another number of bands.

    The filters are repeated in turn, so that the first bands keep theirs, and scaled so that their
    sum stays as large; for a single band they are added.

    Args:
      weight: (out, in, h, w).
      in_channels: bands of the result.
    """
    had = weight.shape[1]
    if in_channels == 1:
        return weight.sum(1, keepdim=True)
    order = torch.arange(in_channels) % had
    return weight[:, order] * (had / in_channels)


def report_loaded(path: str, loaded: int, total: int, *, key: str = "backbone.checkpoint") -> None:
    """Say how much of a network a weights file set.

    Raises:
      DataError: nothing was set.
    """
    part = key.partition(".")[0]
    if not loaded:
        raise DataError(
            f"{key}: none of the {total} tensors of this {part} is in {path}; "
            "expected weights of the same model"
        )
    level = logging.INFO if loaded == total else logging.WARNING
    _LOG.log(level, "%s: %d of the %s's %d tensors loaded", path, loaded, part, total)
