"""Map inference against the bare forward pass and against other libraries, side by side.

Every contestant maps the same scene with the same network, tiles and batches, each in a process of
its own; wall time is that of the call, without imports, and memory is the process's peak. `bare` is
the forward pass alone over tiles that wait in memory, `tuned` the same with geomm's memory layout
and allocator settings.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

WORKER = Path(__file__).resolve().parent / "contestants" / "inference.py"
OURS = ("geomm", "bare", "tuned")
OTHERS = ("torchgeo", "rastervision", "geoai")


class ContestantError(Exception):
    """A contestant's process failed."""


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    scene = make_scene(options.cache, options.size)
    names = [*OURS, *_importable(options.competitors_python)]
    names = [name for name in names if not options.only or name in options.only]
    print(
        f"{options.network} network, {options.size} x {options.size} x 3 uint8, tiles of "
        f"{options.tile_px} px, stride {options.tile_px - options.overlap_px}, 4 classes, "
        f"{options.threads} threads, median of {options.runs} runs\n"
    )
    results: dict[str, list[dict[str, float]]] = {}
    for _ in range(options.runs):  # in turn, so that a slow minute of the machine hits all alike
        for name in list(names):
            try:
                results.setdefault(name, []).append(run_one(name, scene, options))
            except ContestantError as error:
                print(f"{name} failed and is left out: {error}", file=sys.stderr)
                names.remove(name)
    print_table({name: results[name] for name in names})
    if options.memory:
        _memory_growth(options)
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmark.py inference", description=__doc__)
    parser.add_argument("--network", choices=("tiny", "unet"), default="tiny")
    parser.add_argument("--size", type=int, help="edge of the scene (8192; 2048 for unet)")
    parser.add_argument("--tile-px", type=int, default=512)
    parser.add_argument("--overlap-px", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", nargs="+", choices=(*OURS, *OTHERS))
    parser.add_argument("--memory", action="store_true", help="also peak memory at twice the edge")
    parser.add_argument("--competitors-python", help="python with what requirements/benchmark.txt names")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "geomm" / "benchmark"
    parser.add_argument("--cache", type=Path, default=cache)
    options = parser.parse_args(argv)
    options.size = options.size or (8192 if options.network == "tiny" else 2048)
    return options


def make_scene(folder: Path, edge_px: int) -> Path:
    """Write a tiled GeoTIFF of blobs and noise, once."""
    import rasterio
    from rasterio.windows import Window

    path = folder / f"scene_{edge_px}.tif"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    profile = {
        "driver": "GTiff", "width": edge_px, "height": edge_px, "count": 3, "dtype": "uint8",
        "crs": "EPSG:32633", "transform": rasterio.Affine(0.5, 0, 5e5, 0, -0.5, 5e6),
        "tiled": True, "blockxsize": 512, "blockysize": 512, "bigtiff": "if_safer",
    }  # fmt: skip
    block = 512
    with rasterio.open(temporary, "w", **profile) as target:
        for row in range(0, edge_px, block):
            for col in range(0, edge_px, block):
                random = np.random.default_rng([row, col])
                coarse = random.uniform(40, 200, (3, 16, 16))
                pixels = np.kron(coarse, np.ones((block // 16, block // 16)))
                pixels += random.normal(0, 12, pixels.shape)
                height, width = min(block, edge_px - row), min(block, edge_px - col)
                part = pixels.clip(1, 255).astype(np.uint8)[:, :height, :width]
                target.write(part, window=Window(col, row, width, height))
    temporary.replace(path)
    return path


def _importable(python: str | None) -> list[str]:
    if python is None:
        return []
    found = []
    for name, module in zip(OTHERS, ("torchgeo", "rastervision.core", "geoai"), strict=True):
        code = f"import {module}"
        if subprocess.run([python, "-c", code], capture_output=True).returncode == 0:
            found.append(name)
        else:
            print(f"{name} is left out: {python} cannot import it")
    return found


def run_one(name: str, scene: Path, options: argparse.Namespace) -> dict[str, float]:
    """Run one contestant in a process of its own; seconds, peak memory and whether it is right."""
    python = options.competitors_python if name in OTHERS else sys.executable
    root = str(WORKER.parents[3])
    threads = str(options.threads)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONPATH": root}
    with tempfile.TemporaryDirectory(dir=options.cache) as folder:
        task = {
            "name": name,
            "scene": str(scene),
            "folder": folder,
            "network": options.network,
            "tile_px": options.tile_px,
            "overlap_px": options.overlap_px,
            "batch_size": options.batch_size,
            "threads": options.threads,
        }
        command = [python, str(WORKER), json.dumps(task)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ContestantError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def print_table(results: dict[str, list[dict[str, float]]]) -> None:
    """Print medians, and ratios to the bare forward pass and to geomm."""

    def median(name: str, key: str) -> float:
        return statistics.median(result[key] for result in results[name])

    print("| | wall s | fastest, slowest | CPU s | bare forward / it | it / geomm | peak memory MB |")
    print("|---|---|---|---|---|---|---|")
    for name, runs in results.items():
        seconds = [result["seconds"] for result in runs]
        middle = statistics.median(seconds)
        bare = f"{median('bare', 'seconds') / middle:.3f}" if "bare" in results else ""
        ours = f"{middle / median('geomm', 'seconds'):.2f}" if "geomm" in results else ""
        print(
            f"| {name} | {middle:.2f} | {min(seconds):.2f}, {max(seconds):.2f} | "
            f"{median(name, 'cpu_s'):.1f} | {bare} | {ours} | {median(name, 'peak_mb'):.0f} |"
        )


def _memory_growth(options: argparse.Namespace) -> None:
    edges = (options.size, 2 * options.size)
    peaks = []
    for edge in edges:
        scene = make_scene(options.cache, edge)
        runs = [run_one("geomm", scene, options) for _ in range(options.runs)]
        peaks.append(statistics.median(result["peak_mb"] for result in runs))
    print(
        f"\nmemory of geomm: {peaks[0]:.0f} MB at {edges[0]} px, {peaks[1]:.0f} MB at {edges[1]} px: "
        f"{100 * (peaks[1] / peaks[0] - 1):+.1f} %"
    )


if __name__ == "__main__":
    sys.exit(main())
