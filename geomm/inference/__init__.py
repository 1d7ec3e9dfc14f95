"""Streaming inference: reader, tiles, batches, model, merger, writer."""

from geomm.inference.executor import LocalExecutor
from geomm.inference.options import ClassMapOptions, FinerOptions, InferenceOptions, RasterOptions
from geomm.inference.predict import predict_rasters
from geomm.inference.products import ClassMap, FinerScene, MapProducts, ValueMap
from geomm.inference.report import PredictionReport, predict_each

__all__ = [
    "ClassMap",
    "ClassMapOptions",
    "FinerOptions",
    "FinerScene",
    "InferenceOptions",
    "LocalExecutor",
    "MapProducts",
    "PredictionReport",
    "RasterOptions",
    "ValueMap",
    "predict_each",
    "predict_rasters",
]
