"""A sweep of two runs side by side (hydra/launcher=joblib) against one after the other, one thread each.

Both are whole commands, from the start of Python to the leaderboard, in turns. The runs are the same to the
seed, which is checked by their scores.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    print(
        f"building footprints, U-Net over ResNet-18, {options.epochs} epochs of {options.windows} windows, "
        f"two learning rates, one thread a run, {options.runs} rounds in turns, {os.cpu_count()} cores\n"
    )
    launchers = {
        "one after the other": [],
        "side by side": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in launchers}
    scores = set()
    for _ in range(options.runs):
        for name, launcher in launchers.items():
            wall, found = run_one(launcher, options)
            seconds[name].append(wall)
            scores.add(found)
    print("| | wall s, median | each |\n|---|---|---|")
    for name, values in seconds.items():
        print(f"| {name} | {statistics.median(values):.1f} | {', '.join(f'{v:.1f}' for v in values)} |")
    ratios = [one / two for one, two in zip(*seconds.values(), strict=True)]
    print(
        f"\nside by side is {statistics.median(ratios):.2f} times as fast, median of "
        f"{', '.join(f'{ratio:.2f}' for ratio in ratios)}"
    )
    print("all rounds came to the same scores" if len(scores) == 1 else f"THE SCORES DIFFER: {scores}")
    return 0 if len(scores) == 1 else 1


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmark.py sweep", description=__doc__)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--windows", type=int, default=96, help="windows an epoch")
    parser.add_argument("--runs", type=int, default=3)
    return parser.parse_args(argv)


def run_one(launcher: Sequence[str], options: argparse.Namespace) -> tuple[float, tuple[str, ...]]:
    """Run the sweep; return its wall time and the scores of its runs."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "tools/train.py", "-m", "experiment=building_footprints", "backbone=resnet18",
            "schedule.lr=1e-3,3e-3", f"schedule.epochs={options.epochs}", "schedule.patience=null",
            f"dataset.windows_per_epoch={options.windows}", "runtime.threads=1", "runtime.workers=0",
            "runtime.device=cpu", "tracking=none", f"work_dir={folder}/sweep", *launcher,
        ]  # fmt: skip
        started = time.perf_counter()
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        wall = time.perf_counter() - started
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        with (Path(folder) / "sweep" / "leaderboard.csv").open(encoding="utf-8") as file:
            return wall, tuple(row["score"] for row in csv.DictReader(file))


if __name__ == "__main__":
    sys.exit(main())
