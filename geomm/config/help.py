"""What ``--help`` prints: every group with its names, every value with its default."""

from __future__ import annotations

from pathlib import Path

from geomm.config.compose import config_dir

_USAGE = {
    "train": """\
geomm-train: train a model on geospatial data and write one model package.

  python tools/train.py experiment=building_footprints
  python tools/train.py dataset.images='scenes/*.tif' dataset.labels=roofs.gpkg head=unet work_dir=runs/roofs
  python tools/train.py -m backbone=resnet18,resnet50 head=unet,deeplabv3plus hydra/launcher=joblib

Choose parts by name (head=unet) and values by path (schedule.epochs=50).

  --cfg job         print the whole run without starting it
  -m, --multirun    run every combination of the comma-separated choices; hydra/launcher=joblib, slurm
                    or ray runs them side by side, hydra/sweeper=optuna looks for the best
  resume=true       go on after an interruption, in the same work_dir
  plugins=[mine]    load your own module of backbones, heads, datasets, …

Groups:
""",
    "infer": """\
geomm-infer: map scenes with a model package.

  python tools/infer.py model=runs/roofs/model.dlpk input=city.tif output=out/
  python tools/infer.py model=model.dlpk input='scenes/*.tif' output=out/ inference.polygons=true

Run again after an interruption and it goes on where it was.

Groups:
""",
    "export_chips": """\
geomm-export-chips: cut scenes and labels into training data of ArcGIS's formats, COCO or YOLO.

  python tools/export_chips.py dataset.images=city.tif dataset.labels=roofs.gpkg format=coco output=chips/
  python tools/export_chips.py dataset=footprints dataset.images=city.tif dataset.labels=roofs.gpkg \\
      dataset.label_field=damage format=Labeled_Tiles tile_px=null output=chips/
  python tools/export_chips.py dataset=las dataset.root='clouds/*.laz' format=pctd output=clouds.pctd

Run again after an interruption and it goes on where it was.

Groups:
""",
    "package": """\
geomm-package: what a model package is, whether it is whole, or its model for other runtimes.

  python tools/package.py show model.dlpk         task, classes, bands, results, size, run
  python tools/package.py verify model.dlpk       members, checksums, descriptions, weights; status 1 if wrong
  python tools/package.py export model.dlpk format=onnx output=out/      ONNX, TorchScript or LiteRT

An export is checked against torch; beside it lie labels.txt, spec.json and a README.md. LiteRT needs
pip install 'geomm[litert]'.
""",
    "leaderboard": """\
geomm-leaderboard: the runs of any folder as tables with plots, by task, the best first.

  python tools/leaderboard.py runs=runs/sweep

Writes leaderboard.csv and leaderboard.html, whose rows lead to configs, packages and figures.
""",
}


def help_text(root: str) -> str:
    """Return the help of ``train`` or ``infer``: usage, groups with their names, values."""
    folder = config_dir()
    lines = [_USAGE[root]]
    for group in _groups(folder / f"{root}.yaml"):
        files = sorted((folder / group).glob("*.yaml"))
        lines.append(f"  {group}\n")
        width = max((len(file.stem) for file in files), default=0)
        lines += [f"    {file.stem:<{width}}  {_first_comment(file)}\n" for file in files]
    lines.append("\nValues and their defaults (--cfg job prints those of your choice):\n")
    for group in ("", "task", "dataset", "schedule", "runtime", "inference"):
        default = _defaults(folder / f"{root}.yaml").get(group)
        file = folder / f"{root}.yaml" if not group else folder / group / f"{default}.yaml"
        if (not group or default) and file.is_file():
            lines.append(f"\n{group or 'the run'}:\n")
            lines += [_values(part) for part in ([file] if not group else _ancestry(file))]
    return "".join(lines)


def _ancestry(file: Path) -> list[Path]:
    """Return the files of its group that a file is made of, itself last."""
    from omegaconf import OmegaConf

    entries = OmegaConf.to_container(OmegaConf.load(file)).get("defaults", [])  # type: ignore[union-attr, call-overload]
    parents = [entry for entry in entries if isinstance(entry, str) and entry != "_self_"]
    return [*(part for name in parents for part in _ancestry(file.with_name(f"{name}.yaml"))), file]


def _defaults(file: Path) -> dict[str, str]:
    from omegaconf import OmegaConf

    entries = OmegaConf.to_container(OmegaConf.load(file)).get("defaults", [])  # type: ignore[union-attr, call-overload]
    pairs = [next(iter(entry.items())) for entry in entries if isinstance(entry, dict)]
    return {key: value for key, value in pairs if not key.startswith("override")}


def _groups(file: Path) -> list[str]:
    return list(_defaults(file))


def _first_comment(file: Path) -> str:
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not line.startswith("# @package"):
            return line.lstrip("# ").strip()
    return ""


def _values(file: Path) -> str:
    """Return a group file's own text, comments and all, as help."""
    lines = []
    skipping = False
    for line in file.read_text(encoding="utf-8").splitlines()[1:]:
        if line.startswith(("defaults:", "hydra:")):
            skipping = True
        elif line and not line.startswith((" ", "-")):
            skipping = False
        if not skipping and line.strip() and not line.startswith(("type:", "tasks:")):
            lines.append(f"  {line}\n")
    return "".join(lines)
