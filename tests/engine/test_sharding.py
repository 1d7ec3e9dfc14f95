"""A model divided over processes learns what one process teaches it, and its checkpoints are whole."""

import copy
import subprocess
import sys
import time

import pytest
import timm
import torch
import torch.multiprocessing as mp
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from geomm.engine.batch_size import foreseen
from geomm.engine.distributed import leave
from geomm.engine.sharding import ShardedModel, divide, find_units
from geomm.errors import GeommError
from tests.engine.test_distributed import tool, weights

CPU = torch.device("cpu")


class Block(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(6, 6, 3, padding=1), norm

    def forward(self, x):
        return x + self.norm(self.conv(x)).relu()


class Network(BaseModel):
    """A stem and three blocks; a head with a scalar, and a part that is used where a sample asks for it."""

    def __init__(self, deep=False):
        super().__init__()
        torch.manual_seed(3)
        blocks = [Block(nn.BatchNorm2d(6)), Block(nn.GroupNorm(2, 6)), Block(nn.BatchNorm2d(6))]
        self.backbone = nn.ModuleDict({"stem": nn.Conv2d(2, 6, 1), "blocks": nn.Sequential(*blocks)})
        self.head, self.scale = nn.Conv2d(6, 3, 1), nn.Parameter(torch.tensor(0.7))
        self.seldom, self.never = nn.Linear(3, 1), nn.Linear(3, 1)
        self.deep = deep

    def forward(self, inputs, target=None, mode="tensor"):
        x = self.backbone["stem"](inputs)
        seldom = target is not None and bool((target > 1.5).any())
        for block in self.backbone["blocks"]:
            x = block(x) if seldom or not self.deep else x + 0.0 * block(x).detach()
        scores = (self.head(x) * self.scale).mean((2, 3))
        if mode != "loss":
            return scores
        loss = ((scores.mean(1) - target) ** 2).mean()
        if seldom:
            loss = loss + (self.seldom(scores[target > 1.5]) ** 2).sum() / len(target)
        return {"loss": loss}


def batches():
    random = torch.Generator().manual_seed(4)
    for step in range(4):
        target = torch.rand(4, generator=random)
        # From the second step on; only the first process's half asks for it.
        target[0] += 2.0 if step else 0.0
        yield {"inputs": torch.randn((4, 2, 8, 8), generator=random), "target": target}


def wrapped(model):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, eps=1e-3, weight_decay=0.5)
    return OptimWrapper(optimizer, clip_grad={"max_norm": 0.5}, accumulative_counts=2)


def taught(model, wrapper, data):
    return [float(model.train_step(batch, wrapper)["loss"].detach()) for batch in data]


def divided(model, dtype=None):
    """The model over the processes, and its optimizer."""
    sharded = ShardedModel(model, CPU, dtype)
    wrapper = wrapped(sharded)
    sharded.follow(wrapper.optimizer)
    return sharded, wrapper


