"""How the labels of chips are read, by the kind of export: one class a kind."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geomm.datasets.maps.labels import LabelTable, open_label_raster
from geomm.io.raster_info import RasterInfo, read_info
from geomm.structures import PixelWindow


class ChipLabels(Protocol):
    """What a kind of export must offer to be trained on pixel by pixel."""

    def problem(self, label: Path, image: RasterInfo) -> str | None:
        """Return why a label cannot go with its image, None where it can.

        Raises:
          DataError: the label cannot be opened.
        """

    def values(self, label: str) -> set[int]:
        """Return the class values in a label.

        Raises:
          DataError: the label cannot be read.
        """

    def mask(self, label: str, window: PixelWindow, table: LabelTable) -> NDArray[np.uint8]:
        """Return class indices (h, w) of a window of a chip, ``IGNORE_INDEX`` where unlabelled.

        Raises:
          DataError: the label cannot be read.
        """


class ClassifiedTiles:
    """``labels/<stem>.tif``: one band of class values."""

    def problem(self, label: Path, image: RasterInfo) -> str | None:
        info = read_info(label)
        if (info.width, info.height) == (image.width, image.height):
            return None
        return (
            f"label of another size: {label} is {info.width} x {info.height}, {image.path} "
            f"{image.width} x {image.height}"
        )

    def values(self, label: str) -> set[int]:
        reader = open_label_raster(label)
        info = reader.info
        values, valid = reader.read(PixelWindow(0, 0, info.width, info.height), [1])
        return {int(value) for value in np.unique(values[0][valid])}

    def mask(self, label: str, window: PixelWindow, table: LabelTable) -> NDArray[np.uint8]:
        values, known = open_label_raster(label).read(window, [1])
        return table.look_up(values[0], known)


#: How the labels of each MetaDataMode are read; a further kind of export is one entry more.
CHIP_LABELS: dict[str, ChipLabels] = {"Classified_Tiles": ClassifiedTiles()}
