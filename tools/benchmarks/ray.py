"""Map inference over workers of a Ray cluster on this machine, one thread each, against one worker.

A scene is mapped by geomm's U-Net over ResNet-18, which is bound by compute. Every contestant runs in a
process of its own, in turns; wall time is that of the call on a cluster that has mapped a small scene before.
`local` is the same in one process without Ray.
The maps are compared to the byte.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import runpy
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
CONTESTANT = HERE / "contestants" / "ray_map.py"


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    make_scene = runpy.run_path(str(HERE / "inference.py"), run_name="scenes")["make_scene"]
    scene, small = (make_scene(options.cache, edge) for edge in (options.size, 512))
    names = {"1 worker": 1, f"{options.workers} workers": options.workers}
    if options.local:
        names["local"] = 0
    print(
        f"U-Net over ResNet-18, {options.size} x {options.size} x 3 uint8, tiles of {options.tile_px} px, "
        f"one thread a worker, {options.runs} rounds in turns, {os.cpu_count()} cores\n"
    )
    seconds: dict[str, list[float]] = {name: [] for name in names}
    maps = set()
    for _ in range(options.runs):
        for name, workers in names.items():
            found = run_one(scene, small, workers, options)
            seconds[name].append(found["seconds"])
            maps.add(found["map"])
    print("| | wall s, median | each |\n|---|---|---|")
    for name, values in seconds.items():
        print(f"| {name} | {statistics.median(values):.2f} | {', '.join(f'{v:.2f}' for v in values)} |")
    one, many = seconds["1 worker"], seconds[f"{options.workers} workers"]
    ratios = [a / b for a, b in zip(one, many, strict=True)]
    print(
        f"\n{options.workers} workers are {statistics.median(ratios):.2f} times as fast as one, median of "
        f"{', '.join(f'{ratio:.2f}' for ratio in ratios)}"
    )
    print("all maps are the same to the byte" if len(maps) == 1 else "THE MAPS DIFFER")
    return 0 if len(maps) == 1 else 1


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmark.py ray", description=__doc__)
    parser.add_argument("--size", type=int, default=4096, help="edge of the scene, pixels")
    parser.add_argument("--tile-px", type=int, default=256)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--local", action="store_true", help="also in one process without Ray")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "geomm" / "benchmark"
    parser.add_argument("--cache", type=Path, default=cache)
    return parser.parse_args(argv)


def run_one(scene: Path, small: Path, workers: int, options: argparse.Namespace) -> dict[str, float | str]:
    """Map the scene in a process of its own; seconds and the map's digest."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
    with tempfile.TemporaryDirectory(dir=options.cache) as folder:
        task = {"scene": str(scene), "small": str(small), "folder": folder, "workers": workers}
        command = [sys.executable, str(CONTESTANT), json.dumps({**task, "tile_px": options.tile_px})]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        content = (Path(folder) / "timed" / f"{scene.stem}.tif").read_bytes()
    return {**json.loads(done.stdout.splitlines()[-1]), "map": hashlib.sha256(content).hexdigest()}


if __name__ == "__main__":
    sys.exit(main())
