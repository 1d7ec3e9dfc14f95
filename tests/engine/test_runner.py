"""Mixed precision on a CPU."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper

from geomm.engine.runner import CpuAmpOptimWrapper, optim_wrapper
from tests.engine.test_one_cycle import SCHEDULE


@pytest.mark.parametrize(
    ("amp", "dtype"), [("bf16", torch.bfloat16), ("auto", torch.float32), (False, torch.float32)]
)
def test_a_cpu_computes_in_bfloat16_when_asked(amp, dtype):
    model = torch.nn.Linear(4, 2)
    before = model.weight.detach().clone()
    wrapper = build_optim_wrapper(model, optim_wrapper(SCHEDULE, {"amp": amp}, torch.device("cpu")))
    assert isinstance(wrapper, CpuAmpOptimWrapper) == (amp == "bf16")
    with wrapper.optim_context(model):
        out = model(torch.ones(3, 4))
    wrapper.update_params(out.float().square().mean())
    assert out.dtype == dtype
    assert model.weight.dtype == torch.float32 and not torch.equal(model.weight, before)


@pytest.mark.parametrize("has", [True, False])
def test_a_cpu_that_emulates_bfloat16_says_so(has, monkeypatch, caplog):
    monkeypatch.setattr("geomm.engine.runner.computes_in_bf16", lambda device: has)
    optim_wrapper(SCHEDULE, {"amp": "bf16"}, torch.device("cpu"))
    assert ("many times slower than runtime.amp=false" in caplog.text) != has
