"""geomm's sweeper and launcher, where Hydra looks for plugins."""

from geomm.engine.optuna_sweeper import OptunaSearch
from geomm.engine.ray_launcher import RaySpread


class OptunaSweeper(OptunaSearch):
    """``hydra/sweeper=optuna``."""


class RayLauncher(RaySpread):
    """``hydra/launcher=ray``."""
