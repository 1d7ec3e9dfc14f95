"""What each of the eight tasks' models know of their data, made up."""

from dataclasses import fields

from geomm.points import PointSpec
from geomm.structures import BandStatistics, ClassificationSpec, make_classes
from geomm.tasks import (
    Classification,
    Detection,
    InstanceSegmentation,
    Ner,
    PointCloud,
    Segmentation,
    SuperResolution,
    Tabular,
)  # fmt: skip
from geomm.text import TextSpec
from geomm.transforms.columns import Column
from geomm.transforms.table import TableSpec, Target
from tests.models.common import make_spec


def raster_spec(bands=4, **changes):
    return make_spec(bands, classes=("Gebäude", "tree top", "see/lake"), crs="EPSG:32633", gsd=0.5, **changes)


def label_spec():
    spec = raster_spec()
    known = {field.name: getattr(spec, field.name) for field in fields(spec)}
    return ClassificationSpec(**known, margin=0.25)


def point_spec():
    statistics = BandStatistics((0.0,) * 2, (1.0,) * 2, (0.5,) * 2, (0.25,) * 2, count=9)
    classes = make_classes(["ground", "building"], [2, 6])
    return PointSpec(("intensity", "red"), statistics, classes, {2: 0, 6: 1}, 20.0, 1024, (5, 6))


def table_spec(classes=()):
    columns = (Column("area", "number"), Column("zone", "category"))
    return TableSpec(columns, (Target("price"),), make_classes(classes) if classes else ())


#: A task, what its model knows, and the part of its config that descriptions look at.
TASKS = {
    "segmentation": (Segmentation(), raster_spec(), {"head": {"type": "UNetHead"}}),
    "detection": (Detection(), raster_spec(3), {"head": {"type": "mmdet.RetinaNet"}}),
    "instance_segmentation": (InstanceSegmentation(), raster_spec(3), {"head": {"type": "mmdet.MaskRCNN"}}),
    "classification": (Classification(), label_spec(), {"head": {"type": "LinearHead"}}),
    "super_resolution": (SuperResolution(), raster_spec(scale=2), {"head": {"type": "mmagic.EDSRNet"}}),
    "point_cloud": (PointCloud(), point_spec(), {"head": {"type": "PointCNN"}}),
    "regression": (
        Tabular(), table_spec(),
        {"head": {"type": "SklearnModel", "estimator": "sklearn.ensemble.RandomForestRegressor"}},
    ),
    "table_classes": (Tabular(), table_spec(["yes", "no"]), {"head": {"type": "FullyConnected"}}),
    "ner": (Ner(), TextSpec(("Address", "Crime"), address_tag="Address"), {"head": {"type": "BiLstmCrf"}}),
}  # fmt: skip
