"""What each format writes for a chip: one class a format."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from geomm.chips.images import write_values
from geomm.chips.options import ChipOptions
from geomm.chips.sources import Cut, CutObjects, Source
from geomm.io.class_folders import class_folders
from geomm.structures import IGNORE_INDEX

#: What a chip shows of a class, by class index: areas of objects in pixels, or one number of pixels.
Sizes = dict[int, list[float]]


class ChipFormat(abc.ABC):
    """A format of chips.

    Args:
      source: what is cut.
      options: of the export.
    """

    #: ``features`` or ``pixels``: what ``sizes`` counts.
    counts: ClassVar[str] = "features"
    #: Whether a chip may show nothing.
    may_be_empty: ClassVar[bool] = True

    def __init__(self, source: Source, options: ChipOptions) -> None:
        self.source, self.options = source, options

    @abc.abstractmethod
    def sizes(self, cut: Cut) -> Sizes | None:
        """Return what a chip shows of each class, None where it shows nothing and may be left out."""

    def image(self, cut: Cut, stem: str) -> str:
        """Return the image's path below the export's folder."""
        return f"images/{stem}{self.options.ending}"

    @abc.abstractmethod
    def write_label(self, cut: Cut, root: Path, stem: str) -> dict[str, Any]:
        """Write what labels a chip; return what its record has to hold: ``label``, its path, and others."""


def value_type(values: Sequence[int]) -> tuple[str, int]:
    """Return the dtype for class values, and one that is none of them: 0 where that is free."""
    for dtype in ("uint8", "uint16", "int32"):
        limits = np.iinfo(dtype)
        if min(values, default=0) >= limits.min and max(values, default=0) < limits.max:
            return dtype, int(limits.max) if 0 in values else 0
    raise ValueError(f"class values {min(values)} to {max(values)} fit no raster")


class ClassifiedTiles(ChipFormat):
    """``labels/STEM.tif``, a band of class values; unlabelled is 0, or nodata where 0 is a class."""

    counts = "pixels"

    def sizes(self, cut: Cut) -> Sizes | None:
        assert cut.mask is not None
        pixels = np.bincount(cut.mask.ravel(), minlength=256)[: len(self.source.classes)]
        shown = {int(index): [float(pixels[index])] for index in np.flatnonzero(pixels)}
        return shown if set(shown) - {self.source.background} else None

    def write_label(self, cut: Cut, root: Path, stem: str) -> dict[str, Any]:
        assert cut.mask is not None
        values = [item.value for item in self.source.classes]
        dtype, unlabelled = value_type(values)
        table = np.full(256, unlabelled, dtype)
        table[: len(values)] = values
        label = f"labels/{stem}.tif"
        write_values(root / label, table[cut.mask], cut.place, nodata=unlabelled or None)
        return {"label": label}


class _Objects(ChipFormat):
    """A format of the objects in a chip."""

    #: Whether objects that are neither learnt nor counted can be written.
    keeps_ignored: ClassVar[bool] = True

    def objects(self, cut: Cut) -> CutObjects:
        """Return the objects of which the chip shows enough."""
        found = cut.objects
        assert found is not None
        keep = found.shares >= self.options.min_overlap
        keep &= ~found.ignored | self.keeps_ignored
        return CutObjects(found.outlines[keep], found.labels[keep], found.shares[keep], found.ignored[keep])

    def sizes(self, cut: Cut) -> Sizes | None:
        import shapely

        found = self.objects(cut)
        shown: Sizes = {}
        for label, outline, ignored in zip(found.labels, found.outlines, found.ignored, strict=True):
            if not ignored:
                shown.setdefault(int(label), []).append(float(self.area(shapely.bounds(outline), outline)))
        return shown or None

    def area(self, box: Sequence[float], outline: Any) -> float:
        """Return an object's size in pixels: that of its box."""
        return (box[2] - box[0]) * (box[3] - box[1])

    def value(self, index: int) -> int:
        return self.source.classes[int(index)].value


class VocRectangles(_Objects):
    """``labels/STEM.xml`` in PASCAL VOC's form, a class's value for its name."""

    def write_label(self, cut: Cut, root: Path, stem: str) -> dict[str, Any]:
        found = self.objects(cut)
        rows = [
            (self.value(label), outline.bounds, bool(ignored))
            for label, outline, ignored in zip(found.labels, found.outlines, found.ignored, strict=True)
        ]
        label = f"labels/{stem}.xml"
        write_voc(root / label, f"{stem}{self.options.ending}", cut, rows)
        return {"label": label}


