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


class Counting(Tiny):
    """A trace holds its number of pictures, and mistakes others for it without a word."""

    def scores(self, pixels):
        return self.head(pixels) * (pixels.shape[0] / torch.tensor(int(pixels.shape[0])))


class Unrolled(Tiny):
    """A graph of one number of pictures alone, however it is written."""

    def scores(self, pixels):
        return torch.cat([self.head(pixels[number : number + 1]) for number in range(len(pixels))])


def packaged(model):
    torch.manual_seed(0)
    spec = make_spec(4, classes=("a", "b", "c"))
    return Package(Path("tiny.dlpk"), model().eval(), Segmentation(), spec, {}, "0" * 16)


@pytest.fixture
def package():
    return packaged(Tiny)


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
    assert done.difference < 1e-5 and done.path.is_file() and done.at_a_time is None
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "On 6 pictures, in batches of several sizes," in card and "(any number, 4, 16, 16)" in card


@pytest.mark.parametrize("model", [Counting, Unrolled])
@pytest.mark.parametrize(("batch", "called"), [(1, "1 picture"), (2, "2 pictures"), (3, "3 pictures")])
def test_a_trace_of_one_number_of_pictures_says_so_and_takes_no_other(tmp_path, caplog, model, batch, called):
    package = packaged(model)
    done = export_package(package, tmp_path, format="torchscript", window_px=16, batch_size=batch)
    assert done.difference < 1e-5 and done.at_a_time == batch
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert f"float32, ({batch}, 4, 16, 16)" in card and f"- exactly {called} at a time" in card
    assert f"give exactly {batch} at a time, or export it with another batch_size" in caplog.text
    loaded, graph = torch.jit.load(str(done.path)), exporting.ExportGraph(package.model)
    pictures = exporting.made_up_pictures(package.spec, 16)
    with torch.no_grad():
        torch.testing.assert_close(loaded(pictures[:batch]), graph(pictures[:batch]))
    with pytest.raises(torch.jit.Error, match=f"found 4 pictures; give exactly {batch} at a time"):
        loaded(pictures)


@pytest.mark.slow
def test_an_onnx_graph_of_one_number_of_pictures_takes_no_other(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    done = export_package(packaged(Unrolled), tmp_path, window_px=16, batch_size=3)
    assert done.difference < 1e-5 and done.at_a_time == 3
    assert "- exactly 3 pictures at a time" in (tmp_path / "README.md").read_text(encoding="utf-8")
    session = onnxruntime.InferenceSession(str(done.path), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [3, 4, 16, 16]


@pytest.mark.parametrize("wrong_of", [1, 3, 4])
def test_any_number_of_pictures_is_checked_with_several(package, tmp_path, monkeypatch, wrong_of):
    def wrong_of_some(graph, example, path):
        path.write_bytes(b"x")
        return lambda pixels: graph(torch.from_numpy(pixels)).numpy() + (len(pixels) == wrong_of)

    monkeypatch.setitem(exporting._WRITERS, "torchscript", wrong_of_some)
    done = export_package(package, tmp_path, format="torchscript", window_px=16, batch_size=2)
    assert done.at_a_time == 2 and done.difference < 1e-5


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
