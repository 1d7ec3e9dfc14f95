"""mmagic's super-resolution networks, without the rest of mmagic.

mmagic 1.2.0 does not import beside today's packages: its ``__init__`` refuses mmcv 2.2 and newer,
one of its modules uses ``numpy.bool8``, which numpy 2 dropped, and the ``__init__`` of its models
imports every generative network and so wants an old diffusers. Its super-resolution networks need
none of that. ``load`` imports them alone:

* while importing, mmcv names a version that mmagic accepts and numpy has ``bool8``; both are as
  they were afterwards;
* ``mmagic.models``, ``.archs`` and ``.editors`` are packages without their ``__init__``, ``archs``
  with the three parts that the networks take from there.

They register themselves as ``mmagic.SRCNNNet``, ``mmagic.EDSRNet`` and so on.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path

#: What mmagic 1.2.0 takes for the newest mmcv that it may run with.
_ACCEPTED_MMCV = "2.1.0"
#: Packages whose ``__init__`` is left out, parents first.
_BARE = ("mmagic.models", "mmagic.models.archs", "mmagic.models.editors")
#: What the networks import from ``mmagic.models.archs``, and where it is.
_ARCHS = {
    "PixelShufflePack": "upsample",
    "ResidualBlockNoBN": "sr_backbone",
    "pixel_unshuffle": "downsample",
}
#: The modules that register the networks, their losses and the model around them.
_MODULES = (
    "data_preprocessors",
    "base_models.base_edit_model",
    "editors.srcnn",
    "editors.edsr",
    "editors.rdn",
    "editors.srgan",
    "editors.esrgan",
    "editors.real_esrgan",
    "editors.swinir",
    "losses",
)


def load() -> None:
    """Register mmagic's super-resolution networks; do nothing where its models are loaded.

    Raises:
      ModuleNotFoundError: mmagic is not installed.
    """
    if "mmagic.models" in sys.modules:
        return
    spec = PathFinder.find_spec("mmagic")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'mmagic'", name="mmagic")
    with _accepted_versions():
        importlib.import_module("mmagic")
        for name in _BARE:
            _add_bare_package(name, Path(spec.origin).parent)
        archs = sys.modules["mmagic.models.archs"]
        for part, module in _ARCHS.items():
            setattr(archs, part, getattr(importlib.import_module(f"{archs.__name__}.{module}"), part))
        for name in _MODULES:
            importlib.import_module(f"mmagic.models.{name}")


@contextmanager
def _accepted_versions() -> Iterator[None]:
    """Show mmcv and numpy as mmagic wants them for as long as the context lasts."""
    import mmcv
    import numpy as np

    version, had_bool8 = mmcv.__version__, hasattr(np, "bool8")
    mmcv.__version__ = _ACCEPTED_MMCV
    if not had_bool8:
        np.bool8 = np.bool_  # type: ignore[attr-defined]
    try:
        yield
    finally:
        mmcv.__version__ = version
        if not had_bool8:
            del np.bool8  # type: ignore[attr-defined]


def _add_bare_package(name: str, root: Path) -> None:
    """Put a package without its ``__init__`` in place; its submodules import as ever."""
    package = types.ModuleType(name)
    package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
    package.__package__ = name
    sys.modules[name] = package
    parent, _, child = name.rpartition(".")
    setattr(sys.modules[parent], child, package)
