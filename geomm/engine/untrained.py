"""Weights that are used as they are: the part of a Runner that a run without training needs."""

from __future__ import annotations

from geomm.engine.at_once import AtOnceRunner


class UntrainedRunner(AtOnceRunner):
    """Leaves the model's weights alone; answers as a ``TrainingRunner`` does to who asks.

    Args:
      model: as it was built.
    """

    def __init__(self, model: object) -> None:
        super().__init__(model, ())

    def train_interruptibly(self) -> bool:
        """Do nothing."""
        return False
