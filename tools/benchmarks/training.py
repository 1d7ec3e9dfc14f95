"""Speed of training: geomm's loop against a plain PyTorch loop over the same model and batches.

Both sides run in turns in one process, on batches prepared before; also how fast the loader makes
batches, beside how fast the model eats them.
"""

import argparse
import copy
import statistics
import tempfile
import time
from pathlib import Path

import torch
from mmengine.hooks import Hook

from geomm.config import compose, resolve
from geomm.config.compose import hydra_session
from geomm.engine.loaders import build_loader
from geomm.engine.runner import make_runner
from geomm.registry import DATASETS, TASKS, build


class Fixed(torch.utils.data.Dataset):
    """Batches made before, handed out as they are."""

    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index % len(self.batches)]


def plain_epoch(model, batches, lr):
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=len(batches) + 1)
    model.train()
    started = time.perf_counter()
    for batch in batches:
        data = model.data_preprocessor(batch, True)
        loss = sum(model(**data, mode="loss").values())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        cycle.step()
    return (time.perf_counter() - started) / len(batches)


def geomm_epoch(model, batches, config, task, spec, folder):
    loader = torch.utils.data.DataLoader(Fixed(batches), collate_fn=lambda items: items[0])
    val = torch.utils.data.DataLoader(Fixed(batches[:1]), collate_fn=lambda items: items[0])
    config = {**config, "work_dir": str(folder)}
    schedule = {**config["schedule"], "epochs": 1, "val_interval": 2, "patience": None}
    runner = make_runner(
        model=model, config=config, schedule=schedule, task=task, device=torch.device("cpu"),
        train_loader=loader, val_loader=val, metrics=task.metrics(spec),
    )  # fmt: skip
    times = []

    class Clock(Hook):
        priority = "LOWEST"

        def before_train_epoch(self, runner):
            times.append(time.perf_counter())

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            times.append(time.perf_counter())

    runner.register_hook(Clock())
    runner.geomm_training = True
    runner.train()
    return (times[-1] - times[0]) / len(batches)


def main(argv):
    parser = argparse.ArgumentParser(prog="benchmark.py training", description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backbone", default="resnet18")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder, hydra_session():
        config = resolve(
            compose(
                "train",
                [
                    "experiment=building_footprints",
                    f"backbone={args.backbone}",
                    f"work_dir={folder}",
                    "tracking=none",
                ],
            )
        )
        task = build(TASKS, config["task"])
        dataset = {k: v for k, v in config["dataset"].items() if k != "tasks"}
        source = build(DATASETS, dataset, augment=task.augment, seed=0)
        spec = source.prepare(Path(folder) / "cache")
        size = config["schedule"]["batch_size"]
        loader = build_loader(
            source.split("train"), batch_size=size, workers="auto", collate=task.collate, shuffle=True,
            seed=0, device=torch.device("cpu"),
        )  # fmt: skip
        iterator = iter(loader)
        next(iterator)
        started = time.perf_counter()
        made = sum(1 for _ in iterator)
        loading = (time.perf_counter() - started) / made
        data = source.split("train")
        batches = [task.collate([data[i * size + j] for j in range(size)]) for i in range(args.steps)]
        torch.manual_seed(0)
        model = task.build_model(config, spec)
        plain_epoch(copy.deepcopy(model), batches[:3], 1e-3)  # warm up
        ours, plain = [], []
        for number in range(args.rounds):
            sides = [
                lambda: plain.append(plain_epoch(copy.deepcopy(model), batches, 1e-3)),
                lambda n=number: ours.append(
                    geomm_epoch(copy.deepcopy(model), batches, config, task, spec, Path(folder) / str(n))
                ),
            ]
            for side in sides if number % 2 else reversed(sides):
                side()
    ratio = statistics.median(a / b for a, b in zip(ours, plain, strict=True))
    print("\n| what | seconds, median |\n|---|---|")
    print(f"| plain PyTorch step | {statistics.median(plain):.4f} |")
    print(f"| geomm step | {statistics.median(ours):.4f} |")
    print(f"| a batch from the loader | {loading:.4f} |")
    print(
        f"\ngeomm / plain, median of {args.rounds} pairs: {ratio:.3f}; "
        f"loader / step: {loading / statistics.median(plain):.3f}"
    )
    return 0
