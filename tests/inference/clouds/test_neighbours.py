"""Tiles beside one another: which are context, and what is said of those that cannot be."""

import logging

import pytest

from geomm.inference.clouds.neighbours import Neighbours
from tests.io.clouds import town, write_cloud


def tiles(folder, **options):
    """Write two tiles side by side, each with options of its own by name."""
    xyz, _ = town(edge=20)
    west = xyz[:, 0] < 500010
    return [
        str(write_cloud(folder / f"{name}.laz", xyz[side], **options.get(name, {})))
        for name, side in (("west", west), ("east", ~west))
    ]


@pytest.mark.parametrize(
    "east",
    [
        {},
        {"crs": None},
        {"point_format": 6},
        {"point_format": 6, "crs": "EPSG:32632+5773"},
    ],
)
def test_a_tile_beside_is_context_whatever_its_format_and_heights(tmp_path, east, caplog):
    west, other = tiles(tmp_path, east=east)
    found = Neighbours([west, other], ["scan_angle"]).near(west, 5.0)
    assert [info.path for info in found] == [other]
    assert not caplog.records


def test_what_lies_far_or_lacks_a_dimension_is_none(tmp_path):
    west, east = tiles(tmp_path, west={"point_format": 3}, east={"point_format": 1})
    assert Neighbours([west, east], ["red"]).near(west, 5.0) == []
    far = str(write_cloud(tmp_path / "far.laz", town(edge=5)[0] + [500, 0, 0]))
    assert Neighbours([west, far], []).near(west, 5.0) == []


def test_mixed_crs_are_said_once_with_files_and_cure(tmp_path, caplog):
    west, east = tiles(tmp_path, east={"crs": "EPSG:32633"})
    with caplog.at_level(logging.WARNING, "geomm"):
        neighbours = Neighbours([west, east], [])
    (record,) = caplog.records
    message = record.getMessage()
    assert "west.laz in WGS 84 / UTM zone 32N; east.laz in WGS 84 / UTM zone 33N" in message
    assert "reproject them to one CRS" in message
    assert neighbours.near(west, 5.0) == []
