"""Streaming inference: reader, tiles, batches, model, merger, writer."""

from geomm.inference.executor import LocalExecutor
from geomm.inference.object_options import ObjectOptions
from geomm.inference.object_truth import judge_objects
from geomm.inference.objects import predict_objects
from geomm.inference.options import ClassMapOptions, FinerOptions, InferenceOptions, RasterOptions
from geomm.inference.point_options import PointOptions
from geomm.inference.points import predict_clouds
from geomm.inference.predict import predict_rasters
from geomm.inference.products import ClassMap, FinerScene, MapProducts, ValueMap
from geomm.inference.report import PredictionReport, predict_each
from geomm.inference.tracker import FrameTracker
from geomm.inference.video import predict_videos

__all__ = [
    "ClassMap",
    "ClassMapOptions",
    "FinerOptions",
    "FinerScene",
    "FrameTracker",
    "InferenceOptions",
    "LocalExecutor",
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
