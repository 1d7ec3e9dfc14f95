"""What lies beside the chips: ArcGIS's map.txt, stats.txt and two json files, COCO's json, YOLO's yaml."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

import geomm
from geomm.chips.formats import ChipFormat
from geomm.chips.options import ChipOptions
from geomm.chips.sources import Source
from geomm.datasets.moments import combine_moments
from geomm.io.arcgis import DEFINITION, MAP, STATISTICS
from geomm.structures import ClassSpec


@dataclass
class Tally:
    """Numbers of which only a few statistics are kept.

    Attributes:
      count: how many.
      total: their sum.
      low, high: the extremes.
    """

    count: int = 0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self.low, self.high = min(self.low, value), max(self.high, value)

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    def as_json(self) -> dict[str, float]:
        low, high = (self.low, self.high) if self.count else (0.0, 0.0)
        return {"Min": low, "Max": high, "Mean": self.mean, "Sum": self.total, "Count": self.count}


@dataclass
class Totals:
    """What all chips show together.

    Attributes:
      chips: how many.
      width, height: of the largest.
      images: chips that show each class, by class index.
      sizes: of what is counted of each class: areas of features in map units, or pixels a chip.
      each: features, or classes, a chip.
      moments: (5, C) of the pixels.
    """

    chips: int = 0
    width: int = 0
    height: int = 0
    images: dict[int, int] = field(default_factory=dict)
    sizes: dict[int, Tally] = field(default_factory=dict)
    each: Tally = field(default_factory=Tally)
    moments: NDArray[np.float64] | None = None

    def add_part(self, part: Mapping[str, Any], counts: str, classes: int) -> None:
        """Add a unit's chips, as its part lists them."""
        for chip in part["chips"]:
            self.chips += 1
            self.width, self.height = max(self.width, chip["size"][0]), max(self.height, chip["size"][1])
            shown = {int(index): sizes for index, sizes in chip["sizes"].items()}
            unit = chip["gsd"] ** 2 if counts == "features" and chip["gsd"] else 1.0
            for index in shown:
                self.images[index] = self.images.get(index, 0) + 1
            for index in shown if counts == "features" else range(classes):
                tally = self.sizes.setdefault(index, Tally())
                for size in shown.get(index, [0.0]):
                    tally.add(size * unit)
            self.each.add(sum(map(len, shown.values())) if counts == "features" else len(shown))
        if part["moments"] is not None:
            mine = np.array(part["moments"], np.float64)
            self.moments = mine if self.moments is None else combine_moments([self.moments, mine])


def read_parts(files: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """Yield what the units of an export wrote, one at a time."""
    for file in files:
        yield json.loads(file.read_text(encoding="utf-8"))


def write_side_files(
    root: Path, parts: list[Path], source: Source, chip_format: ChipFormat, options: ChipOptions
) -> Totals:
    """Write what lies beside the chips; return what they show together."""
    totals = Totals()
    for part in read_parts(parts):
        totals.add_part(part, chip_format.counts, len(source.classes))
    if options.format == "coco":
        _write_coco(root / "annotations.json", parts, source.classes)
    elif options.format == "yolo":
        _write_yolo(root / "data.yaml", source.classes)
    else:
        if options.format != "Imagenet":  # its folders are its labels
            _write_map(root / MAP, parts)
        (root / "stats.txt").write_text(stats_text(totals, source, chip_format), encoding="utf-8")
        _write_json(root / STATISTICS, _statistics(totals, source, chip_format, options))
        _write_json(root / DEFINITION, _definition(totals, source, options))
    return totals


def _write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False), encoding="utf-8")


def _write_map(path: Path, parts: list[Path]) -> None:
    with path.open("w", encoding="utf-8", newline="\r\n") as file:
        for part in read_parts(parts):
            for chip in part["chips"]:
                names = [chip[key] for key in ("image", "image2", "label") if chip.get(key)]
                file.write("  ".join(str(PurePosixPath(n)).replace("/", "\\") for n in names) + "\n")


