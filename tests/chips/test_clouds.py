"""Clouds cut into ``.pctd`` folders, and read back."""

import json

import numpy as np
from scipy.spatial import cKDTree

from geomm.chips import export_chips
from geomm.chips.options import ChipOptions
from geomm.datasets.clouds.pctd import PctdClouds
from geomm.io.detect import detect
from geomm.io.las import read_chunks
from geomm.io.pctd import open_pctd
from tests.io.clouds import town, write_cloud


def test_every_point_comes_back_with_its_code(tmp_path):
    files = []
    for number in range(2):
        xyz, codes = town(number)
        files.append(write_cloud(tmp_path / f"{number}.laz", xyz, codes=codes))
    config = {"type": "LasClouds", "root": [str(file) for file in files], "val": None, "sample": None}
    options = ChipOptions(format="pctd", tile_m=15.0, tile_points=300, val_share=0.3, progress=False)
    root = tmp_path / "out.pctd"
    done = export_chips(config, root, options)
    found = []
    for name in ("train", "val"):
        split = open_pctd(root, name)
        assert split.tile_size == 15.0 and (split.tiles[:, 2] <= 300).all()
        for tile, center in zip(split.read(["intensity"]), split.centers, strict=True):
            assert np.abs(tile.xyz[:, :2] - center[:2]).max() <= 7.5001
            found.append(np.column_stack([tile.xyz, tile.codes]))
    found = np.concatenate(found)
    truth = [
        np.column_stack([chunk.xyz, chunk.values["classification"]])
        for file in files
        for chunk in read_chunks(file, ["classification"])
    ]
    truth = np.concatenate(truth)
    assert len(found) == len(truth) == sum(done.counts.values())
    away, which = cKDTree(truth[:, :3]).query(found[:, :3])
    assert away.max() < 0.002 and len(set(which.tolist())) == len(truth)
    np.testing.assert_array_equal(found[:, 3], truth[which, 3])
    statistics = json.loads((root / "train" / "Statistics.json").read_text())
    assert statistics["parameters"]["maxPoints"] == 300
    assert {row["classCode"] for row in statistics["classification"]["table"]} == {2, 5, 6}
    assert detect(root).uses[0].dataset == "pctd"
    spec = PctdClouds(root=root, features=["intensity"]).prepare(tmp_path / "cache")
    assert spec.block_m == 15.0 and len(spec.classes) == 3


def test_running_again_changes_nothing(tmp_path):
    xyz, codes = town(0)
    file = write_cloud(tmp_path / "a.laz", xyz, codes=codes)
    config = {"type": "LasClouds", "root": str(file), "val": None, "sample": None}
    options = ChipOptions(format="pctd", tile_m=20.0, progress=False)
    export_chips(config, tmp_path / "p", options)
    before = (tmp_path / "p" / "train" / "data_0.h5").stat().st_mtime_ns
    export_chips(config, tmp_path / "p", options)
    assert (tmp_path / "p" / "train" / "data_0.h5").stat().st_mtime_ns == before
