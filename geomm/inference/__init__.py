"""Streaming inference: reader, tiles, batches, model, merger, writer."""

from geomm.inference.clouds.options import PointOptions
from geomm.inference.clouds.predict import predict_clouds
from geomm.inference.executor import LocalExecutor
from geomm.inference.maps.predict import predict_rasters
from geomm.inference.maps.products import ClassMap, FinerScene, MapProducts, ValueMap
from geomm.inference.objects.options import ObjectOptions
from geomm.inference.objects.predict import predict_objects
from geomm.inference.objects.truth import judge_objects
from geomm.inference.options import ClassMapOptions, FinerOptions, InferenceOptions, MapOptions, RasterOptions
from geomm.inference.report import PredictionReport, predict_each
from geomm.inference.videos.predict import predict_videos
from geomm.inference.videos.tracker import FrameTracker

__all__ = [
    "ClassMap",
    "ClassMapOptions",
    "FinerOptions",
    "FinerScene",
    "FrameTracker",
    "InferenceOptions",
    "LocalExecutor",
    "MapOptions",
    "MapProducts",
    "ObjectOptions",
    "PointOptions",
    "PredictionReport",
    "RasterOptions",
    "ValueMap",
    "judge_objects",
    "predict_clouds",
    "predict_each",
    "predict_objects",
    "predict_rasters",
    "predict_videos",
]
