"""ArcGIS's .pctd exports, as their layout is described."""

import json

import h5py
import numpy as np
import pytest

from geomm.datasets.clouds.pctd import PctdClouds
from geomm.errors import DataError
from tests.io.clouds import town


def write_export(folder, splits=("train", "val"), tile=20.0):
    """Write an export; return the points and codes of each split."""
    truth = {}
    for number, split in enumerate(splits):
        place = folder / split
        place.mkdir(parents=True)
        xyz, codes = town(number)
        rng = np.random.default_rng(number)
        corner = np.floor((xyz[:, :2] - xyz[:, :2].min(0)) / tile).astype(int)
        tiles, centers, flat, labels, lights, start = [], [], [], [], [], 0
        for cell in np.unique(corner, axis=0):
            inside = (corner == cell).all(1)
            center = np.array([*(xyz[:, :2].min(0) + (cell + 0.5) * tile), 100.0])
            tiles.append([0, start, inside.sum()])
            centers.append(center)
            flat.append((xyz[inside] - center) / (tile / 2))
            labels.append(codes[inside])
            lights.append(rng.integers(0, 9999, inside.sum()))
            start += inside.sum()
        with h5py.File(place / "data_0.h5", "w") as file:
            file["xyz"] = np.concatenate(flat).astype(np.float32)
            file["classification"] = np.concatenate(labels)
            file["intensity"] = np.concatenate(lights)
            file["returnNumber"] = np.ones(start, np.uint8)
            file["numberOfReturns"] = np.ones(start, np.uint8)
        with h5py.File(place / "ListTable.h5", "w") as file:
            file["Files"] = np.array([b"data_0.h5"])
            file["Tiles"], file["Centers"] = np.array(tiles), np.array(centers)
        statistics = {"parameters": {"tileSize": tile, "maxPoints": 8192}, "attributes": {}}
        (place / "Statistics.json").write_text(json.dumps(statistics))
        truth[split] = xyz, codes
    return truth


def test_tiles_lie_where_they_were_and_val_is_kept(tmp_path):
    truth = write_export(tmp_path / "a.pctd")
    source = PctdClouds(root=tmp_path / "a.pctd", block_points=500)
    spec = source.prepare(tmp_path / "cache")
    assert spec.block_m == 20.0
    assert spec.class_points == tuple(int((truth["train"][1] == code).sum()) for code in (2, 5, 6))
    data = source.split("val")
    labelled = sum(len(data[i]) for i in range(len(data)))
    assert labelled == len(truth["val"][1])
    store = data[0]
    assert np.abs(store.xyz[:, :2]).max() <= 10.001
    assert 6 < spec.statistics.max[spec.features.index("height_above_ground")] < 11


def test_an_export_without_val_is_divided(tmp_path):
    write_export(tmp_path / "a.pctd", splits=("train",), tile=10.0)
    source = PctdClouds(root=tmp_path / "a.pctd", features=["intensity"])
    source.prepare(tmp_path / "cache")
    assert len(source.split("val")) > 0


def test_mistakes_are_named(tmp_path):
    write_export(tmp_path / "a.pctd")
    with pytest.raises(DataError, match="has no 'nir'"):
        PctdClouds(root=tmp_path / "a.pctd", features=["nir"]).prepare(tmp_path / "cache")
    (tmp_path / "a.pctd" / "train" / "data_0.h5").unlink()
    with pytest.raises(DataError, match="not there; export again"):
        PctdClouds(root=tmp_path / "a.pctd").prepare(tmp_path / "cache")
    (tmp_path / "a.pctd" / "train" / "Statistics.json").write_text("{}")
    with pytest.raises(DataError, match=r"Statistics.json with parameters.tileSize"):
        PctdClouds(root=tmp_path / "a.pctd").prepare(tmp_path / "cache")
    with pytest.raises(DataError, match="no train folder"):
        PctdClouds(root=tmp_path).prepare(tmp_path / "cache")