def _write_coco(path: Path, parts: list[Path], classes: tuple[ClassSpec, ...]) -> None:
    """Write images, then annotations, a chip at a time: a large export need not fit in memory."""
    with path.open("w", encoding="utf-8") as file:
        info = {"description": f"written by geomm {geomm.__version__}"}
        file.write(f'{{"info": {json.dumps(info)},\n"categories": ')
        named = [{"id": item.value, "name": item.name, "supercategory": ""} for item in classes]
        file.write(json.dumps(named, ensure_ascii=False))
        file.write(',\n"images": [')
        chips = (chip for part in read_parts(parts) for chip in part["chips"])
        images = (
            {"id": at, "file_name": chip["image"], "width": chip["size"][0], "height": chip["size"][1]}
            for at, chip in enumerate(chips, 1)
        )
        _write_items(file, images)
        file.write('],\n"annotations": [')
        chips = (chip for part in read_parts(parts) for chip in part["chips"])
        pairs = ((at, item) for at, chip in enumerate(chips, 1) for item in chip["objects"])
        _write_items(file, ({"id": n, "image_id": at, **item} for n, (at, item) in enumerate(pairs, 1)))
        file.write("]}\n")


def _write_items(file: Any, items: Iterable[Any]) -> None:
    for number, item in enumerate(items):
        file.write(",\n" if number else "\n")
        file.write(json.dumps(item, ensure_ascii=False))


def _write_yolo(path: Path, classes: tuple[ClassSpec, ...]) -> None:
    import yaml

    names = {index: item.name for index, item in enumerate(classes)}
    data = {"path": ".", "train": "images", "val": "images", "names": names}
    path.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")


def stats_text(totals: Totals, source: Source, chip_format: ChipFormat) -> str:
    """Return stats.txt: counts of images and classes, and a table of the classes."""
    bands = len(source.bands)
    lines = [f"images = {totals.chips} *{bands}*{totals.height}*{totals.width}"]
    counts, each = chip_format.counts, totals.each
    spread = f"[min = {each.low:.0f}, mean = {each.mean:.2f}, max = {each.high:.0f}]" if each.count else "[]"
    if counts == "features":
        lines += [f"features = {each.total:.0f}", f"features per image = {spread}"]
    lines.append(f"classes = {len(source.classes)}")
    if counts == "pixels":
        lines.append(f"classes per image = {spread}")
    lines.append(
        f"{'cls name':<22}{'cls value':>9}{'images':>11}{counts:>11}{'min size':>12}{'mean size':>12}"
        f"{'max size':>12}"
    )
    for index, item in enumerate(source.classes):
        tally = totals.sizes.get(index, Tally())
        number = tally.total if counts == "pixels" else tally.count
        low, high = (tally.low, tally.high) if tally.count else (0.0, 0.0)
        lines.append(
            f"{item.name:<22}{item.value:>9}{totals.images.get(index, 0):>11}{number:>11.0f}{low:>12.2f}"
            f"{tally.mean:>12.2f}{high:>12.2f}"
        )
    return "\n".join(lines) + "\n"


def _cell_size(source: Source, choose: Any) -> dict[str, Any]:
    info = choose(source.scenes, key=lambda item: item.gsd)
    a, b, _, d, e, _ = info.georeference.transform
    edges = (math.hypot(a, d), math.hypot(b, e)) if info.georeference.crs else (1.0, 1.0)
    size: dict[str, Any] = {"x": edges[0], "y": edges[1]}
    if info.georeference.crs is not None:
        from pyproj import CRS

        crs = CRS.from_user_input(info.georeference.crs)
        code = crs.to_epsg()
        size["spatialReference"] = {"wkid": code, "latestWkid": code} if code else {"wkt": crs.to_wkt()}
    return size


