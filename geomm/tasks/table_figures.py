"""Which figures a table run ends with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.tasks.base import Finished
from geomm.transforms.table import Encoded, TableSpec
from geomm.visualization import tables as figures
from geomm.visualization.confusion import draw_confusion

#: Rows and repeats of the permutation importance.
_ROWS, _REPEATS = 2000, 3


def draw_table_figures(run: Finished) -> list[Path]:
    """Draw every figure of a finished run; return the files."""
    drawn = []
    for split, metrics in run.evaluations.items():
        judge, rows = metrics[0], metrics[0].rows
        if run.spec.classes:
            names = [item.name for item in run.spec.classes]
            drawn.append(draw_confusion(judge.confusion, names, run.folder / f"confusion_{split}.png"))
            if judge.probabilities:
                path = run.folder / f"calibration_{split}.png"
                drawn.append(figures.draw_calibration(rows["prediction"], rows["target"], names, path))
        else:
            path = run.folder / f"actual_predicted_{split}.png"
            scores = judge.judge(rows["prediction"], rows["target"])
            drawn.append(figures.draw_actual_predicted(rows, run.spec, scores, path))
        drawn += _residuals(run, split, rows)
    drawn.append(_importance(run))
    return drawn


def _residuals(run: Finished, split: str, rows: dict[str, NDArray[Any]]) -> list[Path]:
    """Draw residuals over the map and over time, where the source knows of these."""
    drawn = []
    centres, time = getattr(run.source, "centres", None), getattr(run.source, "time_column", None)
    if run.spec.classes:
        truth = rows["prediction"][np.arange(len(rows["target"])), rows["target"]]
        residuals, label = 1 - truth, "probability that the true class was denied"
    else:
        name = run.spec.targets[0].name
        residuals = rows["prediction"][:, 0] - rows["target"][:, 0]
        label = f"predicted minus actual {name}"
    if centres is not None and np.isfinite(centres[rows["row"]]).all():
        path = run.folder / f"residuals_{split}.png"
        drawn.append(figures.draw_residual_map(centres[rows["row"]], residuals, label, path))
    if time is not None and not run.spec.classes:
        import pandas

        times = run.source.frame[time].iloc[rows["row"]]
        moments = times.to_numpy() if times.dtype.kind in "iuf" else pandas.to_datetime(times).to_numpy()
        path = run.folder / f"over_time_{split}.png"
        name = run.spec.targets[0].name
        drawn.append(
            figures.draw_over_time(moments, rows["target"][:, 0], rows["prediction"][:, 0], name, path)
        )
    return drawn


def _importance(run: Finished) -> Path:
    split = "test" if "test" in run.evaluations else "val"
    part = run.source.split(split)
    chosen = np.random.default_rng(0).permutation(len(part))[:_ROWS]
    batch = part.__getitems__(chosen)
    encoded = Encoded(batch["numbers"], batch["categories"])
    gains = permutation_importance(run.model, run.spec, encoded, batch["target"], repeats=_REPEATS)
    names = [column.name for column in run.spec.columns]
    what = "log loss" if run.spec.classes else "RMSE, in deviations of the target"
    return figures.draw_importance(names, gains, what, run.folder / "importance.png")


def permutation_importance(
    model: Any, spec: TableSpec, encoded: Encoded, target: NDArray[Any], *, repeats: int
) -> NDArray[np.float64]:
    """Return by how much the error grows when one column is shuffled, all that it became at once.

    Breiman, "Random Forests", 2001, on rows that were not trained on.

    Args:
      model: a ``TableModel``.
      spec: of the model.
      encoded: n rows.
      target: (n, T) or (n,), as learnt.
      repeats: shuffles a column.

    Returns:
      (columns, repeats): growth of log loss, or of RMSE in units of the target's deviation.
    """
    rng = np.random.default_rng(0)

    def error(rows: Encoded) -> float:
        learnt = model.predict_learnt(rows)
        if spec.classes:
            return float(-np.log(np.clip(learnt[np.arange(len(target)), target], 1e-6, 1)).mean())
        return float(np.sqrt(((learnt - target) ** 2).mean()))

    base = error(encoded)
    gains = np.zeros((len(spec.columns), repeats))
    number = category = 0
    for index, column in enumerate(spec.columns):
        width = len(column.features)
        for repeat in range(repeats):
            order = rng.permutation(len(encoded))
            numbers, categories = encoded.numbers.copy(), encoded.categories.copy()
            if column.kind == "category":
                categories[:, category] = categories[order, category]
            else:
                numbers[:, number : number + width] = numbers[order, number : number + width]
            gains[index, repeat] = error(Encoded(numbers, categories)) - base
        number += width
        category += column.kind == "category"
    return gains
