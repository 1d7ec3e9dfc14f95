"""One contestant of the benchmark `inference`: `python inference.py '{"name": …}'`.

Runs with torch, rasterio and the contestant's own library alone; prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from peak import peak_mb
from torch import Tensor, nn

CLASSES = 4
MEAN, STD = 120.0, 50.0


def tiny() -> nn.Module:
    """Two small convolutions: the loop around the network is what is measured."""
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(8, CLASSES, 1))


def raster_spec() -> Any:
    """Return what geomm's models know of the scene."""
    from geomm.structures import BandStatistics, RasterSpec, make_classes

    statistics = BandStatistics((0.0,) * 3, (255.0,) * 3, (MEAN,) * 3, (STD,) * 3, 1)
    classes = make_classes([f"class {number}" for number in range(CLASSES)])
    return RasterSpec((1, 2, 3), ("r", "g", "b"), "uint8", statistics, classes, 256)


def segmentor() -> nn.Module:
    """Return geomm's U-Net over a ResNet-18, untrained."""
    from geomm.models import Segmentor

    backbone = {"type": "TimmBackbone", "name": "resnet18"}
    return Segmentor(backbone=backbone, head={"type": "UNetHead"}, loss=None, spec=raster_spec())


def normalised(pixels: Tensor) -> Tensor:
    return (pixels.float() - MEAN) / STD


def positions(length: int, tile: int, overlap: int) -> list[int]:
    """Starts of tiles; the last is shifted inward."""
    return sorted({min(start, length - tile) for start in range(0, length - overlap, tile - overlap)})


def run_bare(task: dict[str, Any], model: nn.Module) -> float:
    """Time the forward pass alone, over the same tiles, which wait in memory in batches."""
    batches = tiles_in_memory(task)
    started = time.perf_counter()
    forward(task, model, batches)
    return time.perf_counter() - started


def run_tuned(task: dict[str, Any], model: nn.Module) -> float:
    """Time the same with the memory layout and the allocator's settings that geomm uses."""
    from geomm.inference.memory import reused_memory

    batches = [b.contiguous(memory_format=torch.channels_last) for b in tiles_in_memory(task)]
    started = time.perf_counter()
    with reused_memory(torch.device("cpu")):
        forward(task, model, batches)
    return time.perf_counter() - started


def forward(task: dict[str, Any], model: nn.Module, batches: list[Tensor]) -> None:
    network = model.scores if task["network"] == "unet" else model
    with torch.inference_mode():
        for batch in batches:
            network(normalised(batch))


def tiles_in_memory(task: dict[str, Any]) -> list[Tensor]:
    tile = task["tile_px"]
    with rasterio.open(task["scene"]) as source:
        rows, cols = (positions(length, tile, task["overlap_px"]) for length in (source.height, source.width))
        scene = source.read()
    batches: list[Tensor] = []
    for row in rows:
        tiles = [scene[:, row : row + tile, col : col + tile] for col in cols]
        for first in range(0, len(tiles), task["batch_size"]):
            batches.append(torch.from_numpy(np.stack(tiles[first : first + task["batch_size"]])))
    return batches


def run_geomm(task: dict[str, Any], model: nn.Module) -> float:
    from geomm.inference import ClassMap, ClassMapOptions, predict_rasters

    spec = raster_spec()
    options = ClassMapOptions(
        tile_px=task["tile_px"],
        overlap_px=task["overlap_px"],
        batch_size=task["batch_size"],
        device="cpu",
        preview=False,
        on_error="raise",
    )

    def score(inputs: Tensor, valid: Tensor) -> Tensor:
        if task["network"] == "unet":
            return model.predict_scores(inputs, valid)
        return model(normalised(inputs)).softmax(1)

    started = time.perf_counter()
    products = ClassMap(spec, options)
    predict_rasters(
        task["scene"],
        task["folder"],
        score=score,
        spec=spec,
        products=products,
        options=options,
        model_id="benchmark",
    )
    return time.perf_counter() - started