def share(rank, folder):
    """One of two processes."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    own = [{key: value[rank * 2 : rank * 2 + 2] for key, value in batch.items()} for batch in batches()]
    sharded, wrapper = divided(Network())
    losses = taught(sharded, wrapper, own[:2])
    # What a checkpoint takes and gives back, to a model that has learnt otherwise.
    saved = sharded.module.state_dict(), wrapper.state_dict()
    box = [saved]
    torch.distributed.broadcast_object_list(box, src=0)
    again, wrapper_again = divided(Network())
    taught(again, wrapper_again, own[2:])
    again.module.load_state_dict(box[0][0])
    wrapper_again.load_state_dict(copy.deepcopy(box[0][1]))
    wrapper_again._inner_count = 2
    losses += taught(again, wrapper_again, own[2:])
    again.eval()
    count = {
        "held": sum(value.to_local().numel() for value in again.parameters()),
        "state": sum(
            value.to_local().numel()
            for values in wrapper_again.optimizer.state.values()
            for value in values.values()
            if isinstance(value, DTensor)
        ),
        "units": len(find_units(Network())),
    }
    # Different numbers of batches keep no process waiting.
    for _ in range(1 + rank):
        scores = again.whole(own[0]["inputs"])
    torch.save(
        {
            "losses": losses,
            "saved": saved if rank == 0 else None,
            "count": count,
            "whole": again.whole.state_dict(),
            "scores": scores,
            "precision": precision(own[0]),
            "apart": apart(own),
        },
        folder / f"share_{rank}.pth",
    )
    torch.distributed.barrier()
    leave()


def precision(batch):
    """In which precision blocks are gathered and gradients kept, with a part frozen for the first step."""
    found = {}
    module = Network().train()
    divide(module, init_device_mesh("cpu", (2,)), torch.bfloat16)
    for number, block in enumerate(module.backbone["blocks"]):
        block.register_forward_pre_hook(lambda m, _, n=number: found.update({n: m.conv.weight.dtype}))
    for trained in (False, True):
        module.backbone.requires_grad_(trained)
        with torch.autocast("cpu", torch.bfloat16):
            loss = module(**batch, mode="loss")["loss"]
        loss.backward()
    weight = module.backbone["blocks"][1].conv.weight
    return {**found, "grad": weight.grad.dtype, "kept": weight.dtype}


def apart(own):
    """What is said where a loss reaches the backbone in one process alone."""
    sharded, wrapper = divided(Network(deep=True))
    try:
        taught(sharded, wrapper, own[1:2])
    except GeommError as error:
        return str(error)
    return None


def test_parts_of_a_model_learn_as_the_whole(tmp_path):
    model = Network()
    wrapper = wrapped(model)
    losses = taught(model, wrapper, batches())
    sizes = sum(value.numel() for value in model.parameters())
    mp.spawn(share, (tmp_path,), nprocs=2)
    parts = [torch.load(tmp_path / f"share_{rank}.pth", weights_only=False) for rank in range(2)]
    for found in parts:
        for expected, got in zip(losses, found["losses"], strict=True):
            assert got == pytest.approx(expected, rel=1e-4)
        for name, value in model.state_dict().items():
            torch.testing.assert_close(found["whole"][name], value, rtol=1e-3, atol=1e-5, msg=name)
        # Padded where a tensor does not divide evenly.
        assert 0.4 * sizes < found["count"]["held"] < 0.6 * sizes
        assert found["count"]["state"] < 2 * 0.6 * sizes
        assert found["count"]["units"] == 3
        assert "in one process and" in found["apart"]
        assert found["precision"][1] == torch.bfloat16  # and float32 beside batch normalisation
        assert found["precision"][0] == found["precision"]["kept"] == torch.float32
        assert found["precision"]["grad"] == torch.float32
    assert sum(found["count"]["held"] for found in parts) == sizes
    torch.testing.assert_close(parts[0]["whole"]["never.weight"], Network().never.weight)  # no weight decay
    # Whole as saved: a model that was never divided goes on from it.
    other = Network()
    wrapper = wrapped(other)
    state, optimizer = parts[0]["saved"]
    other.load_state_dict(state)
    wrapper.load_state_dict(optimizer)
    assert all(type(v) is torch.Tensor for values in optimizer["state"].values() for v in values.values())
    wrapper._inner_count = 2
    taught(other, wrapper, list(batches())[2:])
    for name, value in model.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    "name",
    ["test_resnet", "test_convnext", "test_vit", "test_efficientnet", "test_maxvit", "hrnet_w18_small"],
)
def test_blocks_are_run_by_being_called(name):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.head = timm.create_model(name, features_only=True), nn.Linear(2, 2)

    model = Model()
    units = find_units(model)
    called = set()
    for unit in units:
        unit.register_forward_pre_hook(lambda module, _: called.add(id(module)))
    model.backbone(torch.randn(1, 3, 160, 160))
    assert len(units) >= 4
    assert called == {id(unit) for unit in units}
    inside = {id(value) for unit in units for value in unit.parameters()}
    sizes = {id(value): value.numel() for value in model.backbone.parameters()}
    assert sum(sizes[key] for key in inside) > 0.7 * sum(sizes.values())
    # Inner blocks come first, as fully_shard wants them.
    for number, unit in enumerate(units):
        assert not any(later is part for later in units[number + 1 :] for part in unit.modules())


def test_tied_weights_and_heads_are_no_blocks():
    model = Network()
    assert all(any(unit is block for block in model.backbone["blocks"]) for unit in find_units(model))
    model.backbone["blocks"][1].conv.weight = model.backbone["stem"].weight = nn.Parameter(
        torch.ones(6, 6, 3, 3)
    )
    assert [unit for unit in find_units(model) if unit is model.backbone["blocks"][1]] == []


@pytest.mark.parametrize(
    "fixed, each, size", [(0.1, 0.06, 8), (0.5, 0.3, 1), (0.85, 0.0, 1), (0.0, 1e-4, 256)]
)
def test_no_batch_is_tried_that_cannot_fit(fixed, each, size):
    tried = []

    def peak(number):
        tried.append(fixed + each * number)
        return tried[-1]

    assert foreseen(peak, most=256) == size
    assert max(tried) <= 0.9


@pytest.mark.slow
def test_a_killed_divided_run_goes_on_in_one_process(tiny, tmp_path, root):
    arguments = [
        *tiny, "loss=cross_entropy_dice", "schedule.policy=constant", "schedule.warmup=0",
        "schedule.lr=0.003", "schedule.optimizer.type=SGD",
        "+schedule.optimizer.momentum=0.9", "dataset.windows_per_epoch=8", "resume=true",
    ]  # fmt: skip
    one, two = tmp_path / "one", tmp_path / "two"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "tools/train.py",
        *arguments, f"work_dir={two}", "schedule.epochs=100", "runtime.shard=true",
    ]  # fmt: skip
    with open(tmp_path / "log", "w") as log:
        run = subprocess.Popen(command, cwd=root, stdout=log, stderr=log)
    ends = time.monotonic() + 200
    while not (two / "last.pth").exists() and run.poll() is None and time.monotonic() < ends:
        time.sleep(0.05)
    run.terminate()  # torchrun ends its processes, wherever they are
    run.wait()
    assert (two / "last.pth").exists(), (tmp_path / "log").read_text()
    done = torch.load(two / "last.pth", map_location="cpu", weights_only=False)["meta"]["epoch"]
    for folder in (one, two):
        found = tool(root, *arguments, f"work_dir={folder}", f"schedule.epochs={done + 1}")
        assert found.returncode == 0, found.stderr
    for name, value in weights(one).items():
        torch.testing.assert_close(weights(two)[name], value, rtol=1e-3, atol=1e-4, msg=name)
    assert (two / "train.log").read_text().count(f"epoch {done + 1}/{done + 1}") == 1
