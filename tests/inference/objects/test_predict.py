"""A detector that shows the truth gives back the truth, each object once, whatever the tiles."""

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geomm.errors import ConfigError, DataError
from geomm.io.raster import read_info
from geomm.io.vector import VectorLabels
from geomm.structures import Objects
from geomm.visualization import object_preview
from tests.conftest import ROOT
from tests.inference.conftest import noise, write_scene
from tests.inference.truth import (
    GSD,
    LEFT,
    TOP,
    Truth,
    disjoint_boxes,
    forty_a_tile,
    in_pixels,
    numbered_scene,
    rows_of,
    run,
)


def read(path):
    return geopandas.read_file(path, layer=path.stem)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    tile=st.integers(16, 80),
    share=st.floats(0, 0.95),
    batch=st.integers(1, 5),
    longest=st.integers(1, 150),
    merge=st.sampled_from(["nms", "soft", "wbf"]),
    seed=st.integers(0, 99),
)
def test_the_truth_comes_back(
    tmp_path_factory, spec, height, width, tile, share, batch, longest, merge, seed
):
    folder = tmp_path_factory.mktemp("scene")
    rng = np.random.default_rng(seed)
    boxes = disjoint_boxes(rng, height, width, 12, longest)
    labels = rng.integers(0, 4, len(boxes))
    scene = numbered_scene(folder / "scene.tif", height, width)
    overlap = min(int(tile * share), tile - 1)
    run(
        scene, folder / "out", spec, Truth(boxes, labels, width), tile_px=tile, overlap_px=overlap,
        batch_size=batch, merge=merge,
    )  # fmt: skip
    made = read(folder / "out" / "scene.gpkg")
    assert rows_of(in_pixels(made), made["value"] - 1) == rows_of(boxes, labels)


def bright_things(inputs, valid):
    """Find the bright things in a tile by its pixels alone, as a network would."""
    from scipy.ndimage import find_objects, label

    found = []
    for pixels in inputs.numpy():
        places = find_objects(label(pixels[0] > 0)[0])
        boxes = np.array([(c.start, r.start, c.stop, r.stop) for r, c in places], np.float32).reshape(-1, 4)
        found.append(Objects(boxes, np.zeros(len(boxes), np.int64), np.full(len(boxes), 0.9, np.float32)))
    return found


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(2, 60),
    width=st.integers(2, 60),
    tile=st.one_of(st.none(), st.integers(16, 80)),
    seed=st.integers(0, 99),
)
def test_things_at_the_edge_are_found_in_scenes_of_any_size(
    tmp_path_factory, spec, height, width, tile, seed
):
    """A scene smaller than its tile must not go on mirrored: a thing at its edge would be half outside."""
    folder = tmp_path_factory.mktemp("scene")
    boxes = disjoint_boxes(np.random.default_rng(seed), height, width, 8, 12, gap=1)
    pixels = np.zeros((height, width), np.uint8)
    for xmin, ymin, xmax, ymax in boxes.astype(int):
        pixels[ymin:ymax, xmin:xmax] = 200
    scene = write_scene(folder / "scene.tif", pixels)
    run(scene, folder / "out", spec, bright_things, tile_px=tile, overlap_px=12 if tile else None)
    made = read(folder / "out" / "scene.gpkg")
    assert rows_of(in_pixels(made), made["value"] - 1) == rows_of(boxes, np.zeros(len(boxes)))


def test_a_small_scene_is_looked_at_in_a_tile_of_its_size(tmp_path, spec):
    sizes = []

    def detect(inputs, valid):
        sizes.append((inputs.shape[-2:], int(valid.sum())))
        return bright_things(inputs, valid)

    scene = write_scene(tmp_path / "scene.tif", np.ones((40, 70), np.uint8))
    run(scene, tmp_path / "auto", spec, detect)
    run(scene, tmp_path / "given", spec, detect, tile_px=128)
    assert sizes == [((96, 96), 40 * 70), ((128, 128), 40 * 70)]


def test_a_format_that_objects_do_not_have_is_named(tmp_path, spec):
    scene = numbered_scene(tmp_path / "a.tif", 20, 20)
    truth = Truth(np.zeros((0, 4)), np.zeros(0, int), 20)
    with pytest.raises(ConfigError, match=r"t\.shp: objects are written as \.fgb, \.geojson, \.gpkg, "):
        run([scene], tmp_path / "t.shp", spec, truth)


