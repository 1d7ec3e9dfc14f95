"""Tables: accuracy beside scikit-learn's models, and the speed of training and of mapping.

accuracy  k-fold on a table: the fully connected network, scikit-learn's network with the same layers on
          the same prepared columns, a random forest and gradient boosting. All of them are given the same
          rows of each fold; geomm's network holds a part of them back to know when to stop and learns from
          all in the end, or does not (schedule.refit=false); scikit-learn's is taken as it is, with its
          own early stopping, and without that part.
training  rows a second on a table of random numbers: geomm's runner beside skorch (where it is installed:
          pip install skorch) and beside a plain loop over the same batches.
rows      rows a second and peak memory of streamed prediction, CSV and Parquet.
raster    a map of several bands beside the time of the model alone on the same pixels.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def quiet_config(folder, *overrides):
    from geomm.config import compose, resolve
    from geomm.config.compose import hydra_session

    fixed = ["task=tabular", "tracking=none", "runtime.workers=0", "runtime.threads=1"]
    fixed += ["runtime.plain_progress=true", "hydra/launcher=basic", f"work_dir={folder}"]
    with hydra_session():
        return resolve(compose("train", [*fixed, *overrides]))


# accuracy


def write_tables(folder):
    """Return CSV files of scikit-learn's own data, with the name of the target of each."""
    from sklearn import datasets

    for name in ("diabetes", "wine", "breast_cancer"):
        data = getattr(datasets, f"load_{name}")(as_frame=True)
        frame = data.frame.copy()
        frame.columns = [str(column).replace(" ", "_").replace("/", "_") for column in frame.columns]
        if name != "diabetes":
            frame["target"] = np.asarray(data.target_names, dtype=object)[data.target]
        path = folder / f"{name}.csv"
        frame.to_csv(path, index=False)
        yield name, path, "target"


def references(kind, layers, seed):
    from sklearn import ensemble, neural_network

    end = "Classifier" if kind == "classification" else "Regressor"
    network = getattr(neural_network, f"MLP{end}")
    forest = getattr(ensemble, f"RandomForest{end}")
    boosting = getattr(ensemble, f"HistGradientBoosting{end}")
    common = {"hidden_layer_sizes": tuple(layers), "random_state": seed, "max_iter": 1000}
    return {
        "scikit-learn network": network(**common),
        "scikit-learn network, early stopping": network(**common, early_stopping=True),
        "random forest": forest(500, random_state=seed),
        "gradient boosting": boosting(random_state=seed),
    }


def fold_scores(path, target, layers, seed, fold, folds, folder):
    """Return error (RMSE, or share of wrong classes) of every contestant on one fold."""
    import warnings

    from geomm.engine.training import train
    from geomm.registry import TASKS, build

    def trained(name, *overrides):
        config = quiet_config(folder / name, *common, *overrides)
        result = train(config).metrics["test"]
        return config, result["RMSE"] if "RMSE" in result else 1 - result["accuracy"]

    common = [
        f"dataset.path={path}",
        f"dataset.target={target}",
        f"dataset.folds={folds}",
        f"dataset.fold={fold}",
        f"dataset.split.seed={seed}",
        f"seed={seed}",
        f"head.layers=[{','.join(map(str, layers))}]",
    ]
    config, ours = trained("members")
    _, alone = trained("alone", "head.members=1")
    _, once = trained("once", "schedule.refit=false")
    source = build(TASKS, config["task"]).build_source(config)
    spec = source.prepare(folder / "cache")
    parts = {name: source.split(name) for name in ("train", "val", "test")}
    everything = {name: part.__getitems__(range(len(part))) for name, part in parts.items()}

    def columns(batch):
        one_hot = [
            np.eye(column.size)[batch["categories"][:, i]] for i, column in enumerate(spec.category_columns)
        ]
        return np.concatenate([batch["numbers"], *one_hot], axis=1)

    known = [everything["train"], everything["val"]]
    inputs = np.concatenate([columns(batch) for batch in known])
    truth = np.concatenate([batch["target"] for batch in known])
    truth = truth[:, 0] if truth.ndim == 2 else truth
    scores = {
        "geomm fully_connected": ours,
        "geomm fully_connected, one member": alone,
        "geomm fully_connected, schedule.refit=false": once,
    }
    rows = len(everything["train"]["target"])
    contestants = {name: (model, len(truth)) for name, model in references(spec.kind, layers, seed).items()}
    same = references(spec.kind, layers, seed)["scikit-learn network"]
    contestants["scikit-learn network, without the rows that geomm stops by"] = (same, rows)
    for name, (model, first) in contestants.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(inputs[:first], truth[:first])
        found = model.predict(columns(everything["test"]))
        if spec.classes:
            scores[name] = float((found != everything["test"]["target"]).mean())
        else:
            own = spec.decode(found[:, None]) - spec.decode(everything["test"]["target"])
            scores[name] = float(np.sqrt((own**2).mean()))
    return scores