def _raster_properties(source: Source) -> dict[str, Any]:
    info = source.scenes[0]
    names = [info.band_names[band - 1] for band in source.bands]
    return {"RasterCount": len(source.scenes), "SensorName": "", "BandNames": names}


def _band_statistics(totals: Totals) -> list[dict[str, float]]:
    """Return each band's statistics, with the running moments that they follow from."""
    if totals.moments is None:
        return []
    return [
        {
            "Min": low,
            "Max": high,
            "Mean": mean,
            "StdDev": math.sqrt(squares / count),
            "M1": mean,
            "M2": squares,
            "Num": count,
        }
        for count, mean, squares, low, high in totals.moments.T.tolist()
    ]


def _statistics(
    totals: Totals, source: Source, chip_format: ChipFormat, options: ChipOptions
) -> dict[str, Any]:
    classes = source.classes
    shared = {
        "NumClasses": len(classes),
        "NumImagesTotal": totals.chips,
        "NumImagesPerClass": [totals.images.get(index, 0) for index in range(len(classes))],
    }
    sizes = [totals.sizes.get(index, Tally()) for index in range(len(classes))]
    data: dict[str, Any] = {
        "Version": 1,
        "NumBands": len(source.bands),
        "TileSizeX": totals.width,
        "TileSizeY": totals.height,
        "NumClasses": len(classes),
        "NumTiles": totals.chips,
        "OutputFeatures": chip_format.counts == "features" and bool(classes),
        "MetaDataMode": options.format,
        "MinCellSize": _cell_size(source, min),
        "MaxCellSize": _cell_size(source, max),
        "Classes": [
            {"ClassValue": item.value, "ClassName": item.name, "Color": list(item.color)} for item in classes
        ],
    }
    if chip_format.counts == "pixels":
        data["ClassPixelStats"] = {
            **shared,
            "NumPixelsPerClass": [round(tally.total) for tally in sizes],
            "NumClassesPerImage": totals.each.as_json(),
            "PixelsPerClass": [tally.as_json() for tally in sizes],
        }
    else:
        data["FeatureStats"] = {
            **shared,
            "NumFeaturesTotal": round(totals.each.total),
            "NumFeaturesPerClass": [tally.count for tally in sizes],
            "NumFeaturesPerImage": totals.each.as_json(),
            "FeatureAreaPerClass": [tally.as_json() for tally in sizes],
        }
    data["InputRastersProps"] = _raster_properties(source)
    data["BandStatsState"] = _band_statistics(totals)
    return data


def _definition(totals: Totals, source: Source, options: ChipOptions) -> dict[str, Any]:
    """Return the template of a model definition: what is known of the chips."""
    names = _raster_properties(source)["BandNames"]
    statistics = [
        {"BandName": name, **{key: band[key] for key in ("Min", "Max", "Mean", "StdDev")}}
        for name, band in zip(names, _band_statistics(totals), strict=False)
    ]
    definition: dict[str, Any] = {
        "Framework": "",
        "ModelConfiguration": "",
        "ModelType": "",
        "ModelFile": "",
        "MetaDataMode": options.format,
        "ImageSpaceUsed": "MAP_SPACE" if options.map_space else "PIXEL_SPACE",
        "ImageHeight": totals.height,
        "ImageWidth": totals.width,
        "ExtractBands": [band - 1 for band in source.bands],
        "MinCellSize": _cell_size(source, min),
        "MaxCellSize": _cell_size(source, max),
        "Classes": [
            {"Value": item.value, "Name": item.name, "Color": list(item.color)} for item in source.classes
        ],
        "InputRastersProps": _raster_properties(source),
        "AllTilesStats": statistics,
    }
    if options.format in ("Labeled_Tiles", "MultiLabeled_Tiles", "Imagenet"):
        definition["CropTileMode"] = "Variable_Size" if options.tile_px is None else "Fixed_Size"
    return definition
