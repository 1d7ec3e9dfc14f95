"""What is learnt of the fields to predict."""

from __future__ import annotations

from typing import Any

import numpy as np

from geomm.errors import ConfigError, DataError, Problem, did_you_mean
from geomm.structures import ClassSpec, make_classes
from geomm.transforms.columns import to_numbers, to_text
from geomm.transforms.table import TARGET_TRANSFORMS, Target

#: More classes than this are no classes.
MOST_CLASSES = 1000


def fit_classes(values: Any, name: str) -> tuple[ClassSpec, ...]:
    """Return the classes of a target, in order of their names (whole numbers in order of size).

    Raises:
      DataError: one class only, or too many.
    """
    texts = sorted({text for text in to_text(values, 200) if text is not None}, key=_as_counted)
    if len(texts) < 2:
        raise DataError(f"target {name!r} has one class only ({texts[0]!r}); a model needs two at least")
    if len(texts) > MOST_CLASSES:
        raise DataError(
            f"target {name!r} has {len(texts):,} distinct values, more than the {MOST_CLASSES:,} that can "
            "be classes; is it a number (dataset.kind=regression), or the wrong field?"
        )
    return make_classes(texts)


def _as_counted(text: str) -> tuple[int, float, str]:
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text


def fit_target(name: str, values: Any, transform: str) -> Target:
    """Learn mean and deviation of a target, after its transform.

    Raises:
      ConfigError: a transform that there is not.
      DataError: values that are no finite numbers, are constant, or that the transform does not take.
    """
    if transform not in TARGET_TRANSFORMS:
        known = did_you_mean(transform, TARGET_TRANSFORMS)
        raise ConfigError([Problem("dataset.transform", f"found {transform!r}; {known}")])
    numbers = to_numbers(values, "number", name)
    lowest = {"log": np.nextafter(0, 1), "log1p": np.nextafter(-1, 0), "sqrt": 0.0}.get(transform, -np.inf)
    if (numbers < lowest).any():
        raise DataError(
            f"target {name!r} goes down to {numbers.min():g}, which dataset.transform={transform} cannot take"
        )
    changed = Target(name, transform).forth(numbers)
    if np.ptp(changed) == 0:
        raise DataError(f"target {name!r} is constant ({numbers[0]:g}): there is nothing to learn")
    return Target(name, transform, float(changed.mean()), float(changed.std()))
