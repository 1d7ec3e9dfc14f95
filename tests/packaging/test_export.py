"""Exports take the number of pictures that was asked for, and are checked on whole batches of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from geomm.errors import ConfigError, GeommError
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


def test_what_an_export_takes_is_written_beside_it_and_another_takes_its_place(package, tmp_path):
    for edge in (16, 24):
        export_package(package, tmp_path, format="torchscript", window_px=edge)
        assert json.loads((tmp_path / "spec.json").read_text())["window_px"] == edge


@pytest.mark.parametrize("name", ["README.md", "labels.txt", "spec.json", "model.pt"])
def test_files_of_another_origin_are_not_replaced(package, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(GeommError, match=f"{name} is there and is of no export by geomm; give another"):
        export_package(package, tmp_path, format="torchscript", window_px=16)
    assert [path.name for path in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == "mine"
    with pytest.raises(GeommError, match=f"output=.*{name} is a file; give a folder"):
        export_package(package, tmp_path / name, format="torchscript", window_px=16)


def test_pictures_are_always_the_same(package):
    one, two = (exporting.made_up_pictures(package.spec, 16, 6).numpy() for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert one.shape == (6, 4, 16, 16)


def test_windows_without_a_size_are_refused(package, tmp_path):
    with pytest.raises(ConfigError, match="window_px: found -3; use a number from 1 up"):
        export_package(package, tmp_path, window_px=-3)


def test_no_pictures_are_no_batch(package, tmp_path):
    with pytest.raises(ConfigError, match="batch_size: found 0; use a number from 1 up"):
        export_package(package, tmp_path, batch_size=0)
