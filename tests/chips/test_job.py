"""Exports as a whole: resuming, folders, nodata, formats of images, what lies beside the chips."""

import json
import subprocess
import sys

import numpy as np
import pytest
import rasterio
import shapely

from geomm.chips import export_chips
from geomm.chips.options import ChipOptions
from geomm.chips.sources import starts
from geomm.datasets.maps.export_tiles import tiles_as_scenes
from geomm.errors import DataError
from tests.chips.scenes import CRS, GSD, LEFT, TOP, dataset, window_of, write_town
from tests.datasets.common import write

OBJECTS = [
    (shapely.box(x, y, x + 9, y + 7), "pool" if (x + y) % 40 == 6 else "roof")
    for x in range(3, 110, 20)
    for y in range(3, 110, 20)
]


@pytest.fixture
def town(tmp_path):
    return write_town(tmp_path / "town", 120, 120, OBJECTS)


def run(town, root, format="Classified_Tiles", *, changes=None, **options):
    chosen = {"tile_px": 32, "progress": False, **options}
    return export_chips(dataset(*town, **(changes or {})), root, ChipOptions(format=format, **chosen))


def content(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".geomm_chips" not in path.parts
    }


@pytest.mark.parametrize("format", ["Classified_Tiles", "coco"])
def test_a_stopped_export_goes_on_and_ends_the_same(town, tmp_path, monkeypatch, format):
    whole = run(town, tmp_path / "whole", format)
    from geomm.chips import job

    before, units = job._cut_unit, []

    def stops(unit, *rest):
        units.append(unit)
        if len(units) == 3:
            raise KeyboardInterrupt
        return before(unit, *rest)

    monkeypatch.setattr(job, "_cut_unit", stops)
    with pytest.raises(KeyboardInterrupt):
        run(town, tmp_path / "parts", format)
    assert not (tmp_path / "parts" / "map.txt").exists()
    monkeypatch.setattr(job, "_cut_unit", lambda *rest: units.append(rest[0]) or before(*rest))
    assert run(town, tmp_path / "parts", format).chips == whole.chips
    assert len(units) == 3 + 2  # of four rows of tiles, two were done
    assert content(tmp_path / "parts") == content(tmp_path / "whole")


