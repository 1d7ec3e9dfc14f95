"""Which of the clouds of a call lie beside one another, so that they are context at each other's seams."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from geomm.errors import DataError
from geomm.io.las import LasInfo, crs_name, find_dimension, read_placed_info, same_plane

_LOG = logging.getLogger("geomm")
#: Clouds of a CRS that a warning names.
_NAMED = 3


class Neighbours:
    """The clouds that can be context: those that cannot be read, or lack a dimension, are none.

    Args:
      clouds: the files of a call.
      dimensions: that the model reads.
    """

    def __init__(self, clouds: Sequence[str], dimensions: Sequence[str]) -> None:
        self._infos: dict[str, LasInfo] = {}
        for cloud in clouds:
            try:
                info = read_placed_info(cloud)
                for name in dimensions:
                    find_dimension(cloud, name, info.dimensions)
                info.units_m  # noqa: B018 - raises for degrees
            except DataError:
                continue  # it fails by itself when its turn comes
            self._infos[cloud] = info
        self._warn_of_mixed_crs()

    def near(self, cloud: str, reach_m: float) -> list[LasInfo]:
        """Return the other clouds with points within a reach of one's bounds, in the same CRS."""
        own = self._infos.get(cloud)
        if own is None:
            return []
        reach = reach_m / own.units_m[0]
        low, high = np.asarray(own.mins)[:2] - reach, np.asarray(own.maxs)[:2] + reach
        found = []
        for path, info in self._infos.items():
            apart = (np.asarray(info.maxs)[:2] < low).any() or (np.asarray(info.mins)[:2] > high).any()
            if path != cloud and info.points and not apart and _comparable(info, own):
                found.append(info)
        return found

    def _warn_of_mixed_crs(self) -> None:
        groups: list[list[LasInfo]] = []
        for info in self._infos.values():
            if info.crs is None:
                continue
            group = next((group for group in groups if same_plane(group[0].crs, info.crs)), None)
            if group is None:
                groups.append([info])
            else:
                group.append(info)
        if len(groups) > 1:
            _LOG.warning(
                "the clouds are in %d CRS: %s. Each is classified in its own, but those of another CRS are "
                "no context at its seams; reproject them to one CRS where they lie side by side",
                len(groups),
                "; ".join(map(_say_group, groups)),
            )


def _comparable(first: LasInfo, second: LasInfo) -> bool:
    return same_plane(first.crs, second.crs) and first.units_m == second.units_m


def _say_group(group: list[LasInfo]) -> str:
    names = [Path(info.path).name for info in group[:_NAMED]]
    more = f" and {len(group) - _NAMED} more" if len(group) > _NAMED else ""
    return f"{', '.join(names)}{more} in {crs_name(group[0].crs or '')}"
