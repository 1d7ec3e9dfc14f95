"""Streaming inference: reader, tiles, batches, model, merger, writer."""

from geomm.inference.executor import LocalExecutor
from geomm.inference.options import RasterOptions
from geomm.inference.predict import PredictionReport, predict_rasters

__all__ = ["LocalExecutor", "PredictionReport", "RasterOptions", "predict_rasters"]
