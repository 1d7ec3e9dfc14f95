"""The course of learning rate and momentum, the optimizer's step, and its precision."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, build_from_cfg

from geomm.engine.optimization import CpuAmpOptimWrapper, optim_wrapper, param_scheduler

SCHEDULE = {
    "policy": "one_cycle",
    "epochs": 4,
    "warmup": 0.25,
    "lr": 3e-3,
    "accumulate": 1,
    "clip_grad_norm": None,
    "optimizer": {"type": "AdamW", "weight_decay": 0.01},
}

RUNTIME = {"amp": False, "shard": False}


def course(schedule, steps_an_epoch, steps):
    """Return (learning rate, first beta) of every step that mmengine's schedulers give."""
    model = torch.nn.Linear(2, 2)
    wrapper = build_optim_wrapper(model, optim_wrapper(schedule, RUNTIME, torch.device("cpu")))
    schedulers = [
        build_from_cfg(one, PARAM_SCHEDULERS, {"optimizer": wrapper})
        for one in param_scheduler(schedule, steps_an_epoch)
    ]
    seen = []
    for _ in range(steps):
        group = wrapper.optimizer.param_groups[0]
        seen.append((group["lr"], group.get("betas", (None,))[0]))
        for scheduler in schedulers:
            scheduler.step()
    return seen


@pytest.mark.parametrize("steps_an_epoch", [3, 12, 25])
@pytest.mark.parametrize("warmup", [0.25, 0.5])
def test_rate_and_momentum_follow_torchs_one_cycle(steps_an_epoch, warmup):
    schedule = {**SCHEDULE, "warmup": warmup}
    total = schedule["epochs"] * steps_an_epoch
    optimizer = torch.optim.AdamW(torch.nn.Linear(2, 2).parameters(), lr=schedule["lr"])
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, schedule["lr"], total_steps=total, pct_start=warmup
    )
    expected = []
    for _ in range(total):
        group = optimizer.param_groups[0]
        expected.append((group["lr"], group["betas"][0]))
        optimizer.step()
        if len(expected) < total:
            cycle.step()
    seen = course(schedule, steps_an_epoch, total)
    for step, (one, other) in enumerate(zip(seen, expected, strict=True)):
        assert one == pytest.approx(other, rel=1e-6, abs=1e-9), step


def test_betas_of_the_users_own_stay_as_they_are():
    optimizer = {**SCHEDULE["optimizer"], "betas": [0.8, 0.99]}
    betas = {beta for _, beta in course({**SCHEDULE, "optimizer": optimizer}, 5, 20)}
    assert betas == {0.8}


def test_an_optimizer_without_betas_has_a_cycle_of_the_rate_alone():
    rates = [rate for rate, beta in course({**SCHEDULE, "optimizer": {"type": "SGD"}}, 5, 20)]
    assert max(rates) == pytest.approx(3e-3)
    assert rates[-1] < 1e-6


def test_adam_steps_in_one_pass_unless_the_user_says_otherwise():
    def options(runtime=RUNTIME, **optimizer):
        chosen = {**SCHEDULE, "optimizer": {"type": "AdamW", **optimizer}}
        return optim_wrapper(chosen, runtime, torch.device("cpu"))["optimizer"]

    assert options()["fused"] is True and options(fused=False)["fused"] is False
    assert "fused" not in options(type="SGD") and "fused" not in options({**RUNTIME, "shard": True})


def test_one_pass_learns_what_many_do():
    ends = []
    for fused in (True, False):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        chosen = {**SCHEDULE, "optimizer": {**SCHEDULE["optimizer"], "fused": fused}}
        options = optim_wrapper(chosen, RUNTIME, torch.device("cpu"))
        wrapper = build_optim_wrapper(model, options)
        for _ in range(20):
            wrapper.update_params(model(torch.ones(4, 3)).square().mean())
        ends.append(model.weight.detach())
    assert torch.allclose(*ends, atol=1e-6)


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
    monkeypatch.setattr("geomm.engine.optimization.computes_in_bf16", lambda device: has)
    optim_wrapper(SCHEDULE, {"amp": "bf16"}, torch.device("cpu"))
    assert ("many times slower than runtime.amp=false" in caplog.text) != has
