"""Accuracy: geomm's U-Net against segmentation_models_pytorch's, trained by a plain loop.

Same encoder, spatial split, windows, augmentation, loss, optimizer, schedule and number of steps;
both keep the epoch that validates best. The plain loop below is all of the other side.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

import geomm
from geomm.config import compose, resolve
from geomm.config.compose import hydra_session
from geomm.datasets.collate import collate_raster
from geomm.metrics.confusion import count_confusion, summarise
from geomm.registry import DATASETS, build
from geomm.structures import IGNORE_INDEX
from tools.benchmarks.contestants import plain_loop

BUILDINGS = Path("..") / "shared" / "data" / "buildings"


def overrides(args, seed, folder):
    images = args.images or BUILDINGS / "sample_geotiff.tif"
    labels = args.labels or BUILDINGS / "geotiff_labels.geojson"
    return [
        "task=segmentation",
        "dataset=geotiff",
        f"dataset.images={images}",
        f"dataset.labels={labels}",
        f"dataset.window_px={args.window}",
        f"dataset.windows_per_epoch={args.windows}",
        "dataset.split.seed=0",
        "backbone=resnet18",
        "head=unet",
        "dataset.classes=[building]",
        f"schedule.epochs={args.epochs}",
        "schedule.patience=null",
        # The plain loop keeps the epoch of the best IoU too.
        "task.monitor=IoU/building",
        "tracking=none",
        f"seed={seed}",
        f"work_dir={folder}",
    ]


def train_geomm(args, seed, folder):
    started = time.perf_counter()
    geomm.train(overrides(args, seed, folder))
    metrics = json.loads((folder / "metrics.json").read_text())
    return metrics["val"]["IoU/building"], time.perf_counter() - started


def train_plain(args, seed, folder):
    import segmentation_models_pytorch as smp

    with hydra_session():
        config = resolve(compose("train", overrides(args, seed, folder)))
    dataset = {k: v for k, v in config["dataset"].items() if k != "tasks"}
    source = build(DATASETS, dataset, augment=config["task"]["augment"], seed=seed)
    spec = source.prepare(folder / "cache")
    started = time.perf_counter()
    torch.manual_seed(seed)
    model = smp.Unet("resnet18", encoder_weights=None, in_channels=1, classes=spec.num_classes)
    val = source.split("val")
    mean = torch.tensor(spec.statistics.mean).view(1, -1, 1, 1).float()
    std = torch.tensor(spec.statistics.std).view(1, -1, 1, 1).float()
    scores = []

    def loss(batch):
        inputs = torch.where(batch["valid"][:, None], (batch["inputs"] - mean) / std, 0.0)
        return F.cross_entropy(model(inputs), batch["mask"].long(), ignore_index=IGNORE_INDEX)

    plain_loop.train(
        model,
        source.split("train"),
        config["schedule"],
        seed=seed,
        loss=loss,
        after_epoch=lambda: scores.append(evaluate(model, val, mean, std)),
    )
    return max(scores), time.perf_counter() - started


@torch.inference_mode()
def evaluate(model, val, mean, std):
    model.eval()
    matrix = np.zeros((2, 2), np.int64)
    for index in range(len(val)):
        batch = collate_raster([val[index]])
        inputs = torch.where(batch["valid"][:, None], (batch["inputs"] - mean) / std, 0.0)
        classes = model(inputs).argmax(1)
        matrix += count_confusion(batch["mask"], classes, 2, IGNORE_INDEX)
    return summarise(matrix, ["background", "building"])["IoU/building"]


def main(argv):
    parser = argparse.ArgumentParser(prog="benchmark.py segmentation", description=__doc__)
    parser.add_argument("--images")
    parser.add_argument("--labels")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--window", type=int, default=128)
    parser.add_argument("--windows", type=int, default=96)
    args = parser.parse_args(argv)
    rows = {"geomm unet": [], "segmentation_models_pytorch Unet": []}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(args.seeds):
            for (name, scores), run in zip(rows.items(), (train_geomm, train_plain), strict=True):
                place = Path(folder) / f"{run.__name__}_{seed}"
                scores.append(run(args, seed, place))
                print(
                    f"seed {seed}, {name}: IoU {scores[-1][0]:.4f}, {scores[-1][1]:.0f} s",
                    flush=True,
                )
    print(
        f"\n| model | IoU of building, mean of {args.seeds} seeds | each | seconds, median |"
        "\n|---|---|---|---|"
    )
    for name, scores in rows.items():
        each = ", ".join(f"{score:.4f}" for score, _ in scores)
        mean = statistics.mean(score for score, _ in scores)
        seconds = statistics.median(seconds for _, seconds in scores)
        print(f"| {name} | {mean:.4f} | {each} | {seconds:.0f} |")
    return 0