def accuracy(args):
    import logging

    logging.getLogger("geomm").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tables = [(Path(args.table).stem, args.table, args.target)] if args.table else []
        tables += list(write_tables(folder)) if args.own else []
        for name, path, target in tables:
            rows = {}
            for seed in range(args.seeds):
                by_fold = [
                    fold_scores(
                        path, target, args.layers, seed, fold, args.folds, folder / f"{name}_{seed}_{fold}"
                    )
                    for fold in range(args.folds)
                ]
                for model in by_fold[0]:
                    rows.setdefault(model, []).append(float(np.mean([scores[model] for scores in by_fold])))
            print(f"\n{name}: error, mean of {args.folds} folds, {args.seeds} seeds\n")
            print("| model | mean | spread over seeds |\n|---|---|---|")
            for model, values in rows.items():
                spread = statistics.stdev(values) if len(values) > 1 else 0.0
                print(f"| {model} | {statistics.mean(values):.4f} | {spread:.4f} |", flush=True)


# training


def random_rows(rows, columns, seed=0):
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((rows, columns), np.float32)
    truth = np.tanh(inputs[:, :4]).sum(1, keepdims=True) + 0.1 * rng.standard_normal((rows, 1), np.float32)
    return inputs, truth.astype(np.float32)


def table_of(inputs, truth):
    """Return a source's part and spec of arrays, as the dataset makes them."""
    from geomm.datasets.tables.source import TableRows
    from geomm.transforms.columns import Column
    from geomm.transforms.table import Encoded, TableSpec, Target

    columns = tuple(Column(f"c{i}", "number", means=(0.0,), stds=(1.0,)) for i in range(inputs.shape[1]))
    spec = TableSpec(columns, (Target("target"),))
    encoded = Encoded(inputs, np.empty((len(inputs), 0), np.int64))
    return TableRows(encoded, truth, np.arange(len(inputs))), spec


def clocks():
    """Return wall time and all threads' CPU time, which does not say who else was on the machine."""
    return np.array([time.perf_counter(), time.process_time()])


def geomm_rate(inputs, truth, batch, layers, folder):
    import torch
    from mmengine.hooks import Hook

    from geomm.engine.loaders import build_loader
    from geomm.engine.runner import make_runner
    from geomm.registry import TASKS, build

    part, spec = table_of(inputs, truth)
    config = quiet_config(folder, "dataset.path=x", "dataset.target=y", f"schedule.batch_size={batch}")
    config["head"]["layers"] = list(layers)
    task = build(TASKS, config["task"])
    model = task.build_model(config, spec)
    common = {"workers": 0, "collate": task.collate, "seed": 0, "device": torch.device("cpu")}
    loader = build_loader(part, batch_size=batch, shuffle=True, **common)
    few, _ = table_of(inputs[:batch], truth[:batch])
    runner = make_runner(
        model=model, config=config, schedule={**config["schedule"], "epochs": 1, "lr": 1e-3}, task=task,
        device=torch.device("cpu"), train_loader=loader,
        val_loader=build_loader(few, batch_size=batch, shuffle=False, **common), metrics=task.metrics(spec),
    )  # fmt: skip
    times = []

    class Clock(Hook):
        priority = "LOWEST"

        def before_train_epoch(self, runner):
            times.append(clocks())

        def after_train_epoch(self, runner):
            times.append(clocks())

    runner.register_hook(Clock())
    runner.geomm_training = True
    runner.train()
    return len(inputs) / (times[1] - times[0])


