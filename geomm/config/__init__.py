"""From the command line to one checked, plain config: compose, check, resolve.

Nothing here imports torch; `arguments` does, through the registries, and is imported on its own.
"""

from geomm.config.check import check
from geomm.config.compose import compose, config_dir, resolve

__all__ = ["check", "compose", "config_dir", "resolve"]
