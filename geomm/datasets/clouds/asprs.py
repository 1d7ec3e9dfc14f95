"""Names and colours of ASPRS's classification codes (LAS 1.4, table 17)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from geomm.structures import ClassSpec, make_classes

_NAMES = {
    2: "ground", 3: "low_vegetation", 4: "medium_vegetation", 5: "high_vegetation", 6: "building",
    8: "key_point", 9: "water", 10: "rail", 11: "road", 12: "overlap", 13: "wire_guard",
    14: "wire_conductor", 15: "transmission_tower", 16: "wire_connector", 17: "bridge",
}  # fmt: skip
#: As programs for point clouds commonly paint them: brown ground, green plants, red roofs, blue water.
_COLORS = {
    2: (176, 128, 80), 3: (168, 216, 88), 4: (88, 176, 64), 5: (24, 112, 48), 6: (216, 64, 48),
    8: (216, 176, 128), 9: (56, 128, 232), 10: (96, 96, 176), 11: (72, 72, 88), 12: (240, 208, 64),
    13: (240, 128, 56), 14: (232, 24, 152), 15: (96, 48, 176), 16: (152, 24, 96), 17: (0, 168, 184),
}  # fmt: skip


def asprs_name(code: int) -> str:
    """Return what ASPRS calls a code, ``class_CODE`` where it leaves it to others."""
    return _NAMES.get(code, f"class_{code}")


def asprs_classes(names: Sequence[str], codes: Sequence[int]) -> tuple[ClassSpec, ...]:
    """Return classes in the colours of their codes; codes that have none get geomm's."""
    return tuple(
        replace(item, color=_COLORS.get(item.value, item.color)) for item in make_classes(names, codes)
    )
