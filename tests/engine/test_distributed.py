"""Several processes train as one would: the same batches, gradients, statistics and metrics."""

import json
import subprocess
import sys

import pytest
import torch
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import nn

from geomm.engine.distributed import (
    MeansOverProcesses,
    SharedStatistics,
    agreed,
    in_turns,
    leave,
    share_of,
)
from geomm.errors import ConfigError
from geomm.models.losses import CrossEntropyLoss, DiceLoss, FocalLoss
from geomm.structures import IGNORE_INDEX, BandStatistics, RasterSpec, make_classes

SPEC = RasterSpec(
    bands=(1,), band_names=("pan",), dtype="uint8",
    statistics=BandStatistics((0.0,), (255.0,), (100.0,), (50.0,), 1),
    classes=make_classes(["water", "forest", "road"]), window_px=8, class_pixels=(50, 30, 4),
)  # fmt: skip
LOSSES = (
    CrossEntropyLoss(spec=SPEC, class_weight="auto"),
    DiceLoss(spec=SPEC, class_weight="auto"),
    FocalLoss(spec=SPEC),
)


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 3, 1))


def batch():
    """Four windows of which the first two are labelled sparsely, so that the halves weigh differently."""
    random = torch.Generator().manual_seed(4)
    inputs = torch.randn((4, 1, 8, 8), generator=random) * torch.tensor([1.0, 5, 2, 9]).view(4, 1, 1, 1)
    target = torch.randint(0, 3, (4, 6, 6), generator=random)
    target[:2, 1:] = IGNORE_INDEX
    return inputs, target


def step(model, inputs, target):
    loss = sum(loss(model(inputs), target) for loss in LOSSES)
    loss.backward()
    return float(loss.detach())


def state(model):
    found = {f"{name}.grad": value.grad for name, value in model.named_parameters()}
    return {**found, **dict(model.named_buffers())}


def half(rank, folder):
    """One of two processes: its half of the batch through the wrapper's parts."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    model = nn.parallel.DistributedDataParallel(network(), broadcast_buffers=False)
    inputs, target = batch()
    with SharedStatistics():
        loss = step(model, inputs[rank::2], target[rank::2])
    losses = [None, None]
    torch.distributed.all_gather_object(losses, loss)
    means, cpu = MeansOverProcesses(), torch.device("cpu")
    named = [{"loss": 1.0 + rank, "of_one": torch.tensor([3.0, 5.0])}, {"loss": 4.0}, {"loss": 2.0 * rank}]
    found = [means(numbers if rank or "of_one" not in numbers else {"loss": 1.0}, cpu) for numbers in named]
    shown = [{name: float(value) for name, value in each.items()} for each in found]
    assert shown == [{"loss": 1.5, "of_one": 4.0}, {"loss": 4.0}, {"loss": 1.0}]
    said = agreed(f"process {rank}")
    made = in_turns(lambda: (folder / "kept").touch() or rank)
    with pytest.raises(ConfigError, match=r"found 3, expected a multiple of the 2 processes, such as 2"):
        share_of(3)
    torch.save((state(model.module), losses, said, made, share_of(6)), folder / f"half_{rank}.pth")
    torch.distributed.barrier()
    leave()


def test_halves_of_a_batch_teach_as_the_whole(tmp_path):
    whole = network()
    loss = step(whole, *batch())
    mp.spawn(half, (tmp_path,), nprocs=2)
    for rank in range(2):
        found, losses, said, made, share = torch.load(tmp_path / f"half_{rank}.pth", weights_only=False)
        assert sum(losses) / 2 == pytest.approx(loss, rel=1e-5)
        for name, value in state(whole).items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)
        assert (said, made, share) == ("process 0", rank, 3)


def test_alone_nothing_is_shared():
    assert (agreed("mine"), in_turns(lambda: 7), share_of(5)) == ("mine", 7, 5)
    x, one, two = torch.randn(3, 4, 5), nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    expected = one(x)
    with SharedStatistics():
        torch.testing.assert_close(two(x), expected)
        assert torch.equal(F.relu(x), x.clamp(min=0))
    torch.testing.assert_close(two.running_var, one.running_var)
    one.eval(), two.eval()
    with SharedStatistics():
        assert torch.equal(two(x), one(x)) or torch.allclose(two(x), one(x), atol=1e-6)


def tool(root, *arguments, processes=1):
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)] if processes > 1 else []
    command = [sys.executable, *launcher, "tools/train.py", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)


def weights(folder):
    return torch.load(folder / "last.pth", map_location="cpu", weights_only=False)["state_dict"]


@pytest.mark.slow
def test_two_processes_train_what_one_does_and_go_on(tiny, tmp_path, root):
    arguments = [
        *tiny, "loss=cross_entropy_dice", "schedule.policy=constant", "schedule.warmup=0",
        "schedule.lr=0.003", "schedule.optimizer.type=SGD",
        "+schedule.optimizer.momentum=0.9", "dataset.windows_per_epoch=8",
    ]  # fmt: skip
    one, two = tmp_path / "one", tmp_path / "two"
    done = tool(root, *arguments, f"work_dir={one}", "schedule.epochs=2")
    assert done.returncode == 0, done.stderr
    for more in ("schedule.epochs=1", "schedule.epochs=2"):
        done = tool(root, *arguments, f"work_dir={two}", more, "resume=true", processes=2)
        assert done.returncode == 0, done.stderr
    first, second = weights(one), weights(two)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-3, atol=1e-4, msg=name)
    results = [json.loads((folder / "metrics.json").read_text()) for folder in (one, two)]
    assert results[0]["val"] == pytest.approx(results[1]["val"], abs=2e-3)
    # One process speaks and writes.
    assert done.stderr.count("best epoch") == 1
    assert (two / "train.log").read_text().count("best epoch") == 2
    assert not (root / ".dist_test").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
