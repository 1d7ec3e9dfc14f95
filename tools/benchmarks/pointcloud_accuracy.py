"""Accuracy of PointCNN on airborne LiDAR against a random forest on geometric features.

Four tiles in turn: train on three, test on the fourth. Both see the same points with the same features:
intensity, returns, colour, height above ground and covariance features at three scales (Weinmann et al.,
2015).
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

import geomm
from geomm.datasets.clouds.store import open_store
from geomm.io.las import read_chunks
from geomm.metrics.confusion import count_confusion, summarise
from geomm.points import FEATURE_GROUPS

LIDAR = Path("..") / "shared" / "data" / "lidar"
CLASSES = {2: "ground", 3: "low_vegetation", 4: "medium_vegetation", 5: "high_vegetation", 6: "building"}
FEATURES = [
    "intensity", "return_number", "number_of_returns", "red", "green", "blue", "height_above_ground",
    *FEATURE_GROUPS["shape"],
]  # fmt: skip


def forest_data(path, cache):
    store = open_store(str(path), FEATURES, cache, cell_m=2.5)
    return np.asarray(store.features), np.asarray(store.codes)


def index_of(codes):
    table = np.full(256, 255)
    table[list(CLASSES)] = range(len(CLASSES))
    return table[codes]


def train_forest(train, test, seed, jobs):
    from sklearn.ensemble import RandomForestClassifier

    x = np.vstack([features for features, _ in train])
    y = index_of(np.concatenate([codes for _, codes in train]))
    forest = RandomForestClassifier(
        100, min_samples_leaf=5, class_weight="balanced_subsample", n_jobs=jobs, random_state=seed
    )
    forest.fit(x[y != 255], y[y != 255])
    truth = index_of(test[1])
    return count_confusion(truth, forest.predict(test[0]), len(CLASSES), 255)


def train_geomm(tiles, held_out, folder, seed, args):
    classes = "{" + ", ".join(f"{code}: {name}" for code, name in CLASSES.items()) + "}"
    package = geomm.train(
        [
            "task=point_cloud",
            f"dataset.root=[{','.join(str(tile) for tile in tiles)}]",
            f"dataset.classes={classes}",
            f"dataset.features=[{','.join(FEATURES)}]",
            f"seed={seed}",
            "loss=cross_entropy_lovasz",
            "schedule.epochs=80",
            "schedule.batch_size=2",
            "schedule.lr=2e-3",
            "schedule.patience=null",
            "schedule.val_interval=20",
            "tracking=none",
            f"work_dir={folder}",
            *args.override,
        ]
    )
    report = package.predict(str(held_out), output=folder / "out", on_error="raise", preview=False)
    truth, found = (
        np.concatenate([chunk.values["classification"] for chunk in read_chunks(path, ["classification"])])
        for path in (held_out, report.outputs[0])
    )
    return count_confusion(index_of(truth), index_of(found), len(CLASSES), 255)


def main(argv):
    parser = argparse.ArgumentParser(prog="benchmark.py pointcloud_accuracy", description=__doc__)
    parser.add_argument("--folder", type=Path, default=LIDAR)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folds", type=int, nargs="*", help="which tiles to hold out; all by default")
    parser.add_argument("--only", choices=("forest", "pointcnn"))
    parser.add_argument("--out", type=Path, help="keep the confusion matrices here")
    parser.add_argument("override", nargs="*", help="further overrides of the training run")
    args = parser.parse_args(argv)
    tiles = sorted(args.folder.resolve().glob("*.laz"))
    folds = range(len(tiles)) if args.folds is None else args.folds
    matrices = {"random forest": [], "geomm PointCNN": []}
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(scratch) / "cache"
        data = [forest_data(tile, cache) for tile in tiles] if args.only != "pointcnn" else []
        for fold in folds:
            rest = [tile for tile in tiles if tile != tiles[fold]]
            for name in matrices:
                if args.only and args.only not in name.lower():
                    continue
                started = time.perf_counter()
                if name == "random forest":
                    kept = [data[i] for i in range(len(tiles)) if i != fold]
                    matrix = train_forest(kept, data[fold], args.seed, args.jobs)
                else:
                    matrix = train_geomm(rest, tiles[fold], Path(scratch) / f"run{fold}", args.seed, args)
                matrices[name].append(matrix)
                scores = summarise(matrix, list(CLASSES.values()))
                each = ", ".join(f"{n} {scores['IoU/' + n]:.3f}" for n in CLASSES.values())
                took = time.perf_counter() - started
                print(
                    f"{tiles[fold].stem}, {name}: mIoU {scores['mIoU']:.4f} ({each}), {took:.0f} s",
                    flush=True,
                )
                if args.out:
                    args.out.mkdir(parents=True, exist_ok=True)
                    file = args.out / f"{name.replace(' ', '_')}_{fold}.json"
                    file.write_text(json.dumps(matrix.tolist()))
    print(f"\n| model | mean IoU of {len(folds)} folds | {' | '.join(CLASSES.values())} |")
    print("|---|---|" + "---|" * len(CLASSES))
    for name, found in matrices.items():
        if found:
            scores = [summarise(matrix, list(CLASSES.values())) for matrix in found]
            mean = [np.mean([s[f"IoU/{n}"] for s in scores]) for n in CLASSES.values()]
            total = np.mean([s["mIoU"] for s in scores])
            print(f"| {name} | {total:.4f} | {' | '.join(f'{v:.3f}' for v in mean)} |")
    return 0
