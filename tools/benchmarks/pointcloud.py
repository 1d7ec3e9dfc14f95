"""Speed and memory of point clouds, side by side in one run.

1. X-Conv forward and backward against a direct torch transcription of the authors' code, which finds
   neighbours from the matrix of all distances. Same points, same weights, equal results.
2. Inference of a cloud against the network's own time over the same batches.
3. Peak memory of a large cloud against a small one of the same density.
4. Nearest neighbours by scipy's cKDTree and by open3d (where it is installed: pip install open3d).
"""

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from geomm.io.las_create import create_las
from geomm.models.clouds.neighbours import PyramidPlan, Search, build_pyramid
from geomm.models.clouds.pointcnn import XConv
from tools.benchmarks.contestants.peak import peak_mb  # noqa: F401 - the processes measured call it


class TranscribedXConv(nn.Module):
    """X-Conv as the authors wrote it for TensorFlow, channels first, distances by brute force."""

    def __init__(self, ours):
        super().__init__()
        self.ours, self.k = ours, ours.k

    @staticmethod
    def dense(x, weight, norm, activate=True):
        x = nn.functional.conv2d(x, weight)
        x = nn.functional.elu(x) if activate else x
        return nn.functional.batch_norm(x, None, None, norm.weight, norm.bias, training=True)

    def forward(self, points, features):
        k, ours = self.k, self.ours
        square = (points**2).sum(-1)
        distances = square[:, :, None] - 2 * points @ points.transpose(1, 2) + square[:, None]
        index = distances.topk(k, dim=-1, largest=False).indices
        local = (points[0][index[0]] - points[0][:, None]).permute(2, 0, 1)[None]  # 1, 3, N, K
        near = features[0][index[0]].permute(2, 0, 1)[None]
        lifted = local
        for layer in ours.lift:
            lifted = self.dense(lifted, layer.linear.weight[:, :, None, None], layer.norm)
        joined = torch.cat([lifted, near], 1)
        transform = ours.transform
        first = transform.first.weight.view(k * k, k, 3).permute(0, 2, 1)[:, :, None]  # conv of 1 x K
        x = self.dense(local, first, transform.norms[0])
        for weight, norm, activate in (
            (transform.second, transform.norms[1], True),
            (transform.third, transform.norms[2], False),
        ):
            x = x.view(1, k, k, -1).transpose(2, 3)  # channel, point -> a depthwise conv of 1 x K
            x = nn.functional.conv2d(x, weight.reshape(k * k, 1, 1, k), groups=k)
            x = nn.functional.elu(x) if activate else x
            x = nn.functional.batch_norm(x, None, None, norm.weight, norm.bias, training=True)
        matrices = x.view(1, k, k, -1).permute(0, 3, 1, 2)
        moved = torch.matmul(matrices, joined.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # 1, C, N, K
        kernel = ours.depthwise.permute(1, 2, 0).reshape(-1, 1, 1, k)
        mixed = nn.functional.conv2d(moved, kernel, groups=moved.shape[1])
        last = ours.pointwise
        return self.dense(mixed, last.linear.weight[:, :, None, None], last.norm)[0, :, :, 0].t()


def timed(function, repeats, clock=time.perf_counter):
    function()
    seconds = []
    for _ in range(repeats):
        started = clock()
        function()
        seconds.append(clock() - started)
    return statistics.median(seconds)


def compare_xconv(args):
    print("| X-Conv, 8192 points | search (worker) s | step s | transcription s | ratio | with search |")
    print("|---|---|---|---|---|---|")
    rng = np.random.default_rng(0)
    points = (rng.random((8192, 3)) * [20, 20, 6]).astype(np.float32)
    xyz = torch.from_numpy(points)
    for channels, out, k in ((6, 32, 12), (32, 64, 16), (64, 64, 16)):
        layer = XConv(channels, out, k).train()
        other = TranscribedXConv(layer).train()
        features = torch.randn(8192, channels, requires_grad=True)
        plan = PyramidPlan((-1,), (Search(0, 1, k),))
        neighbours = build_pyramid([points], plan).neighbours[0]
        with torch.no_grad():
            difference = (layer(xyz, xyz, features, neighbours) - other(xyz[None], features[None])).abs()
        # Equal distances and rounding may choose another neighbour for a point or two.
        assert (difference.amax(1) < 1e-2).float().mean() > 0.99, float(difference.max())
        search = timed(lambda plan=plan: build_pyramid([points], plan), args.repeats)
        ours = timed(lambda: layer(xyz, xyz, features, neighbours).sum().backward(), args.repeats)  # noqa: B023
        theirs = timed(lambda: other(xyz[None], features[None]).sum().backward(), args.repeats)  # noqa: B023
        print(
            f"| {channels} -> {out}, K {k} | {search:.3f} | {ours:.3f} | {theirs:.3f} | {theirs / ours:.1f} "
            f"| {theirs / (ours + search):.1f} |",
            flush=True,
        )


def make_cloud(path, points, density=20.0):
    """Write a hilly scene with boxes on it, of that many points."""
    rng = np.random.default_rng(1)
    edge = math.sqrt(points / density)
    xy = rng.random((points, 2)) * edge
    z = 5 * np.sin(xy[:, 0] / 60) + rng.normal(0, 0.03, points)
    house = (xy % 40 < 12).all(1)
    z[house] += 6
    values = {"intensity": rng.integers(0, 40000, points).astype(np.uint16)}
    return create_las(path, np.column_stack([xy + [5e5, 5e6], z]), values, crs="EPSG:32632")


def make_model(tiny):
    from geomm.models.clouds.segmentor import PointSegmentor
    from geomm.points import PointSpec
    from geomm.structures import BandStatistics, make_classes

    spec = PointSpec(
        ("intensity", "height_above_ground"),
        BandStatistics((0.0, 0.0), (1.0, 1.0), (20000.0, 2.0), (11000.0, 3.0), 1),
        make_classes(["ground", "building"], [2, 6]),
        {2: 0, 6: 1},
        20.0,
        8192,
        (1, 1),
    )
    head = {"type": "PointCNN"}
    if tiny:
        head |= {"out_channels": [8, 8], "P": [256, 64], "K": [4, 4], "D": [1, 1]}
    return PointSegmentor(head=head, loss=None, spec=spec).eval(), spec


def run_inference(cloud, folder, *, tiny=False):
    """Classify a cloud; return seconds in all, seconds in the network, and points."""
    from functools import partial

    from geomm.datasets.clouds.collate import collate_points
    from geomm.inference.clouds.predict import PointOptions, predict_clouds

    model, spec = make_model(tiny)
    inside = []

    def score(batch):
        started = time.perf_counter()
        result = model.predict_scores(batch)
        inside.append(time.perf_counter() - started)
        return result

    started = time.perf_counter()
    report = predict_clouds(
        cloud,
        folder,
        collate=partial(collate_points, find=lambda xyz: build_pyramid(xyz, model.plan).to_dict()),
        score=score,
        spec=spec,
        options=PointOptions(device="cpu", progress=False, preview=False, on_error="raise"),
        model_id="benchmark",
    )
    return time.perf_counter() - started, sum(inside), report.amount


def compare_inference(args):
    with tempfile.TemporaryDirectory() as folder:
        cloud = make_cloud(Path(folder) / "cloud.laz", args.points)
        total, network, points = run_inference(cloud, Path(folder) / "out")
    print(
        f"\ninference of {points:,} points: {total:.1f} s, of which the network {network:.1f} s "
        f"({network / total:.0%}); {points / total:,.0f} points/s"
    )


def compare_memory(args):
    """Peak memory of whole processes, which differ in the size of the cloud alone."""
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        for points in args.memory_points:
            cloud = make_cloud(Path(folder) / f"{points}.laz", points)
            code = (
                f"import sys; sys.path[:0] = {sys.path!r}; import runpy; "
                f"m = runpy.run_path({__file__!r}, run_name='part'); "
                f"m['run_inference']({cloud!r}, m['Path']({folder!r}) / 'out{points}', tiny=True); "
                "print(m['peak_mb']())"
            )
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            peaks[points] = float(done.stdout.split()[-1])
            print(f"peak memory of {points:,} points: {peaks[points]:.0f} MB", flush=True)
    small, large = (peaks[points] for points in sorted(peaks)[:: max(len(peaks) - 1, 1)][:2])
    print(f"ratio {large / small:.3f}")


def compare_search(args):
    """Processor time: what a worker takes of a core that the model would use."""
    from scipy.spatial import cKDTree

    try:
        import open3d
    except (ImportError, OSError) as error:
        open3d = None
        print(f"\nopen3d is not here ({error}); pip install open3d to compare with it")
    for count in (8192, args.search_points):
        points = np.random.default_rng(0).random((count, 3)).astype(np.float32) * np.float32([20, 20, 8])

        def by_tree(points=points):
            tree = cKDTree(points, leafsize=12, compact_nodes=False, balanced_tree=False)
            return tree.query(points, k=16, workers=1)[1]

        tree = timed(by_tree, args.repeats, time.process_time)
        print(f"16 nearest of {count:,} points: cKDTree {tree:.3f} s", end="")
        if open3d is None:
            print()
            continue

        def by_open3d(points=points):
            index = open3d.core.nns.NearestNeighborSearch(open3d.core.Tensor(points))
            index.knn_index()
            return index.knn_search(open3d.core.Tensor(points), 16)[0].numpy()

        assert (np.sort(by_tree()) == np.sort(by_open3d())).mean() > 0.999
        print(f", open3d {timed(by_open3d, args.repeats, time.process_time):.3f} s")


def main(argv):
    parser = argparse.ArgumentParser(prog="benchmark.py pointcloud", description=__doc__)
    parser.add_argument("--parts", nargs="*", default=["xconv", "inference", "memory", "search"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--points", type=int, default=200_000)
    parser.add_argument("--memory-points", type=int, nargs=2, default=[2_000_000, 10_000_000])
    parser.add_argument("--search-points", type=int, default=200_000)
    args = parser.parse_args(argv)
    parts = {
        "xconv": compare_xconv,
        "inference": compare_inference,
        "memory": compare_memory,
        "search": compare_search,
    }
    for part in args.parts:
        parts[part](args)
    return 0
