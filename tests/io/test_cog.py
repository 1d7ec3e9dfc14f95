"""Class maps say what they are to GDAL, and appear when they are complete."""

import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy

from geomm.io import cog
from geomm.io.cog import MapLayout, assemble, is_map, write_rows
from geomm.structures import ClassSpec, Georeference

CLASSES = (ClassSpec(1, "water & ice", (0, 0, 200)), ClassSpec(4, "<roof>", (200, 10, 30)))


def layout(width, height, **changes):
    georeference = Georeference("EPSG:32616", (0.5, 0.0, 700000.0, 0.0, -0.5, 3700000.0))
    fields = {"dtype": "uint8", "nodata": 0, "band_names": ("class",), "classes": CLASSES, **changes}
    return MapLayout(width, height, georeference=georeference, **fields)


def make(folder, pixels, heights, plan):
    work = folder / ".work"
    work.mkdir()
    rows, first = [], 0
    for number, height in enumerate(heights):
        path = work / f"{number}.tif"
        write_rows(path, first, pixels[:, first : first + height], plan)
        rows.append((first, height, path))
        first += height
    return assemble(rows, plan, folder / "map.tif", work=work)


def class_pixels(height, width):
    return np.random.default_rng(0).choice([0, 1, 4], (1, height, width)).astype(np.uint8)


@pytest.mark.parametrize("heights", [(1,), (1, 1, 5), (64, 65, 3), (700,)])
def test_bands_of_rows_of_any_height_are_joined(tmp_path, heights):
    pixels = class_pixels(sum(heights), 37)
    with rasterio.open(make(tmp_path, pixels, heights, layout(37, sum(heights)))) as made:
        np.testing.assert_array_equal(made.read(), pixels)
        assert made.crs.to_epsg() == 32616
        assert tuple(made.transform)[:6] == layout(1, 1).georeference.transform
        assert (made.nodata, made.descriptions) == (0, ("class",))


def test_a_large_map_is_a_cog_with_overviews_of_classes_alone(tmp_path):
    path = make(tmp_path, class_pixels(1300, 1100), (1300,), layout(1100, 1300))
    with rasterio.open(path, overview_level=0) as small:
        assert set(np.unique(small.read())) == {0, 1, 4}
        assert small.shape == (650, 550)
    with rasterio.open(path) as made:
        assert made.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert made.block_shapes == [(512, 512)]


def test_gdal_reads_names_colours_and_the_attribute_table(tmp_path):
    path = make(tmp_path, class_pixels(20, 20), (20,), layout(20, 20))
    with rasterio.open(path) as made:
        assert made.colormap(1)[4] == (200, 10, 30, 255)
        assert made.tags()["CLASSES"] == "1=water & ice; 4=<roof>"
    # A VRT that GDAL writes of the file holds what GDAL read of it.
    copy(str(path), str(tmp_path / "said.vrt"), driver="VRT")
    said = (tmp_path / "said.vrt").read_text()
    assert "<Category>water &amp; ice</Category>" in said
    assert "<Category>&lt;roof&gt;</Category>" in said
    assert "<GDALRasterAttributeTable" in said


def test_scores_are_float_bands_with_names(tmp_path):
    pixels = np.random.default_rng(0).random((2, 30, 20)).astype(np.float32)
    names = ("water", "roof")
    plan = layout(20, 30, dtype="float32", nodata=-1.0, band_names=names, classes=())
    with rasterio.open(make(tmp_path, pixels, (30,), plan)) as made:
        np.testing.assert_array_equal(made.read(), pixels)
        assert made.descriptions == names
        assert made.nodata == -1
    assert not (tmp_path / "map.tif.aux.xml").exists()


def test_a_map_that_cannot_be_finished_takes_no_name(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("the disk is full")

    monkeypatch.setattr(cog, "copy_raster", fail)
    with pytest.raises(OSError, match="full"):
        make(tmp_path, class_pixels(20, 20), (20,), layout(20, 20))
    assert [path.name for path in tmp_path.iterdir()] == [".work"]


def test_what_a_killed_run_left_changes_nothing(tmp_path):
    pixels, plan = class_pixels(1100, 700), layout(700, 1100)
    folders = [tmp_path / name for name in ("clean", "dirty")]
    for folder in folders:
        folder.mkdir()
    (tmp_path / "dirty" / "left").mkdir()
    for name in ("map.tif", "map.tif.vrt", "map.tif.aux.xml", "map.tif.ovr.tmp", "map.tif.msk.ovr.tmp"):
        (tmp_path / "dirty" / "left" / name).write_text("half of something")
    write_rows(tmp_path / "rows.tif", 0, pixels, plan)
    rows = [(0, 1100, tmp_path / "rows.tif")]
    clean = assemble(rows, plan, folders[0] / "map.tif", work=folders[0])
    dirty = assemble(rows, plan, folders[1] / "map.tif", work=folders[1] / "left")
    assert clean.read_bytes() == dirty.read_bytes()


def test_a_map_is_told_from_other_files(tmp_path):
    path = make(tmp_path, class_pixels(20, 20), (20,), layout(20, 20))
    (tmp_path / "text.tif").write_text("no raster")
    with rasterio.open(
        tmp_path / "other.tif", "w", driver="GTiff", width=1, height=1, count=1, dtype="uint8"
    ):
        pass
    assert is_map(path)
    assert not is_map(tmp_path / "text.tif")
    assert not is_map(tmp_path / "other.tif")
