"""A classifier without weights: dark and light pictures."""

import pytest
import torch

from geomm.inference.options import LabelOptions
from geomm.structures import BandStatistics, ClassificationSpec, make_classes


def brightness(inputs, valid):
    light = inputs.float().mean((1, 2, 3)) > 120
    return torch.stack([~light, light], 1).float()


@pytest.fixture
def classifier():
    """Keyword arguments of the classifying functions."""
    spec = ClassificationSpec(
        bands=(1, 2, 3),
        band_names=("red", "green", "blue"),
        dtype="uint8",
        statistics=BandStatistics((0.0,) * 3, (255.0,) * 3, (100.0,) * 3, (50.0,) * 3, 1),
        classes=make_classes(["dark", "light"]),
        window_px=8,
    )
    return {"score": brightness, "spec": spec}


@pytest.fixture
def options():
    def make(**changed):
        return LabelOptions(**{"device": "cpu", "progress": False, "preview": False, **changed})

    return make