def write_voc(path: Path, image: str, cut: Cut, objects: Sequence[tuple[int, Sequence[float], bool]]) -> None:
    """Write an annotation: class value, box and whether it is ignored, of each object."""
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = image
    source = ElementTree.SubElement(root, "source")
    ElementTree.SubElement(source, "annotation").text = "geomm"
    size = ElementTree.SubElement(root, "size")
    bands, height, width = cut.pixels.shape
    for name, value in (("width", width), ("height", height), ("depth", bands)):
        ElementTree.SubElement(size, name).text = str(value)
    for value, box, ignored in objects:
        node = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(node, "name").text = str(value)
        if ignored:
            ElementTree.SubElement(node, "difficult").text = "1"
        edges = ElementTree.SubElement(node, "bndbox")
        for name, edge in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
            ElementTree.SubElement(edges, name).text = number(edge)
    ElementTree.indent(root, "    ")
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def number(value: float) -> str:
    """Return a coordinate as text, to a ten-thousandth of a pixel: ``12.0``, ``12.0625``."""
    text = f"{value:.4f}".rstrip("0")
    return f"{text}0" if text.endswith(".") else text


class KittiRectangles(_Objects):
    """``labels/STEM.txt`` in KITTI's 15 columns: class value, share cut off, box; the others are 0."""

    def write_label(self, cut: Cut, root: Path, stem: str) -> dict[str, Any]:
        found = self.objects(cut)
        lines = []
        rows = zip(found.labels, found.outlines, found.shares, found.ignored, strict=True)
        for label, outline, share, ignored in rows:
            name = "DontCare" if ignored else str(self.value(label))
            box = " ".join(number(edge) for edge in outline.bounds)
            lines.append(f"{name} {1 - share:.2f} 0 0.0 {box} 0 0 0 0 0 0 0")
        label_path = f"labels/{stem}.txt"
        _write_text(root / label_path, lines)
        return {"label": label_path}