def test_a_killed_process_goes_on_too(town, tmp_path, root):
    code = (
        "import os, signal\nfrom geomm.chips import job\n"
        "before, count = job._cut_unit, []\n"
        "def dies(*rest):\n"
        "    count.append(1)\n"
        "    found = before(*rest)\n"
        "    if len(count) == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return found\n"
        "job._cut_unit = dies\n"
        "from pathlib import Path\nfrom tests.chips.test_job import run\n"
        f"run(({str(town[0])!r}, {str(town[1])!r}), Path({str(tmp_path / 'killed')!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    run(town, tmp_path / "killed")
    run(town, tmp_path / "whole")
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


def test_a_folder_of_something_else_is_left_alone(town, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.doc").write_text("all I have")
    with pytest.raises(DataError, match=r"holds other files \(thesis\.doc\); give a new folder"):
        run(town, tmp_path / "mine", overwrite=True)
    run(town, tmp_path / "chips")
    with pytest.raises(DataError, match=r"holds chips of other data or options; .*overwrite=true"):
        run(town, tmp_path / "chips", "yolo")
    run(town, tmp_path / "chips", "yolo", overwrite=True)
    assert not (tmp_path / "chips" / "stats.txt").exists() and (tmp_path / "chips" / "data.yaml").exists()


def test_tiles_cover_all_with_any_stride():
    for length in range(1, 60):
        for tile in (1, 7, 16, 40):
            for stride in (1, 5, tile):
                lefts = starts(length, tile, stride)
                covered = np.zeros(length, int)
                for left in lefts:
                    covered[left : left + tile] += 1
                if stride <= tile:
                    assert covered.all()
                assert lefts == sorted(set(lefts)) and (length < tile or lefts[-1] + tile == length)


def test_nodata_is_left_out_or_written_as_such(tmp_path):
    holes = [(slice(0, 64), slice(0, 50))]
    town = write_town(tmp_path / "t", 120, 120, OBJECTS, dtype="uint16", nodata=999, holes=holes)
    done = run(town, tmp_path / "c", max_nodata=0.6, changes={"background": False})
    assert done.left_out["without data"] == 2
    seen = 0
    for image in sorted((tmp_path / "c" / "images").iterdir()):
        window, pixels = window_of(image)
        with rasterio.open(image) as file, rasterio.open(tmp_path / "c" / "labels" / image.name) as label:
            assert file.nodata == 999 and file.dtypes[0] == "uint16"
            without = (pixels == 999).all(0)
            assert not label.read(1)[without].any()
        expected = np.zeros((120, 120), bool)
        expected[holes[0]] = True
        np.testing.assert_array_equal(without, expected[window[1] : window[3], window[0] : window[2]])
        seen += without.any()
    assert seen == 2


def test_a_scene_with_a_mask_and_no_nodata_value_keeps_the_mask(tmp_path):
    scene, layer = write_town(tmp_path / "t", 120, 120, OBJECTS)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(scene, "r+") as file:
        mask = np.full((120, 120), 255, np.uint8)
        mask[:10] = 0
        file.write_mask(mask)
    run((scene, layer), tmp_path / "c")
    with rasterio.open(tmp_path / "c" / "images" / "000000000.tif") as file:
        assert not file.dataset_mask()[:10].any() and file.dataset_mask()[10:].all()


@pytest.mark.parametrize(("image_format", "ending"), [("png", ".png"), ("jpeg", ".jpg")])
def test_pictures_know_their_place(town, tmp_path, image_format, ending):
    run(town, tmp_path / "c", "PASCAL_VOC_rectangles", image_format=image_format)
    images = sorted((tmp_path / "c" / "images").glob(f"*{ending}"))
    with rasterio.open(images[1]) as file:
        assert file.crs == CRS and file.transform.a == GSD
        assert (file.transform.c, file.transform.f) == (LEFT + 32 * GSD, TOP)
    images[1].with_name(f"{images[1].name}.aux.xml").unlink()
    with rasterio.open(images[1]) as file:  # by its world file alone
        assert (file.transform.a, file.transform.c) == (GSD, LEFT + 32 * GSD)
    two = write_town(tmp_path / "two", 60, 60, OBJECTS[:4], bands=2)
    with pytest.raises(DataError, match=r"holds 1 or 3 bands of .*have 2 of uint8"):
        run(two, tmp_path / "d", image_format=image_format)


def test_an_export_of_nothing_says_why(town, tmp_path):
    with pytest.raises(DataError, match=r"no chip shows anything .*without data"):
        run(write_town(tmp_path / "n", 64, 64, OBJECTS[:8], nodata=7, holes=[(slice(0, 64), slice(0, 64))]),
            tmp_path / "c")  # fmt: skip


@pytest.mark.parametrize("finer", [1, 2])
def test_pairs_of_rasters_are_cut_alike(tmp_path, finer):
    rng = np.random.default_rng(0)
    place = rasterio.Affine(1, 0, LEFT, 0, -1, TOP)
    small = rng.integers(0, 255, (3, 96, 128)).astype(np.uint8)
    large = small.repeat(finer, 1).repeat(finer, 2)
    one, two = tmp_path / "one.tif", tmp_path / "two.tif"
    write(one, small, transform=place)
    write(two, large, transform=place @ rasterio.Affine.scale(1 / finer))
    root = tmp_path / "c"
    done = run((one, two), root, "Export_Tiles")
    assert done.chips == 12
    for image in sorted((root / "images").iterdir()):
        with rasterio.open(image) as first, rasterio.open(root / "images2" / image.name) as second:
            np.testing.assert_array_equal(first.read().repeat(finer, 1).repeat(finer, 2), second.read())
            assert first.bounds == second.bounds
    if finer > 1:
        scenes = tiles_as_scenes({"root": str(root)}, scale=2, seed=0)
        assert len(scenes["images"]) == len(scenes["labels"]) and "images2" in scenes["labels"][0]


def pair(folder, first, second, nodata):
    place = rasterio.Affine(1, 0, LEFT, 0, -1, TOP)
    paths = folder / "one.tif", folder / "two.tif"
    for path, pixels, value in zip(paths, (first, second), nodata, strict=True):
        write(path, pixels, transform=place, nodata=value)
    return paths


@pytest.mark.parametrize("nodata", [(-9999, None), (-9999, 255), (0, 255), (None, 0)])
def test_each_raster_of_a_pair_keeps_its_own_nodata(tmp_path, nodata):
    first = np.arange(32 * 32, dtype=np.float32).reshape(1, 32, 32)
    second = (np.arange(32 * 32) % 7).astype(np.uint8).reshape(1, 32, 32)
    for pixels, value in ((first, nodata[0]), (second, nodata[1])):
        if value is not None:
            pixels[:, :3] = value
    root = tmp_path / "c"
    run(pair(tmp_path, first, second, nodata), root, "Export_Tiles")
    for folder, pixels, value in (("images", first, nodata[0]), ("images2", second, nodata[1])):
        with rasterio.open(root / folder / "000000000.tif") as file:
            assert file.nodata == value
            np.testing.assert_array_equal(file.read(), pixels)


def test_a_format_must_hold_the_second_raster_of_a_pair_too(tmp_path):
    pixels = np.ones((1, 32, 32), np.uint8)
    files = pair(tmp_path, pixels, pixels.astype(np.float32), (None, None))
    with pytest.raises(DataError, match=r"image_format=png holds .* the scenes have 1 of float32"):
        run(files, tmp_path / "c", "Export_Tiles", image_format="png")


@pytest.mark.parametrize("nodata", [-9999, 0.5, np.nan])
def test_a_nodata_value_that_a_raster_cannot_have_is_named(tmp_path, nodata):
    pixels = np.ones((1, 32, 32), np.float32)
    files = pair(tmp_path, pixels, pixels.astype(np.uint8), (None, None))
    with pytest.raises(
        DataError, match=rf"nodata={nodata} is no value of .*two\.tif, which is uint8: use one from 0 to 255"
    ):
        run(files, tmp_path / "c", "Export_Tiles", nodata=nodata)


def test_a_nodata_value_that_is_asked_for_holds_for_both_of_a_pair(tmp_path):
    pixels = np.ones((1, 32, 20), np.float32)
    root = tmp_path / "c"
    run(pair(tmp_path, pixels, pixels.astype(np.uint8), (-9999, 255)), root, "Export_Tiles", nodata=7)
    for folder in ("images", "images2"):
        with rasterio.open(root / folder / "000000000.tif") as file:
            assert file.nodata == 7 and (file.read()[..., 20:] == 7).all()


def test_labels_where_none_are_shown_are_named(town, tmp_path):
    with pytest.raises(
        DataError, match=r"is a vector layer, and chips of Export_Tiles show no labels; leave"
    ):
        run(town, tmp_path / "c", "Export_Tiles")


def test_a_second_raster_that_does_not_fit_is_named(tmp_path):
    place = rasterio.Affine(1, 0, LEFT, 0, -1, TOP)
    write(tmp_path / "one.tif", np.zeros((1, 64, 64), np.uint8) + 1, transform=place)
    write(tmp_path / "two.tif", np.zeros((1, 100, 100), np.uint8) + 1,
          transform=place @ rasterio.Affine.scale(0.64) @ rasterio.Affine.translation(0.3, 0))  # fmt: skip
    with pytest.raises(DataError, match="does not begin on its grid; warp one onto the other's"):
        run((tmp_path / "one.tif", tmp_path / "two.tif"), tmp_path / "c", "Export_Tiles")


def keys(data, prefix=""):
    """Return every key of nested JSON as a dotted path, a list's being those of its first item."""
    if isinstance(data, list):
        return keys(data[0], prefix) if data else set()
    if not isinstance(data, dict):
        return {prefix}
    return {prefix} | {path for key, value in data.items() for path in keys(value, f"{prefix}.{key}")}


@pytest.mark.parametrize(
    ("format", "sample"),
    [
        ("PASCAL_VOC_rectangles", "palms_export/esri_accumulated_stats.json"),
        ("Classified_Tiles", "arcgis_samples/classified_tiles.esri_accumulated_stats.json"),
    ],
)
def test_side_files_have_all_that_real_ones_have(town, tmp_path, shared_data, format, sample):
    run(town, tmp_path / "c", format)
    ours = json.loads((tmp_path / "c" / "esri_accumulated_stats.json").read_text())
    theirs = json.loads((shared_data / sample).read_text(encoding="utf-8-sig"))
    assert keys(theirs) <= keys(ours)


def test_statistics_are_those_of_the_chips(town, tmp_path):
    root = tmp_path / "c"
    run(town, root, "PASCAL_VOC_rectangles", min_overlap=0.0)
    data = json.loads((root / "esri_accumulated_stats.json").read_text())
    pixels = np.concatenate([window_of(p)[1].reshape(3, -1) for p in (root / "images").iterdir()], 1)
    for band, values in zip(data["BandStatsState"], pixels.astype(float), strict=True):
        assert (band["Min"], band["Max"], band["Num"]) == (values.min(), values.max(), values.size)
        assert band["Mean"] == pytest.approx(values.mean())
        assert band["StdDev"] == pytest.approx(values.std())
        assert np.sqrt(band["M2"] / band["Num"]) == pytest.approx(values.std())
    stats = data["FeatureStats"]
    areas = [m * n for m, n in ((s["Mean"], s["Count"]) for s in stats["FeatureAreaPerClass"])]
    assert sum(areas) == pytest.approx(sum(shape.area for shape, _ in OBJECTS) * GSD**2, rel=0.3)
    assert data["MinCellSize"]["spatialReference"]["wkid"] == 32633 and data["MinCellSize"]["x"] == GSD
    text = (root / "stats.txt").read_text().splitlines()
    assert text[0] == f"images = {data['NumTiles']} *3*32*32"
    assert text[1] == f"features = {stats['NumFeaturesTotal']}"
    assert text[4].split()[:6] == ["cls", "name", "cls", "value", "images", "features"]
    row = text[5].split()
    assert row[:4] == ["pool", "1", str(stats["NumImagesPerClass"][0]), str(stats["NumFeaturesPerClass"][0])]
    emd = json.loads((root / "esri_model_definition.emd").read_text())
    assert emd["MetaDataMode"] == "PASCAL_VOC_rectangles" and emd["ImageSpaceUsed"] == "MAP_SPACE"
    assert [band["BandName"] for band in emd["AllTilesStats"]] == ["band_1", "band_2", "band_3"]
    lines = (root / "map.txt").read_bytes().split(b"\r\n")
    assert lines[0] == rb"images\000000000.tif  labels\000000000.xml" and len(lines) == data["NumTiles"] + 1


def test_the_tool_cuts_and_says_so_in_one_line(town, tmp_path, root):
    def tool(*given):
        command = [sys.executable, "tools/export_chips.py", f"dataset.images={town[0]}",
                   f"dataset.labels={town[1]}", "dataset.label_field=kind", *given]  # fmt: skip
        return subprocess.run(command, cwd=root, capture_output=True, text=True)

    done = tool("format=yolo", f"output={tmp_path}/c", "tile_px=32")
    assert done.returncode == 0, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"{tmp_path}/c: 16 chips as yolo: 24 pool, 24 roof") and last.endswith(" s")
    wrong = tool("format=yollo", f"output={tmp_path}/c", "dataset=chips")
    assert wrong.returncode == 2 and "Traceback" not in wrong.stderr
    assert "format: found 'yollo'; did you mean 'yolo'?" in wrong.stderr
    assert "dataset: Chips cannot be cut into chips; choose dataset=geotiff|footprints|las" in wrong.stderr
    fit = tool("format=pctd", f"output={tmp_path}/c")
    assert "format: pctd cannot be cut from GeoTiffScenes" in fit.stderr


def test_the_front_door_is_light(root):
    code = (
        "import sys\nfrom geomm.cli import export_chips\n"
        "export_chips(['--help'])\n"
        "print('HEAVY', sorted({'torch', 'rasterio', 'geopandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []", done.stderr
    assert "min_overlap: 0.25" in done.stdout
