"""Super-resolution: PSNR beside bicubic and a plain loop, speed beside the bare forward pass, memory.

`accuracy` trains heads on the sample scene of tree_crowns, split in blocks, and EDSR by a plain loop with
the same data, network, loss and steps. `speed` maps a made-up scene with EDSR; the bare forward pass goes
over the same tiles, in the same batches, waiting in memory. `memory` maps two scenes, one twice as wide
and high, with SRCNN, each in a process of its own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
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
from geomm.metrics.super_resolution import SuperResolutionMetric
from geomm.registry import MODELS, TASKS, build, get
from tools.benchmarks.contestants import plain_loop
from tools.benchmarks.contestants.peak import peak_mb

HEADS = ("srcnn", "edsr", "rdn", "srresnet", "esrgan", "swinir")
#: Smaller than the papers', so that 15 minutes on two cores suffice; the same for every contestant.
SIZES = {
    "srcnn": [],
    "edsr": ["head.num_blocks=8", "head.mid_channels=48"],
    "rdn": ["head.num_blocks=4", "head.num_layers=4", "head.mid_channels=32", "head.channel_growth=16"],
    "srresnet": ["head.num_blocks=8", "head.mid_channels=48"],
    "esrgan": ["head.num_blocks=3", "head.mid_channels=32", "head.growth_channels=16"],
    "swinir": ["head.depths=[4,4]", "head.embed_dim=36", "head.num_heads=[4,4]"],
}


def overrides(args, head, scale, seed, folder):
    window = 128 if head == "esrgan" else 96
    return [
        "task=super_resolution",
        "dataset.sample=tree_crowns",
        f"dataset.window_px={window}",
        f"dataset.windows_per_epoch={args.windows}",
        "dataset.split.seed=0",
        f"task.degrade.downsample.method={args.degrade}",
        f"head={head}",
        f"head.scale={scale}",
        *SIZES[head],
        f"schedule.epochs={args.epochs}",
        "schedule.patience=null",
        f"schedule.val_interval={args.epochs}",
        "tracking=none",
        f"seed={seed}",
        f"work_dir={folder}",
    ]


def train_geomm(args, head, scale, seed, folder):
    started = time.perf_counter()
    geomm.train(overrides(args, head, scale, seed, folder))
    seconds = time.perf_counter() - started
    return json.loads((folder / "metrics.json").read_text())["val"], seconds


def train_plain(args, scale, seed, folder):
    """Train mmagic's EDSR over the same windows by a loop of torch's own."""
    with hydra_session():
        config = resolve(compose("train", overrides(args, "edsr", scale, seed, folder)))
    task = build(TASKS, config["task"])
    source = task.build_source(config)
    spec = source.prepare(folder / "cache")
    head = config["head"]
    started = time.perf_counter()
    torch.manual_seed(seed)
    network = get(MODELS, "mmagic.EDSRNet")(
        spec.in_channels, spec.in_channels, head["mid_channels"], head["num_blocks"], scale,
        rgb_mean=[0.0] * spec.in_channels, rgb_std=[1.0] * spec.in_channels,
    )  # fmt: skip
    torch.nn.init.zeros_(network.conv_last.weight)
    torch.nn.init.zeros_(network.conv_last.bias)
    statistics = spec.statistics
    mean, std = (torch.tensor(x).view(1, -1, 1, 1).float() for x in (statistics.mean, statistics.std))

    def loss(batch):
        found = enlarge(network, (batch["inputs"] - mean) / std, scale)
        error = (found - (batch["target"] - mean) / std).abs() * batch["target_valid"][:, None]
        return error.sum() / (batch["target_valid"].sum() * spec.in_channels)

    plain_loop.train(network, source.split("train"), config["schedule"], seed=seed, loss=loss)
    return judge(network, source.split("val"), mean, std, scale), time.perf_counter() - started


def enlarge(network, inputs, scale):
    size = [edge * scale for edge in inputs.shape[-2:]]
    return network(inputs) + F.interpolate(inputs, size, mode="bicubic", antialias=True)


@torch.inference_mode()
def judge(network, dataset, mean, std, scale):
    network.eval()
    metric = SuperResolutionMetric(data_range=255.0, crop_px=scale)
    for index in range(len(dataset)):
        batch = collate_raster([dataset[index]])
        inputs = batch["inputs"]
        size = [edge * scale for edge in inputs.shape[-2:]]
        metric.process({}, [{
            "prediction": (enlarge(network, (inputs - mean) / std, scale) * std + mean)[0],
            "bicubic": F.interpolate(inputs, size, mode="bicubic", antialias=True)[0],
            "target": batch["target"][0],
            "valid": batch["target_valid"][0],
        }])  # fmt: skip
    return metric.evaluate(len(dataset))


def accuracy(args):
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for scale in args.scales:
            contestants = [(head, seed) for head in args.heads for seed in range(args.seeds)]
            for head, seed in contestants:
                place = Path(folder) / f"{head}_{scale}_{seed}"
                rows.append((head, scale, *train_geomm(args, head, scale, seed, place)))
                report(rows[-1], seed)
                if head == "edsr":
                    place = Path(folder) / f"plain_{scale}_{seed}"
                    rows.append(("edsr, plain loop", scale, *train_plain(args, scale, seed, place)))
                    report(rows[-1], seed)
    print("\n| head | scale | PSNR dB | bicubic dB | gain dB | SSIM | seeds | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for name, scale in dict.fromkeys((row[0], row[1]) for row in rows):
        mine = [row for row in rows if row[:2] == (name, scale)]
        mean = {key: statistics.mean(row[2][key] for row in mine) for key in mine[0][2]}
        seconds = statistics.median(row[3] for row in mine)
        print(
            f"| {name} | {scale} | {mean['PSNR']:.3f} | {mean['PSNR/bicubic']:.3f} | {mean['gain']:.3f} | "
            f"{mean['SSIM']:.4f} | {len(mine)} | {seconds:.0f} |"
        )


def report(row, seed):
    name, scale, metrics, seconds = row
    print(f"seed {seed}, {name} x{scale}: gain {metrics['gain']:.3f} dB, {seconds:.0f} s", flush=True)


def make_scene(folder, edge):
    import rasterio

    path = folder / f"scene_{edge}.tif"
    profile = {"driver": "GTiff", "width": edge, "height": edge, "count": 3, "dtype": "uint8"}
    place = {"crs": "EPSG:32616", "transform": rasterio.Affine(0.5, 0, 7e5, 0, -0.5, 3.7e6)}
    rng = np.random.default_rng(0)
    with rasterio.open(path, "w", tiled=True, **profile, **place) as target:
        for row in range(0, edge, 256):
            rows = min(256, edge - row)
            pixels = rng.integers(0, 255, (3, rows, edge), dtype=np.uint8)
            target.write(pixels, window=rasterio.windows.Window(0, row, edge, rows))
    return path


def make_model(head, scale, sizes=()):
    from geomm.models.maps.super_resolver import SuperResolver
    from geomm.structures import BandStatistics, RasterSpec

    with hydra_session():
        names = ["task=super_resolution", f"head={head}", f"head.scale={scale}", *sizes]
        config = resolve(compose("train", ["work_dir=x", "dataset.images=x", *names]))
    statistics = BandStatistics((0.0,) * 3, (255.0,) * 3, (127.0,) * 3, (73.0,) * 3, 1)
    spec = RasterSpec((1, 2, 3), ("r", "g", "b"), "uint8", statistics, (), 128, scale=scale)
    return SuperResolver(head=config["head"], loss=None, spec=spec).eval(), spec


def map_scene(path, out, model, spec, args):
    from geomm.inference import FinerOptions, FinerScene, predict_rasters

    options = FinerOptions(
        tile_px=args.tile_px, overlap_px=args.overlap_px, batch_size=args.batch_size, device="cpu",
        preview=False, on_error="raise", resume=False,
    )  # fmt: skip
    predict_rasters(
        path, out, score=model.predict_pixels, spec=spec, products=FinerScene(spec), options=options,
        model_id="benchmark",
    )  # fmt: skip


def speed(args):
    from geomm.inference.grid import TileGrid
    from geomm.io.raster import RasterReader

    torch.set_num_threads(args.threads)
    model, spec = make_model("edsr", 2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = make_scene(folder, args.size)
        grid, reader = TileGrid(args.size, args.size, args.tile_px, args.overlap_px), RasterReader(path)
        tiles = [reader.read(window)[0] for window in grid]
        across = len(grid.lefts)
        batches = [
            torch.from_numpy(np.stack(tiles[row + first : row + min(first + args.batch_size, across)]))
            for row in range(0, len(tiles), across)
            for first in range(0, across, args.batch_size)
        ]

        def bare():
            for batch in batches:
                model.predict_pixels(batch, torch.ones((len(batch), *batch.shape[2:]), dtype=torch.bool))

        seconds = {"geomm": [], "bare forward": []}
        for run in range(args.runs):
            for label, work in (
                ("bare forward", bare),
                ("geomm", lambda run=run: map_scene(path, folder / f"o{run}", model, spec, args)),
            ):
                started = time.perf_counter()
                work()
                seconds[label].append(time.perf_counter() - started)
    middle = {label: statistics.median(values) for label, values in seconds.items()}
    print(f"EDSR x2, {args.size} x {args.size} x 3, tiles of {args.tile_px}, {args.threads} threads")
    for label, value in middle.items():
        print(
            f"| {label} | {value:.2f} s | {middle['bare forward'] / value:.3f} of the bare forward's speed |"
        )


def memory(args):
    peaks = []
    for edge in (args.size, 2 * args.size):
        command = [sys.executable, __file__, "one", "--size", str(edge), "--tile-px", str(args.tile_px)]
        root = str(Path(__file__).resolve().parents[2])
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": root}
        )
        peaks.append(float(done.stdout.split()[-1]))
    growth = 100 * (peaks[1] / peaks[0] - 1)
    small, large = (
        f"{peak:.0f} MB at {edge} px" for peak, edge in zip(peaks, (args.size, 2 * args.size), strict=True)
    )
    print(f"SRCNN x2: {small}, {large}: {growth:+.1f} %")


def one(args):
    torch.set_num_threads(args.threads)
    model, spec = make_model("srcnn", 2)
    with tempfile.TemporaryDirectory() as folder:
        map_scene(make_scene(Path(folder), args.size), Path(folder) / "o", model, spec, args)
    print(peak_mb())


def main(argv):
    parser = argparse.ArgumentParser(prog="benchmark.py superres", description=__doc__)
    parser.add_argument("part", choices=("accuracy", "speed", "memory", "one"))
    parser.add_argument("--heads", nargs="+", default=list(HEADS), choices=HEADS)
    parser.add_argument("--scales", nargs="+", type=int, default=[2, 4])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--windows", type=int, default=96)
    parser.add_argument(
        "--degrade",
        default="bicubic",
        choices=("bicubic", "area"),
        help="what makes the coarser picture; bicubic is the field's protocol, area geomm's default",
    )
    parser.add_argument("--size", type=int, default=1024, help="edge of the made-up scene")
    parser.add_argument("--tile-px", type=int, default=256)
    parser.add_argument("--overlap-px", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(argv)
    {"accuracy": accuracy, "speed": speed, "memory": memory, "one": one}[args.part](args)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