def _write_text(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


class RcnnMasks(_Objects):
    """``labels/VALUE/STEM.tif`` a class: instance numbers, 0 where nothing is.

    Where objects of one class overlap, a pixel is the smallest one's. Objects that cover no pixel's centre
    are left out.
    """

    keeps_ignored = False

    def sizes(self, cut: Cut) -> Sizes | None:
        shown: Sizes = {}
        for index, numbers in self.instances(cut).items():
            pixels = np.bincount(numbers.ravel())[1:]
            shown[index] = [float(count) for count in pixels if count]
        return {index: sizes for index, sizes in shown.items() if sizes} or None

    def instances(self, cut: Cut) -> dict[int, NDArray[np.int32]]:
        """Return a raster (h, w) of instance numbers for each class index that shows."""
        import shapely
        from rasterio.features import rasterize

        found = self.objects(cut)
        rasters = {}
        for index in sorted(set(found.labels.tolist())):
            outlines = found.outlines[found.labels == index]
            order = np.argsort(-shapely.area(outlines), kind="stable")
            shapes = [(outlines[at], int(at) + 1) for at in order]
            burnt = rasterize(shapes, out_shape=cut.valid.shape, dtype="int32")
            if burnt.any():
                rasters[int(index)] = burnt
        return rasters

    def write_label(self, cut: Cut, root: Path, stem: str) -> dict[str, Any]:
        # A chip without objects needs a raster all the same, to be known as one.
        rasters = self.instances(cut) or {0: np.zeros(cut.valid.shape, np.int32)}
        paths = []
        for index, numbers in rasters.items():
            label = f"labels/{self.value(index)}/{stem}.tif"
            dtype = "uint8" if numbers.max() < 256 else "uint16" if numbers.max() < 65536 else "int32"
            write_values(root / label, numbers.astype(dtype), cut.place, nodata=None)
            paths.append(label)
        return {"label": paths[0]}


class CocoObjects(_Objects):
    """One ``annotations.json``: boxes and outlines; written when all chips are."""

    def area(self, box: Sequence[float], outline: Any) -> float:
        return float(outline.area)

    def write_label(self, cut: Cut, root: Path, stem: str) -> dict[str, Any]:
        found = self.objects(cut)
        rows = []
        for label, outline, ignored in zip(found.labels, found.outlines, found.ignored, strict=True):
            left, top, right, bottom = outline.bounds
            rings = [
                [round(float(value), 4) for value in np.asarray(part.exterior.coords)[:-1].ravel()]
                for part in without_holes(outline)
            ]
            row = {
                "category_id": self.value(label),
                "bbox": [round(float(v), 4) for v in (left, top, right - left, bottom - top)],
                "area": round(float(outline.area), 4),
                "segmentation": rings,
                "iscrowd": int(ignored),
            }
            rows.append(row)
        return {"objects": rows}


def without_holes(outline: Any) -> list[Any]:
    """Return polygons without holes that cover the same area: cut through the middle of each hole."""
    import shapely

    done, left = [], [part for part in shapely.get_parts(outline) if part.geom_type == "Polygon"]
    while left:
        part = left.pop()
        if not part.interiors:
            done.append(part)
            continue
        x = shapely.Polygon(part.interiors[0]).centroid.x
        low, top, high, bottom = part.bounds
        for half in (shapely.box(low, top, x, bottom), shapely.box(x, top, high, bottom)):
            pieces = shapely.get_parts(part.intersection(half))
            left += [piece for piece in pieces if piece.geom_type == "Polygon" and piece.area > 0]
    return sorted(done, key=lambda part: part.bounds)


class YoloRows(_Objects):
    """``labels/STEM.txt``: class number from 0, middle and size of a box in shares of the chip."""

    keeps_ignored = False

    def write_label(self, cut: Cut, root: Path, stem: str) -> dict[str, Any]:
        height, width = cut.valid.shape
        found = self.objects(cut)
        lines = []
        for label, outline in zip(found.labels, found.outlines, strict=True):
            left, top, right, bottom = outline.bounds
            shares = (
                (left + right) / 2 / width, (top + bottom) / 2 / height,
                (right - left) / width, (bottom - top) / height,
            )  # fmt: skip
            lines.append(" ".join([str(int(label)), *(f"{share:.8f}" for share in shares)]))
        label_path = f"labels/{stem}.txt"
        _write_text(root / label_path, lines)
        return {"label": label_path}


class _Labelled(ChipFormat):
    """A format of chips with a class, or several: a feature's own, or those of its pixels."""

    may_be_empty = False

    def shown(self, cut: Cut) -> tuple[int, ...]:
        """Return the indices of the classes but background, the one that most pixels are of first."""
        if cut.labels is not None:
            return cut.labels
        assert cut.mask is not None
        pixels = np.bincount(cut.mask.ravel(), minlength=256)[:IGNORE_INDEX]
        order = np.argsort(-pixels, kind="stable")[: np.count_nonzero(pixels)]
        return tuple(int(index) for index in order if index != self.source.background)

    def sizes(self, cut: Cut) -> Sizes | None:
        return {index: [float(cut.valid.size)] for index in self.named(self.shown(cut))} or None

    def named(self, shown: tuple[int, ...]) -> tuple[int, ...]:
        return shown[:1]


class LabeledTiles(_Labelled):
    """``labels/STEM.xml`` with one object as large as the chip: the class that most of it is of."""

    def write_label(self, cut: Cut, root: Path, stem: str) -> dict[str, Any]:
        height, width = cut.valid.shape
        box = (0.0, 0.0, float(width), float(height))
        named = self.named(self.shown(cut))
        rows = [(self.source.classes[index].value, box, False) for index in named]
        label = f"labels/{stem}.xml"
        write_voc(root / label, f"{stem}{self.options.ending}", cut, rows)
        return {"label": label}


class MultiLabeledTiles(LabeledTiles):
    """The same with an object for each class that the chip shows."""

    def named(self, shown: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(shown))


class Imagenet(_Labelled):
    """``images/CLASS/STEM``, without labels."""

    def __init__(self, source: Source, options: ChipOptions) -> None:
        super().__init__(source, options)
        self.folders = class_folders([item.name for item in source.classes])

    def image(self, cut: Cut, stem: str) -> str:
        return f"images/{self.folders[self.shown(cut)[0]]}/{stem}{self.options.ending}"

    def write_label(self, cut: Cut, root: Path, stem: str) -> dict[str, Any]:
        return {}


class ExportTiles(ChipFormat):
    """Images alone, or the same ground in ``images2``."""

    def sizes(self, cut: Cut) -> Sizes | None:
        return {}

    def write_label(self, cut: Cut, root: Path, stem: str) -> dict[str, Any]:
        return {}


CHIP_FORMATS: Mapping[str, type[ChipFormat]] = {
    "Classified_Tiles": ClassifiedTiles,
    "PASCAL_VOC_rectangles": VocRectangles,
    "KITTI_rectangles": KittiRectangles,
    "RCNN_Masks": RcnnMasks,
    "Labeled_Tiles": LabeledTiles,
    "MultiLabeled_Tiles": MultiLabeledTiles,
    "Imagenet": Imagenet,
    "Export_Tiles": ExportTiles,
    "coco": CocoObjects,
    "yolo": YoloRows,
}
