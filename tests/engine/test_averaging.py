"""The moving average of the weights: what it is of, and that it is what a run keeps."""

import torch
from torch import nn

import geomm
from geomm.engine.averaging import MovingAverage


def test_it_follows_the_weights_closely_at_first_and_slowly_later():
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.BatchNorm1d(1))
    average = MovingAverage(model, decay=0.5)
    expected = model[0].weight.detach().clone()
    for step in range(12):
        with torch.no_grad():
            model[0].weight += 1
            model[1].running_mean += 1
        average.update_parameters(model)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model[0].weight.detach()
    torch.testing.assert_close(average.module[0].weight, expected)
    assert not average.module[0].weight.requires_grad
    assert average.module[1].running_mean == model[1].running_mean == 12
    assert average.steps == 12


def test_a_run_validates_and_keeps_the_average(tiny, tmp_path):
    package = geomm.train([*tiny, f"work_dir={tmp_path}", "schedule.epochs=2", "schedule.ema=0.9"])
    last = torch.load(tmp_path / "last.pth", map_location="cpu", weights_only=False)
    own = last["ema_state_dict"]  # of a checkpoint: the weights that are trained on
    assert own["steps"] == 8
    name = next(key for key in last["state_dict"] if key.endswith("weight"))
    assert not torch.equal(last["state_dict"][name], own[f"module.{name}"])
    best = torch.load(tmp_path / "best.pth", map_location="cpu", weights_only=False)["state_dict"]
    kept = package.model.state_dict()
    assert all(torch.equal(kept[key].cpu(), value) for key, value in best.items())