def run_torchgeo(task: dict[str, Any], model: nn.Module) -> float:
    """Sum the scores of a GridGeoSampler's chips and write the best class."""
    from torch.utils.data import DataLoader
    from torchgeo.datasets import RasterDataset, stack_samples
    from torchgeo.samplers import GridGeoSampler

    started = time.perf_counter()
    dataset = RasterDataset(task["scene"])
    stride = task["tile_px"] - task["overlap_px"]
    sampler = GridGeoSampler(dataset, size=task["tile_px"], stride=stride)
    loader = DataLoader(dataset, task["batch_size"], sampler=sampler, collate_fn=stack_samples, num_workers=0)
    with rasterio.open(task["scene"]) as source:
        profile = source.profile
    height, width = profile["height"], profile["width"]
    left, top, size = profile["transform"].c, profile["transform"].f, profile["transform"].a
    scores = torch.zeros(CLASSES, height, width)
    with torch.inference_mode():
        for batch in loader:
            predicted = model(normalised(batch["image"])).softmax(1)
            for part, bounds in zip(predicted, batch["bounds"], strict=True):
                col = round((_start(bounds, 0) - left) / size)
                row = round((top - _stop(bounds, 1)) / size)
                up = max(-row, 0)
                part = part[:, up : up + height - max(row, 0), : width - col]
                place = scores[:, max(row, 0) :, col:]
                place[:, : part.shape[1], : part.shape[2]] += part
    write(task, profile, scores.argmax(0).to(torch.uint8).numpy())
    return time.perf_counter() - started


def _start(bounds: Any, axis: int) -> float:
    return float(bounds[axis].start if isinstance(bounds[axis], slice) else bounds[3 * axis])


def _stop(bounds: Any, axis: int) -> float:
    return float(bounds[axis].stop if isinstance(bounds[axis], slice) else bounds[3 * axis + 1])


def run_rastervision(task: dict[str, Any], model: nn.Module) -> float:
    """Add up smooth labels over the windows of a sliding-window dataset and save them."""
    from rastervision.core.data import ClassConfig, SemanticSegmentationLabels
    from rastervision.pytorch_learner import SemanticSegmentationSlidingWindowGeoDataset
    from torch.utils.data import DataLoader

    started = time.perf_counter()
    names = [f"class {number}" for number in range(CLASSES)]
    config = ClassConfig(names=names, null_class=names[0])
    dataset = SemanticSegmentationSlidingWindowGeoDataset.from_uris(
        class_config=config,
        image_uri=task["scene"],
        size=task["tile_px"],
        stride=task["tile_px"] - task["overlap_px"],
        normalize=False,
        image_raster_source_kw={"allow_streaming": False},
    )
    loader = DataLoader(dataset, task["batch_size"], num_workers=0)

    def predictions() -> Any:
        with torch.inference_mode():
            for images, _ in loader:
                yield from model(normalised(images)).softmax(1).numpy()

    labels = SemanticSegmentationLabels.from_predictions(
        dataset.windows,
        predictions(),
        extent=dataset.scene.extent,
        num_classes=CLASSES,
        smooth=True,
    )
    labels.save(
        uri=str(Path(task["folder"]) / "labels"),
        crs_transformer=dataset.scene.raster_source.crs_transformer,
        class_config=config,
        smooth_output=False,
    )
    return time.perf_counter() - started


def run_geoai(task: dict[str, Any], model: nn.Module) -> float:
    from geoai.inference import predict_geotiff

    started = time.perf_counter()
    predict_geotiff(
        nn.Sequential(model, nn.Softmax(1)),
        task["scene"],
        str(Path(task["folder"]) / "map.tif"),
        tile_size=task["tile_px"],
        overlap=task["overlap_px"],
        batch_size=task["batch_size"],
        num_classes=CLASSES,
        output_dtype="uint8",
        output_nodata=255,
        blend_mode="cosine",
        preprocess_fn=lambda tile: (tile - MEAN) / STD,
        postprocess_fn=lambda scores: scores.argmax(0).astype(np.uint8)[None],
        device="cpu",
        verbose=False,
    )
    return time.perf_counter() - started


def write(task: dict[str, Any], profile: dict[str, Any], classes: np.ndarray) -> None:
    profile = {**profile, "count": 1, "dtype": "uint8", "compress": "deflate"}
    with rasterio.open(Path(task["folder"]) / "map.tif", "w", **profile) as target:
        target.write(classes, 1)


def main() -> None:
    task = json.loads(sys.argv[1])
    torch.manual_seed(0)
    torch.set_num_threads(task["threads"])
    model = (segmentor() if task["network"] == "unet" else tiny()).eval()
    warm = torch.zeros(1, 3, task["tile_px"], task["tile_px"])
    with torch.inference_mode():
        (model.scores if task["network"] == "unet" else model)(warm)
    before = time.process_time()
    seconds = globals()[f"run_{task['name']}"](task, model)
    work = time.process_time() - before
    print(json.dumps({"seconds": seconds, "cpu_s": work, "peak_mb": peak_mb()}))


if __name__ == "__main__":
    main()
