"""Exports take the number of pictures that was asked for, and are checked on whole batches of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from geomm.errors import ConfigError
from geomm.packaging import export as exporting
from geomm.packaging.export import export_package
from geomm.packaging.package import Package
from geomm.tasks import Segmentation
from tests.models.common import make_spec


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.data_preprocessor = nn.Module()
        self.data_preprocessor.register_buffer("mean", torch.zeros(1, 4, 1, 1))
        self.data_preprocessor.register_buffer("std", torch.ones(1, 4, 1, 1))
        self.head = nn.Conv2d(4, 3, 1)

    def scores(self, pixels):
        return self.head(pixels)


@pytest.fixture
def package():
    torch.manual_seed(0)
    spec = make_spec(4, classes=("a", "b", "c"))
    return Package(Path("tiny.dlpk"), Tiny().eval(), Segmentation(), spec, {}, "0" * 16)


@pytest.mark.parametrize(("batch", "checked"), [(1, 4), (2, 4), (3, 6), (8, 8)])
def test_a_graph_of_a_fixed_number_of_pictures_gets_that_number(
    package, tmp_path, monkeypatch, batch, checked
):
    seen = []

    def of_a_fixed_number(graph, example, path):
        path.write_bytes(b"x")
        assert len(example) == batch

        def run(pixels):
            assert pixels.shape == tuple(example.shape)
            seen.append(len(pixels))
            return graph(torch.from_numpy(pixels)).numpy()

        return run

    monkeypatch.setitem(exporting._WRITERS, "litert", of_a_fixed_number)
    export_package(package, tmp_path, format="litert", window_px=16, batch_size=batch)
    assert sum(seen) == checked
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert f"float32, ({batch}, 4, 16, 16)" in card and f"On {checked} pictures" in card


@pytest.mark.parametrize("format", [pytest.param("onnx", marks=pytest.mark.slow), "torchscript"])
def test_formats_that_take_any_number_are_checked_by_batches(package, tmp_path, format):
    done = export_package(package, tmp_path, format=format, window_px=16, batch_size=3)
    assert done.difference < 1e-5 and done.path.is_file()
    assert "On 6 pictures" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_pictures_are_always_the_same(package):
    one, two = (exporting.made_up_pictures(package.spec, 16, 6).numpy() for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert one.shape == (6, 4, 16, 16)


def test_no_pictures_are_no_batch(package, tmp_path):
    with pytest.raises(ConfigError, match="batch_size: found 0; use a number from 1 up"):
        export_package(package, tmp_path, batch_size=0)
