"""Finding objects in a large scene, beside sahi and supervision's slicer.

Every contestant cuts the same scene into the same tiles, gets the same 40 boxes for each from a network that
costs nothing, and merges them by non-maximum suppression at the same threshold, in a process of its own. Wall
time is that of the call, reading included, without imports; geomm's includes the GeoPackage it writes, the
others keep their result in memory. Memory is the process's peak. Then geomm's merging alone, for numbers of
boxes up to a million.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WORKER = HERE / "contestants" / "detection.py"
OTHERS = ("sahi", "supervision")


class ContestantError(Exception):
    """A contestant's process failed."""


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    scene = runpy.run_path(str(HERE / "inference.py"))["make_scene"](options.cache, options.size)
    names = ["geomm", *_importable(options.competitors_python)]
    print(
        f"{options.size} x {options.size} x 3 uint8, tiles of {options.tile_px} px, stride "
        f"{options.tile_px - options.overlap_px}, 40 boxes a tile, {options.threads} threads, median of "
        f"{options.runs} runs\n"
    )
    task = {
        "scene": str(scene),
        "tile_px": options.tile_px,
        "overlap_px": options.overlap_px,
        "batch_size": options.batch_size,
    }
    results: dict[str, list[dict[str, float]]] = {}
    for _ in range(options.runs):  # in turn, so that a slow minute of the machine hits all alike
        for name in list(names):
            try:
                results.setdefault(name, []).append(run_one({**task, "name": name}, options))
            except ContestantError as error:
                print(f"{name} failed and is left out: {error}", file=sys.stderr)
                names.remove(name)
                results.pop(name)
    print_table(results)
    _merging(options, task)
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmark.py detection", description=__doc__)
    parser.add_argument("--size", type=int, default=8192, help="edge of the scene")
    parser.add_argument("--tile-px", type=int, default=512)
    parser.add_argument("--overlap-px", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--most-boxes", type=int, default=1_000_000)
    parser.add_argument("--memory-gb", type=float, default=8.0, help="most that a contestant may take")
    parser.add_argument("--competitors-python", help="python with what requirements/benchmark.txt names")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "geomm" / "benchmark"
    parser.add_argument("--cache", type=Path, default=cache)
    return parser.parse_args(argv)


def _importable(python: str | None) -> list[str]:
    found = []
    for name in OTHERS if python else ():
        if subprocess.run([python, "-c", f"import {name}"], capture_output=True).returncode == 0:
            found.append(name)
        else:
            print(f"{name} is left out: {python} cannot import it")
    return found


def run_one(task: dict[str, Any], options: argparse.Namespace) -> dict[str, float]:
    """Run one contestant in a process of its own: seconds, objects kept and peak memory."""
    python = options.competitors_python if task["name"] in OTHERS else sys.executable
    environment = {
        **os.environ, "OMP_NUM_THREADS": str(options.threads), "PYTHONPATH": str(WORKER.parents[3]),
    }  # fmt: skip
    with tempfile.TemporaryDirectory(dir=options.cache) as folder:
        most = str(int(options.memory_gb * 2**20))
        given = json.dumps({**task, "folder": folder, "threads": options.threads})
        limited = ["sh", "-c", f'ulimit -v {most} && exec "$@"', "sh"]
        command = [*limited, python, str(WORKER), given]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode == -signal.SIGKILL or "MemoryError" in done.stderr:
        raise ContestantError(f"it takes more than {options.memory_gb:g} GB of memory (--memory-gb)")
    if done.returncode:
        raise ContestantError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def print_table(results: dict[str, list[dict[str, float]]]) -> None:
    """Print medians, and ratios to geomm."""

    def median(name: str, key: str) -> float:
        return statistics.median(result[key] for result in results[name])

    print("| | wall s | fastest, slowest | it / geomm | CPU s | peak memory MB | it / geomm | objects kept |")
    print("|---|---|---|---|---|---|---|---|")
    for name, runs in results.items():
        seconds = [result["seconds"] for result in runs]
        print(
            f"| {name} | {statistics.median(seconds):.2f} | {min(seconds):.2f}, {max(seconds):.2f} | "
            f"{median(name, 'seconds') / median('geomm', 'seconds'):.2f} | {median(name, 'cpu_s'):.1f} | "
            f"{median(name, 'peak_mb'):.0f} | {median(name, 'peak_mb') / median('geomm', 'peak_mb'):.2f} | "
            f"{median(name, 'objects'):.0f} |"
        )


def _merging(options: argparse.Namespace, task: dict[str, Any]) -> None:
    counts = [count for count in (10_000, 100_000, 1_000_000) if count <= options.most_boxes]
    print("\nmerging alone:\n\n| | " + " | ".join(f"{count:,} boxes" for count in counts) + " |")
    print("|---|" + "---|" * len(counts))
    for merge in ("nms", "soft", "wbf"):
        runs = [
            run_one({**task, "name": "merge", "merge": merge, "count": count}, options) for count in counts
        ]
        cells = (f"{run['seconds']:.2f} s, {run['peak_mb']:.0f} MB" for run in runs)
        print(f"| {merge} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    sys.exit(main())