def network_of(columns, layers):
    from torch import nn

    sizes = [columns, *layers]
    parts = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*parts, nn.Linear(sizes[-1], 1))


def plain_rate(inputs, truth, batch, layers):
    """Return the rate of a loop over shuffled slices of tensors: nothing but the network's work."""
    import torch

    network = network_of(inputs.shape[1], layers)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    x, y = torch.from_numpy(inputs), torch.from_numpy(truth)
    started = clocks()
    order = torch.randperm(len(x))
    for first in range(0, len(x), batch):
        rows = order[first : first + batch]
        loss = torch.nn.functional.mse_loss(network(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return len(x) / (clocks() - started)


def skorch_rate(inputs, truth, batch, layers):
    import torch
    from skorch import NeuralNetRegressor

    net = NeuralNetRegressor(
        network_of(inputs.shape[1], layers), max_epochs=1, lr=1e-3, batch_size=batch, train_split=None,
        optimizer=torch.optim.AdamW, iterator_train__shuffle=True, verbose=0,
    )  # fmt: skip
    net.initialize()
    started = clocks()
    net.fit(inputs, truth)
    return len(inputs) / (clocks() - started)


def training(args):
    import logging

    import torch

    logging.getLogger("geomm").setLevel(logging.ERROR)
    torch.set_num_threads(args.threads)
    inputs, truth = random_rows(args.rows, args.columns)
    sides = {"plain loop": lambda n, f: plain_rate(inputs, truth, args.batch, args.layers)}
    try:
        import skorch  # noqa: F401

        sides["skorch"] = lambda n, f: skorch_rate(inputs, truth, args.batch, args.layers)
    except ImportError:
        print("skorch is not installed; pip install skorch compares with it")
    sides["geomm"] = lambda n, f: geomm_rate(inputs, truth, args.batch, args.layers, f / str(n))
    rates = {name: [] for name in sides}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.rounds):
            for name, side in sides.items():
                rates[name].append(side(number, Path(folder)))
    print(
        f"\n{args.rows:,} rows of {args.columns} columns, batches of {args.batch}, {args.threads} threads\n"
    )
    print("| what | rows/s, median | rows a second of CPU time |\n|---|---|---|")
    for name, values in rates.items():
        wall, busy = np.median(values, axis=0)
        print(f"| {name} | {wall:,.0f} | {busy:,.0f} |")


# rows


def rows(args):
    """Predict tables of two sizes, each in a process of its own, whose peak memory is read."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        package = small_package(folder, args.columns, args.layers)
        print("| format | rows | rows/s | peak memory, MB |\n|---|---|---|---|")
        for ending in ("csv", "parquet"):
            for count in (args.rows // 4, args.rows):
                table = folder / f"rows_{count}.{ending}"
                write_random(table, count, args.columns)
                found = subprocess.run(
                    [sys.executable, __file__, "one", str(package), str(table), str(folder / "out")],
                    capture_output=True, text=True, check=True,
                )  # fmt: skip
                seconds, peak = json.loads(found.stdout.splitlines()[-1])
                print(f"| {ending} | {count:,} | {count / seconds:,.0f} | {peak:.0f} |", flush=True)
                table.unlink()


def small_package(folder, columns, layers):
    import geomm

    write_random(folder / "train.csv", 2000, columns, with_target=True)
    shape = f"head.layers=[{','.join(map(str, layers))}]"
    fixed = ["task=tabular", "schedule.epochs=2", "tracking=none", "runtime.workers=0"]
    given = [f"dataset.path={folder / 'train.csv'}", "dataset.target=target", f"work_dir={folder / 'run'}"]
    return geomm.train([*fixed, *given, shape]).path


def write_random(path, count, columns, with_target=False):
    import pyarrow
    import pyarrow.parquet
    from pyarrow import csv

    names = [f"c{i}" for i in range(columns)] + (["target"] if with_target else [])
    writer = None
    for first in range(0, count, 100_000):
        inputs, truth = random_rows(min(100_000, count - first), columns, seed=first)
        arrays = [*inputs.T, *([truth[:, 0]] if with_target else [])]
        batch = pyarrow.record_batch([pyarrow.array(a) for a in arrays], names=names)
        if writer is None:
            make = csv.CSVWriter if path.suffix == ".csv" else pyarrow.parquet.ParquetWriter
            writer = make(str(path), batch.schema)
        writer.write_batch(batch)
    writer.close()


def one(package, table, output):
    import geomm
    from tools.benchmarks.contestants.peak import peak_mb

    model = geomm.load(package)
    started = time.perf_counter()
    model.predict(table, output=output, progress=False, on_error="raise", threads=1)
    seconds = time.perf_counter() - started
    print(json.dumps([seconds, peak_mb()]))


# raster


def raster(args):
    import rasterio
    import torch

    from geomm.inference.tables.options import TabularOptions
    from geomm.inference.tables.rasters import pixel_score, predict_stack
    from geomm.models.tables.fully_connected import FullyConnected

    torch.set_num_threads(args.threads)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "bands").mkdir()
        for number in range(args.bands):
            pixels = rng.standard_normal((args.size, args.size), np.float32)
            with rasterio.open(
                folder / "bands" / f"c{number}.tif", "w", driver="GTiff", width=args.size, height=args.size,
                count=1, dtype="float32", crs="EPSG:32633", tiled=True, blockxsize=512, blockysize=512,
                transform=rasterio.Affine(10, 0, 4e5, 0, -10, 5e6),
            ) as target:  # fmt: skip
                target.write(pixels, 1)
        _, spec = table_of(rng.standard_normal((4, args.bands), np.float32), np.zeros((4, 1), np.float32))
        model = FullyConnected(spec=spec, layers=args.layers).eval()
        options = TabularOptions(device="cpu", preview=False, progress=False, threads=args.threads)
        score = pixel_score(model, spec)
        tile = torch.randn(1, args.bands, 512, 512).contiguous(memory_format=torch.channels_last)
        valid = torch.ones(1, 512, 512, dtype=torch.bool)
        tiles = (args.size // 512) ** 2
        whole, alone, work = [], [], []
        for number in range(args.rounds):
            started, busy = time.perf_counter(), time.process_time()
            with torch.inference_mode():
                for _ in range(tiles):
                    score(tile, valid)
            alone.append(time.perf_counter() - started)
            work.append([time.process_time() - busy])
            started, busy = time.perf_counter(), time.process_time()
            predict_stack(
                str(folder / "bands"), folder / f"out{number}", model=model, spec=spec, options=options,
                model_id="m",
            )  # fmt: skip
            whole.append(time.perf_counter() - started)
            work[-1].append(time.process_time() - busy)
    ratio = statistics.median(a / b for a, b in zip(whole, alone, strict=True))
    # On a machine that others use too, wall time says who else was there; all threads' CPU time does not.
    busy = statistics.median(b / a for a, b in work)
    print(f"\n{args.size} x {args.size} x {args.bands}, layers {args.layers}, {args.threads} threads\n")
    print("| what | seconds, median |\n|---|---|")
    print(f"| the model alone | {statistics.median(alone):.2f} |")
    print(f"| the map | {statistics.median(whole):.2f} |")
    print(f"\nmap / model, median of {args.rounds} pairs: {ratio:.3f}; of their CPU time: {busy:.3f}")


def main(argv):
    parser = argparse.ArgumentParser(
        prog="benchmark.py tabular", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("accuracy", "training", "rows", "raster"))
    parser.add_argument("--table", help="accuracy: a table of your own")
    parser.add_argument("--target", help="accuracy: its target")
    parser.add_argument("--own", action="store_true", help="accuracy: scikit-learn's data sets too")
    parser.add_argument("--layers", type=int, nargs="+", default=[200, 100])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=30)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--bands", type=int, default=6)
    args = parser.parse_args(argv)
    return globals()[args.what](args)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    if sys.argv[1] == "one":
        one(*sys.argv[2:])
    else:
        main(sys.argv[1:])
