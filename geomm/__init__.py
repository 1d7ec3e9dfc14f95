"""geomm: config-driven deep learning on geospatial data, from training to a file that a GIS opens.

Everything in ``__all__`` is loaded when first used: importing geomm takes milliseconds and brings no
torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["__version__", "available", "extend", "load", "prepare", "train"]

if TYPE_CHECKING:
    from geomm.api import available, load, prepare, train
    from geomm.models.external import extend


def __getattr__(name: str) -> object:
    if name == "extend":
        from geomm.models.external import extend

        return extend
    if name in __all__:
        from geomm import api

        return getattr(api, name)
    raise AttributeError(f"module 'geomm' has no attribute {name!r}")