def test_a_layer_each_needs_a_folder(tmp_path, spec):
    scenes = [write_scene(tmp_path / f"{name}.tif", noise(20, 20)) for name in "ab"]
    with pytest.raises(ConfigError, match=r"one_layer=false: found the one file all\.gpkg for 2 scenes"):
        run(scenes, tmp_path / "all.gpkg", spec, bright_things, one_layer=False)


def blobs(rng, height, width, count):
    """Return masks (N, H, W) of ragged things with holes that keep apart, and their boxes."""
    from scipy.ndimage import label

    field = rng.standard_normal((-(-height // 6), -(-width // 6))) > 0.3
    field = np.kron(field, np.ones((6, 6), bool))[:height, :width]
    numbers, total = label(field)
    masks = np.array([numbers == n for n in range(1, min(total, count) + 1)]).reshape(-1, height, width)
    boxes = [(c.min(), r.min(), c.max() + 1, r.max() + 1) for r, c in (np.nonzero(mask) for mask in masks)]
    return masks, np.array(boxes, np.float64).reshape(-1, 4)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(1, 90), width=st.integers(1, 90), tile=st.integers(24, 60), overlap=st.integers(8, 20),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_things_that_cross_tiles_are_one_polygon(tmp_path_factory, spec, height, width, tile, overlap, seed):
    folder = tmp_path_factory.mktemp("scene")
    masks, boxes = blobs(np.random.default_rng(seed), height, width, 12)
    # One thing in a scene: a tile may see a ragged thing in several parts, which its detector takes for one.
    masks, boxes = masks[:1], boxes[:1]
    scene = numbered_scene(folder / "scene.tif", height, width)
    truth = Truth(boxes, np.zeros(len(boxes), np.int64), width, masks)
    run(scene, folder / "out", spec, truth, tile_px=tile, overlap_px=overlap)
    made = read(folder / "out" / "scene.gpkg")
    assert made.geometry.is_valid.all()
    drawn = np.zeros((height, width), int)
    if len(made):
        place = rasterio.Affine(GSD, 0, LEFT, 0, -GSD, TOP)
        drawn = rasterio.features.rasterize(made.geometry, (height, width), transform=place)
    np.testing.assert_array_equal(drawn > 0, masks.any(0) if len(masks) else drawn > 0)
    if len(boxes) and (boxes[0, 2:] - boxes[0, :2]).max() <= overlap:
        assert len(made) == 1
    assert np.allclose(made["area_m2"], made.geometry.area, atol=1e-3)


def ring(height, width, outer, inner):
    mask = np.zeros((1, height, width), bool)
    mask[0, outer[1] : outer[3], outer[0] : outer[2]] = True
    mask[0, inner[1] : inner[3], inner[0] : inner[2]] = False
    return mask, np.array([outer], np.float64)


@pytest.mark.parametrize("overlap", [0, 8, 31])
def test_a_courtyard_larger_than_the_tiles_stays_a_hole(tmp_path, spec, overlap):
    mask, boxes = ring(150, 140, (10, 12, 130, 141), (40, 50, 90, 100))
    scene = numbered_scene(tmp_path / "s.tif", 150, 140)
    run(scene, tmp_path, spec, Truth(boxes, np.zeros(1, int), 140, mask), tile_px=64, overlap_px=overlap)
    made = read(tmp_path / "s.gpkg")
    assert len(made) == 1
    shape = made.geometry[0].geoms[0]
    assert len(made.geometry[0].geoms) == 1 and len(shape.interiors) == 1
    assert shape.area == mask.sum() * GSD**2
    assert rows_of(in_pixels(made), [0]) == rows_of(boxes, [0])


def test_small_objects_are_left_out(tmp_path, spec):
    boxes = np.array([[2, 2, 6, 6], [20, 20, 40, 40.0]])
    scene = numbered_scene(tmp_path / "s.tif", 50, 50)
    run(scene, tmp_path, spec, Truth(boxes, np.zeros(2, int), 50), tile_px=32, overlap_px=22, min_area_m2=5)
    assert rows_of(in_pixels(read(tmp_path / "s.gpkg")), [0]) == [(20, 20, 40, 40, 0)]


def chips(folder, height, width, size, stride, crs="EPSG:32616"):
    """Cut a scene into georeferenced chips; return their numbers' beginnings and origins."""
    folder.mkdir()
    firsts, origins = [], []
    for top in range(0, max(height - size + stride, 1), stride):
        for left in range(0, max(width - size + stride, 1), stride):
            first = len(firsts) * size * size
            numbered_scene(
                folder / f"c{len(firsts):03d}.tif", size, size, left=LEFT + left * GSD, top=TOP - top * GSD,
                first=first, crs=crs,
            )  # fmt: skip
            firsts.append(first)
            origins.append((left, top))
    return firsts, origins


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stride=st.integers(30, 48), longest=st.integers(4, 100), seed=st.integers(0, 99))
def test_a_folder_of_overlapping_chips_is_one_layer(tmp_path_factory, spec, stride, longest, seed):
    folder = tmp_path_factory.mktemp("chips")
    boxes = disjoint_boxes(np.random.default_rng(seed), 140, 140, 12, longest)
    firsts, origins = chips(folder / "palms", 140, 140, 48, stride)
    truth = Truth(boxes, np.zeros(len(boxes), int), 48, firsts=firsts, origins=origins)
    report = run(folder / "palms", folder / "out", spec, truth, tile_px=32, overlap_px=12)
    assert {path.name for path in report.outputs} == {"palms.gpkg", "palms.qml"}
    made = read(folder / "out" / "palms.gpkg")
    # Chips end where they end: what reaches beyond is cut there.
    covered = [max(x for x, _ in origins) + 48, max(y for _, y in origins) + 48] * 2
    expected = np.minimum(boxes, covered)
    expected = expected[(expected[:, 2:] > expected[:, :2]).all(1)]
    assert rows_of(in_pixels(made), [0] * len(made)) == rows_of(expected, [0] * len(expected))
    assert not list((folder / "out").glob(".*"))


def test_scenes_of_different_crs_get_a_layer_each(tmp_path, spec):
    boxes = np.array([[3, 3, 9, 9.0]])
    truth = Truth(boxes, np.zeros(1, int), 20)
    a = numbered_scene(tmp_path / "a.tif", 20, 20)
    b = numbered_scene(tmp_path / "b.tif", 20, 20, crs="EPSG:32617")
    run([a, b], tmp_path / "o", spec, truth)
    assert read(tmp_path / "o" / "b.gpkg").crs.to_epsg() == 32617
    assert len(read(tmp_path / "o" / "a.gpkg")) == 1
    with pytest.raises(DataError, match=r"b\.tif is in another CRS.*; give inference.one_layer=auto"):
        run([a, b], tmp_path / "o", spec, truth, one_layer=True)


@pytest.mark.parametrize("ending", ["gpkg", "geojson", "fgb", "parquet"])
def test_every_format_has_the_same_features(tmp_path, spec, ending):
    boxes = disjoint_boxes(np.random.default_rng(3), 90, 80, 6, 16)
    labels = np.arange(len(boxes)) % 4
    scene = numbered_scene(tmp_path / "s.tif", 90, 80)
    report = run(scene, tmp_path / f"found.{ending}", spec, Truth(boxes, labels, 80), tile_px=40)
    path = tmp_path / f"found.{ending}"
    assert report.outputs == [path, tmp_path / "found.qml"]
    made = geopandas.read_parquet(path) if ending == "parquet" else geopandas.read_file(path, layer="found")
    assert made.crs.to_epsg() == 32616
    assert rows_of(in_pixels(made), made["value"] - 1) == rows_of(boxes, labels)
    assert set(made["class"]) == {spec.classes[label].name for label in labels}
    assert set(made["scene"]) == {"s.tif"} and made["confidence"].eq(0.9).all()
    widths = made.geometry.bounds.maxx - made.geometry.bounds.minx
    assert np.allclose(made["width_m"], widths)
    run(scene, tmp_path / f"found.{ending}", spec, Truth(boxes, labels, 80), tile_px=40)  # over its own


def test_rows_of_a_rotated_scene_turn_with_it(tmp_path, spec):
    place = (
        rasterio.Affine.translation(LEFT, TOP) @ rasterio.Affine.rotation(30) @ rasterio.Affine.scale(2, -2)
    )
    with rasterio.open(
        tmp_path / "s.tif", "w", driver="GTiff", width=30, height=20, count=1, dtype="float64",
        crs="EPSG:32616", transform=place,
    ) as target:  # fmt: skip
        target.write(np.arange(600.0).reshape(1, 20, 30))
    run(tmp_path / "s.tif", tmp_path, spec, Truth(np.array([[4, 5, 10, 8.0]]), np.zeros(1, int), 30))
    made = read(tmp_path / "s.gpkg")
    expected = shapely.Polygon([place @ corner for corner in ((4, 5), (4, 8), (10, 8), (10, 5))])
    assert made.geometry[0].symmetric_difference(expected).area < 1e-6
    assert (made["width_m"][0], made["height_m"][0], made["area_m2"][0]) == (12, 6, 72)


def test_degrees_are_measured_on_the_ellipsoid(tmp_path, spec):
    with rasterio.open(
        tmp_path / "s.tif", "w", driver="GTiff", width=30, height=20, count=1, dtype="float64",
        crs="EPSG:4326", transform=rasterio.Affine(1e-5, 0, 13, 0, -1e-5, 60),
    ) as target:  # fmt: skip
        target.write(np.arange(600.0).reshape(1, 20, 30))
    run(tmp_path / "s.tif", tmp_path, spec, Truth(np.array([[0, 0, 10, 10.0]]), np.zeros(1, int), 30))
    made = read(tmp_path / "s.gpkg").iloc[0]
    assert made["width_m"] == pytest.approx(5.58, abs=0.01)  # a degree of longitude at 60° is 55.8 km
    assert made["height_m"] == pytest.approx(11.14, abs=0.01)
    assert made["area_m2"] == pytest.approx(5.58 * 11.14, rel=2e-3)


def test_an_image_without_crs_has_boxes_in_pixels_below_its_first_row(tmp_path, spec, caplog):
    from PIL import Image

    Image.fromarray(noise(40, 50)).save(tmp_path / "photo.png")
    found = Objects(np.array([[1, 2, 11, 22]], np.float32), np.array([1]), np.array([0.8], np.float32))
    run(tmp_path / "photo.png", tmp_path / "o", spec, lambda i, v: [found], tile_px=64)
    made = read(tmp_path / "o" / "photo.gpkg")
    assert made.crs is None
    assert made.geometry[0].bounds == (1, -22, 11, -2)  # where QGIS shows the photo
    there = VectorLabels.open(tmp_path / "o" / "photo.gpkg", read_info(tmp_path / "photo.png"))
    assert there.geometries[0].bounds == (1, 2, 11, 22)
    assert made.iloc[0][["width_px", "height_px", "area_px2"]].tolist() == [10, 20, 200]
    assert "no CRS" in caplog.text


def test_the_style_names_and_colours_the_classes(tmp_path, spec):
    scene = numbered_scene(tmp_path / "s.tif", 20, 20)
    run(scene, tmp_path, spec, Truth(np.array([[3, 3, 9, 9.0]]), np.zeros(1, int), 20))
    text = (tmp_path / "s.qml").read_text()
    style = ElementTree.fromstring(text.partition("\n")[2])
    shown = {node.get("value"): node.get("symbol") for node in style.iter("category")}
    assert list(shown) == [item.name for item in spec.classes]
    colors = [
        option.get("value")
        for symbol in style.iter("symbol")
        for option in symbol.iter("Option")
        if option.get("name") == "outline_color"
    ]
    assert colors == [f"{r},{g},{b},255" for r, g, b in (item.color for item in spec.classes)]
    with closing(sqlite3.connect(tmp_path / "s.gpkg")) as database:
        kept = database.execute("SELECT f_table_name, useAsDefault, styleQML FROM layer_styles").fetchall()
    assert kept == [("s", 1, text)]


def test_nothing_is_found_where_there_is_no_data(tmp_path, spec):
    pixels = noise(64, 64)
    pixels[:, 30:] = 0
    scene = write_scene(tmp_path / "s.tif", pixels, nodata=0)
    seen = []

    def everywhere(inputs, valid):
        seen.append(len(inputs))
        grid = np.arange(0, 16, 4, dtype=np.float32)
        boxes = np.array([[x + 1, y + 1, x + 3, y + 3] for x in grid for y in grid], np.float32)
        return [Objects(boxes, np.zeros(16, np.int64), np.full(16, 0.9, np.float32))] * len(inputs)

    run(scene, tmp_path, spec, everywhere, tile_px=16, overlap_px=0, batch_size=3, edge_px=0)
    assert sum(seen) == 8
    made = in_pixels(read(tmp_path / "s.gpkg"))
    assert made[:, 2].max() == 31  # half of the last column of boxes is valid
    assert len(made) == 8 * 16


def test_a_model_that_finds_nothing_leaves_an_empty_layer(tmp_path, spec):
    empty = Objects(np.empty((0, 4), np.float32), np.empty(0, np.int64), np.empty(0, np.float32))
    scene = numbered_scene(tmp_path / "s.tif", 40, 40)
    run(scene, tmp_path, spec, lambda i, v: [empty] * len(i), tile_px=16, preview=True)
    made = read(tmp_path / "s.gpkg")
    assert len(made) == 0 and "confidence" in made.columns and made.crs.to_epsg() == 32616
    assert (tmp_path / "s_preview.png").is_file()


def test_a_corrupt_input_fails_alone(tmp_path, spec, caplog):
    truth = Truth(np.array([[3, 3, 9, 9.0]]), np.zeros(1, int), 400)
    good = numbered_scene(tmp_path / "good.tif", 400, 400)
    (tmp_path / "bad.tif").write_bytes(good.read_bytes()[:200000])
    (tmp_path / "text.tif").write_text("no raster")
    for together in (True, False):
        with caplog.at_level(logging.ERROR, "geomm"):
            out = tmp_path / f"o{together}"
            report = run(
                [tmp_path / "bad.tif", good, tmp_path / "text.tif"], out, spec, truth, on_error="skip",
                tile_px=64, one_layer=together,
            )  # fmt: skip
        assert {Path(path).name for path, _ in report.failed} == {"bad.tif", "text.tif"}
        assert len(read(out / ("objects.gpkg" if together else "good.gpkg"))) == 1


def test_a_file_of_someone_else_is_left_alone(tmp_path, spec):
    scene = numbered_scene(tmp_path / "s.tif", 20, 20)
    truth = Truth(np.array([[3, 3, 9, 9.0]]), np.zeros(1, int), 20)
    (tmp_path / "s.gpkg").write_text("mine")
    with pytest.raises(DataError, match="no layer of objects"):
        run(scene, tmp_path, spec, truth)
    assert (tmp_path / "s.gpkg").read_text() == "mine"


@pytest.mark.parametrize("ending", ["gpkg", "geojson"])
@pytest.mark.parametrize(
    ("name", "what"), [("s.qml", "style of objects"), ("s_preview.png", "preview"), ("all.qml", "style of")]
)
def test_files_of_someone_else_beside_the_layer_are_left_alone(tmp_path, spec, name, what, ending):
    scene = numbered_scene(tmp_path / "s.tif", 20, 20)
    truth = Truth(np.array([[3, 3, 9, 9.0]]), np.zeros(1, int), 20)
    (tmp_path / name).write_text("<qgis>the raster's own style</qgis>")
    together = name.startswith("all")
    scenes = [scene, numbered_scene(tmp_path / "t.tif", 20, 20)] if together else scene
    out = tmp_path / f"all.{ending}" if together else tmp_path
    format = {} if together else {"format": ending}
    with pytest.raises(
        DataError, match=rf"{name} is there and is no {what}.* that geomm wrote; give another"
    ):
        run(scenes, out, spec, truth, preview=True, **format)
    assert truth.tiles == 0
    assert (tmp_path / name).read_text() == "<qgis>the raster's own style</qgis>"


def test_without_a_preview_a_picture_is_not_in_the_way(tmp_path, spec):
    scene = numbered_scene(tmp_path / "s.tif", 20, 20)
    (tmp_path / "s_preview.png").write_text("mine")
    report = run(scene, tmp_path, spec, Truth(np.array([[3, 3, 9, 9.0]]), np.zeros(1, int), 20))
    assert len(report.outputs) == 2 and (tmp_path / "s_preview.png").read_text() == "mine"


def test_a_layer_that_was_added_to_the_result_is_not_lost(tmp_path, spec):
    scene = numbered_scene(tmp_path / "s.tif", 20, 20)
    truth = Truth(np.array([[3, 3, 9, 9.0]]), np.zeros(1, int), 20)
    for _ in range(2):
        run(scene, tmp_path, spec, truth)
    survey = geopandas.GeoDataFrame({"note": ["mine"]}, geometry=[shapely.Point(LEFT, TOP)], crs=32616)
    survey.to_file(tmp_path / "s.gpkg", layer="survey", mode="a")
    with pytest.raises(DataError, match=r"s\.gpkg holds more than the layer of objects .* \(survey\); give"):
        run(scene, tmp_path, spec, truth)
    assert len(run(scene, tmp_path, spec, truth, skip_existing=True).skipped) == 1
    assert geopandas.read_file(tmp_path / "s.gpkg", layer="survey")["note"].tolist() == ["mine"]


@pytest.mark.parametrize("together", [False, True])
def test_the_preview_shows_what_the_layer_has(tmp_path, spec, monkeypatch, together):
    shown = []
    monkeypatch.setattr(object_preview, "_DRAWN", 2)
    monkeypatch.setattr(object_preview, "save_figure", lambda figure, path: shown.append(figure) or path)
    drawn = object_preview.draw_objects
    monkeypatch.setattr(
        object_preview, "draw_objects", lambda *found, **more: shown.append(found[1]) or drawn(*found, **more)
    )
    boxes = np.array([[x, 2, x + size, 2 + size] for x, size in ((2, 4), (10, 9), (30, 9), (50, 9))], float)
    scenes = [numbered_scene(tmp_path / "s.tif", 64, 64)]
    if together:
        scenes.append(numbered_scene(tmp_path / "t.tif", 64, 64, top=TOP - 32))
    truth = Truth(boxes, np.zeros(4, int), 64)
    out = tmp_path / "all.gpkg" if together else tmp_path / "s.gpkg"
    run(scenes, out, spec, truth, preview=True, min_area_m2=10, tile_px=64)
    sizes, figure = shown
    count = len(read(out))
    assert count == (6 if together else 3)
    assert figure.axes[0].get_title().startswith(f"{count} {spec.classes[0].name}, 0 ")
    assert len(sizes) == 2


def test_words_that_are_no_choice_are_named(tmp_path, spec):
    scene = numbered_scene(tmp_path / "s.tif", 20, 20)
    for option in ({"merge": "nsm"}, {"format": "kml"}, {"executor": "rya"}):
        with pytest.raises(ConfigError, match=f"inference.{next(iter(option))}"):
            run(scene, tmp_path, spec, forty_a_tile, **option)
    with pytest.raises(ConfigError, match="leave one of them out"):
        run(scene, tmp_path / "a.fgb", spec, forty_a_tile, format="geojson")


def test_earlier_results_are_no_inputs(tmp_path, spec):
    (tmp_path / "in").mkdir()
    numbered_scene(tmp_path / "in" / "s.tif", 20, 20)
    truth = Truth(np.array([[3, 3, 9, 9.0]]), np.zeros(1, int), 20)
    for _ in range(2):
        report = run(tmp_path / "in", tmp_path / "in" / "out", spec, truth, preview=True)
        assert report.amount == 400
    report = run(tmp_path / "in", tmp_path / "in" / "out", spec, truth, skip_existing=True)
    assert len(report.skipped) == 1
    (tmp_path / "in" / "out" / "s.gpkg").write_text("mine")
    with pytest.raises(DataError, match="no layer of objects that geomm wrote"):
        run(tmp_path / "in", tmp_path / "in" / "out", spec, truth, skip_existing=True)


def test_the_result_does_not_hang_on_batches_or_rows(tmp_path, spec):
    scene = numbered_scene(tmp_path / "s.tif", 200, 170)
    for merge in ("nms", "soft", "wbf"):
        made = []
        for batch in (1, 3, 7):
            out = tmp_path / f"{merge}{batch}.fgb"
            run(scene, out, spec, forty_a_tile, tile_px=64, overlap_px=32, batch_size=batch, merge=merge)
            made.append(geopandas.read_file(out).sort_values("id").to_json())
        assert made[0] == made[1] == made[2]


def test_tta_of_the_truth_changes_nothing(tmp_path, spec):
    """Bright squares are found by their brightness, so in any view."""
    pixels = np.full((70, 90), 10, np.uint8)
    boxes = disjoint_boxes(np.random.default_rng(1), 70, 90, 9, 14)
    for x, y, x2, y2 in boxes.astype(int):
        pixels[y:y2, x:x2] = 200
    scene = write_scene(tmp_path / "s.tif", pixels)

    def bright(inputs, valid):
        from scipy.ndimage import find_objects, label

        found = []
        for tile in inputs.numpy():
            mask = tile[0] > 100
            spots = [(c.start, r.start, c.stop, r.stop) for r, c in find_objects(label(mask)[0])]
            found.append(
                Objects(
                    np.array(spots, np.float32).reshape(-1, 4),
                    np.zeros(len(spots), np.int64),
                    np.full(len(spots), 0.75, np.float32),
                )
            )
        return found

    run(scene, tmp_path / "a.gpkg", spec, bright, tile_px=32, overlap_px=16)
    run(scene, tmp_path / "b.gpkg", spec, bright, tile_px=32, overlap_px=16, tta=True)
    one, other = read(tmp_path / "a.gpkg"), read(tmp_path / "b.gpkg")
    assert rows_of(in_pixels(one), one["value"]) == rows_of(boxes, [1] * len(boxes))
    assert rows_of(in_pixels(other), other["value"]) == rows_of(boxes, [1] * len(boxes))
    assert np.allclose(other["confidence"], 0.75)


KILLED = """
import sys, time
sys.path.insert(0, {root!r})
from tests.inference.truth import forty_a_tile, run
from tests.inference.objects.test_predict import a_spec

def slow(inputs, valid):
    time.sleep(0.02)
    return forty_a_tile(inputs, valid)

run({scene!r}, {out!r}, a_spec(), slow, tile_px=32, overlap_px=8, batch_size=2)
"""


def a_spec():
    from geomm.structures import BandStatistics, RasterSpec, make_classes

    statistics = BandStatistics((0.0,), (255.0,), (100.0,), (50.0,), 1)
    return RasterSpec((1,), ("pan",), "float64", statistics, make_classes(["a", "b"]), 16)


def test_a_killed_run_goes_on_with_the_same_result(tmp_path, caplog):
    scene = numbered_scene(tmp_path / "s.tif", 300, 200)
    out = tmp_path / "o"
    code = KILLED.format(root=str(ROOT), scene=str(scene), out=str(out))
    process = subprocess.Popen([sys.executable, "-c", code])
    rows = out / ".s.work"
    limit = time.monotonic() + 60
    while len(list(rows.glob("row_*.npz"))) < 3 and time.monotonic() < limit:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "s.gpkg").exists()
    done = len(list(rows.glob("row_*.npz")))
    tiles = []

    def count(inputs, valid):
        tiles.append(len(inputs))
        return forty_a_tile(inputs, valid)

    options = {"tile_px": 32, "overlap_px": 8, "batch_size": 2}
    run(scene, out, a_spec(), count, **options)
    resumed = sum(tiles)
    tiles.clear()
    run(scene, tmp_path / "fresh", a_spec(), count, **options)
    assert done >= 3 and resumed < sum(tiles)
    one, other = read(out / "s.gpkg"), read(tmp_path / "fresh" / "s.gpkg")
    assert json.loads(one.to_json()) == json.loads(other.to_json())
    assert not rows.exists()


def test_boxes_of_a_real_scene_come_back_within_a_pixel(tmp_path, shared_data):
    import csv

    scene = shared_data / "crowns" / "OSBS_029.tif"
    with open(scene.with_suffix(".csv")) as file:
        rows = [[float(row[key]) for key in ("xmin", "ymin", "xmax", "ymax")] for row in csv.DictReader(file)]
    boxes = np.array(rows)
    with rasterio.open(scene) as source:
        place, width = source.transform, source.width
        pixels = source.read(1).astype(np.int64)
    from dataclasses import replace

    spec = replace(a_spec(), dtype="uint8")
    corners = {pixels[r : r + 4, c : c + 4].tobytes(): (r, c) for r in range(397) for c in range(397)}

    class Found(Truth):
        def _tile(self, tile, seen):
            # The tile's place is known by its own pixels.
            row, col = corners[tile[:4, :4].astype(np.int64).tobytes()]
            number = np.zeros(tile.shape) + row * width + col
            return super()._tile(number, seen)

    for tile, overlap in ((400, 0), (200, 80), (128, 64), (96, 90), (61, 50)):
        truth = Found(boxes, np.zeros(len(boxes), int), width)
        run(scene, tmp_path / "o", spec, truth, tile_px=tile, overlap_px=overlap)
        made = read(tmp_path / "o" / "OSBS_029.gpkg").geometry.bounds.to_numpy()
        found = np.stack(
            [(made[:, 0] - place.c) / place.a, (made[:, 3] - place.f) / place.e,
             (made[:, 2] - place.c) / place.a, (made[:, 1] - place.f) / place.e], axis=1,
        )  # fmt: skip
        assert len(found) == len(boxes), (tile, overlap)
        nearest = np.abs(found[:, None] - boxes[None]).max(2)
        assert (nearest.min(0) < 1).all() and (nearest.min(1) < 1).all()
