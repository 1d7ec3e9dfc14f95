"""Curves of a run: losses, learning rate, validation metrics, the range test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from geomm.visualization.canvas import new_figure, save_figure

Curve = Sequence[tuple[int, float]]


def draw_curves(history: Mapping[str, Curve], path: Path) -> Path:
    """Draw training loss and learning rate, and the headline validation metrics, over steps."""
    losses = {k: v for k, v in history.items() if k.startswith("train/") and "loss" in k and v}
    scores = {k: v for k, v in history.items() if k.startswith("val/") and k.count("/") == 1 and v}
    scores = {k: v for k, v in scores.items() if not k.endswith("time")}
    rate = next((v for k, v in history.items() if k in ("train/lr", "train/base_lr") and v), [])
    figure = new_figure(11, 3.6)
    left, right = figure.subplots(1, 2)
    for name, curve in losses.items():
        steps, values = np.asarray(curve).T
        line = left.plot(steps, values, alpha=0.25, linewidth=0.8)[0]
        window = max(len(values) // 40, 1)
        smooth = np.convolve(values, np.ones(window) / window, mode="valid")
        label = name.removeprefix("train/")
        left.plot(steps[window - 1 :], smooth, color=line.get_color(), label=label)
    left.set(xlabel="step", ylabel="training loss")
    if losses:
        left.legend(loc="upper right", frameon=False)
    if rate:
        axis = left.twinx()
        axis.plot(*np.asarray(rate).T, color="grey", linewidth=0.8, linestyle=":")
        axis.set_ylabel("learning rate", color="grey")
    for name, curve in scores.items():
        right.plot(*np.asarray(curve).T, marker="o", markersize=3, label=name.removeprefix("val/"))
    right.set(xlabel="step", ylabel="validation")
    if scores:
        right.legend(frameon=False)
    right.grid(alpha=0.3)
    return save_figure(figure, path)


def draw_lr_finder(lrs: Sequence[float], losses: Sequence[float], chosen: float, path: Path) -> Path:
    """Draw the range test's loss over learning rates, the chosen one marked."""
    figure = new_figure(6, 3.6)
    axis = figure.subplots()
    axis.plot(lrs, losses)
    axis.axvline(chosen, color="tab:red", linestyle="--", label=f"chosen {chosen:.1e}")
    finite = [loss for loss in losses if np.isfinite(loss)]
    if finite:
        axis.set_ylim(top=max(finite[: max(len(finite) // 2, 1)]) * 1.5 + 1e-9)
    axis.set(xscale="log", xlabel="learning rate", ylabel="loss")
    axis.legend(frameon=False)
    return save_figure(figure, path)
