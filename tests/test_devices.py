"""The device that an option names."""

import pytest
import torch

from geomm.devices import choose_device
from geomm.errors import ConfigError, GeommError


def test_a_device_that_is_none_is_named_with_its_option():
    with pytest.raises(ConfigError, match=r"runtime.device: found 'gpu', expected auto, cpu or cuda"):
        choose_device("gpu", "runtime.device")


def test_a_gpu_that_is_not_there_is_a_clear_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("cuda", "cuda:1"):
        with pytest.raises(
            GeommError, match=rf"inference.device={name}: torch sees no GPU; use inference.dev"
        ):
            choose_device(name, "inference.device")
    assert choose_device("auto", "inference.device") == choose_device("cpu", "x") == torch.device("cpu")


@pytest.mark.parametrize(("name", "index"), [("auto", 3), ("cuda", 3), ("cuda:1", 1)])
def test_each_process_has_a_gpu_of_its_own_unless_one_is_named(monkeypatch, name, index):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert choose_device(name, "runtime.device") == torch.device("cuda", index)
