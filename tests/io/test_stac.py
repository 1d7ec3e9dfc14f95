"""STAC items, collections and search results become rasters of the bands asked for, named like the items."""

import datetime
import json
import sys

import numpy as np
import pytest
import rasterio

from geomm.errors import DataError, GeommError
from geomm.io.raster import RasterReader
from geomm.io.raster_info import read_info
from geomm.io.stac import place_items, source_item
from geomm.io.stac_output import wants_item, write_item
from geomm.structures import PixelWindow, make_classes

pystac = pytest.importorskip("pystac")
CRS = "EPSG:32633"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMM_CACHE", str(tmp_path / "cache"))


def write_band(path, pixels, *, gsd=10.0, nodata=0, dtype="uint16"):
    pixels = np.atleast_3d(np.asarray(pixels, dtype)).transpose(2, 0, 1) if np.ndim(pixels) == 2 else pixels
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", count=len(pixels), height=pixels.shape[1], width=pixels.shape[2],
        dtype=dtype, crs=CRS, nodata=nodata, transform=rasterio.Affine(gsd, 0, 5e5, 0, -gsd, 5e6),
    ) as target:  # fmt: skip
        target.write(pixels)
    return path


def item(name, assets, **more):
    square = [[15.0, 45.0], [15.01, 45.0], [15.01, 45.01], [15.0, 45.01], [15.0, 45.0]]
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "stac_extensions": [], "links": [],
        "geometry": {"type": "Polygon", "coordinates": [square]}, "bbox": [15.0, 45.0, 15.01, 45.01],
        "properties": {"datetime": "2024-05-01T10:00:00Z"}, "assets": assets, **more,
    }  # fmt: skip


def asset(href, *bands, roles=("data",), key="eo:bands"):
    kind = "image/tiff; application=geotiff"
    return {"href": href, "type": kind, "roles": list(roles), **({key: list(bands)} if bands else {})}


@pytest.fixture
def sentinel(tmp_path):
    """An item with a file a band: 6 x 4 pixels of 10 m, one band of 20 m; a picture of all, a thumbnail."""
    folder = tmp_path / "S2A"
    red, nir = np.arange(1, 25).reshape(4, 6), np.arange(101, 125).reshape(4, 6)
    red[0, 0] = nir[0, 0] = 0
    write_band(folder / "B04.tif", red)
    write_band(folder / "B08.tif", nir)
    write_band(folder / "B11.tif", np.full((2, 3), 7), gsd=20.0)
    write_band(folder / "visual.tif", np.full((3, 4, 6), 50, np.uint8), dtype="uint8")
    (folder / "preview.jpg").write_bytes(b"")
    assets = {
        "visual": asset(
            "./visual.tif", {"name": "red", "common_name": "red"}, {"name": "g", "common_name": "green"},
            {"name": "b"}, roles=("visual",),
        ),
        "B04": asset("./B04.tif", {"name": "B04", "common_name": "red"}),
        "nir": asset("B08.tif", {"name": "B08", "eo:common_name": "nir"}, key="bands"),
        "swir": asset(str(folder / "B11.tif"), {"name": "B11"}, key="raster:bands"),
        "thumbnail": {"href": "./preview.jpg", "type": "image/jpeg", "roles": ["thumbnail"]},
    }  # fmt: skip
    (folder / "item.json").write_text(json.dumps(item("S2A_32", assets)))
    return folder / "item.json"


def read(path):
    info = read_info(path)
    return RasterReader(path).read(PixelWindow(0, 0, info.width, info.height))


@pytest.mark.parametrize("names", [["red", "nir"], ["B04", "B08"], ["b04", "NIR"]])
def test_bands_are_chosen_by_name_common_name_or_asset(sentinel, names):
    (path,) = place_items(sentinel, bands=names)
    info = read_info(path)
    pixels, valid = read(path)
    assert path.endswith("S2A_32.vrt") and info.band_names == tuple(names)
    assert (info.dtype, info.nodata, info.gsd) == ("uint16", 0, 10.0)
    assert pixels[0, 3, 5] == 24 and pixels[1, 3, 5] == 124
    assert not valid[0, 0] and valid.sum() == 23
    assert source_item(path).id == "S2A_32"


def test_a_coarser_band_comes_on_the_finest_grid_and_order_is_the_readers(sentinel):
    (path,) = place_items([str(sentinel)], bands=["swir", "nir"], numbers=(3, 1))
    info = read_info(path)
    pixels, _ = read(path)
    assert (info.width, info.height, info.count, info.dtype) == (6, 4, 3, "uint16")
    assert (pixels[2][1:] == 7).all() and pixels[0, 3, 5] == 124


def test_the_same_item_is_the_same_file_until_it_changes(sentinel):
    (one,) = place_items(sentinel, bands=["red"])
    (two,) = place_items(sentinel, bands=["red"])
    assert one == two
    write_band(sentinel.parent / "B04.tif", np.full((4, 6), 9))
    (three,) = place_items(sentinel, bands=["red"])
    assert read(three)[0].max() == 9


def test_collections_and_search_results_give_an_item_each(tmp_path, sentinel):
    one = json.loads(sentinel.read_text())
    write_band(tmp_path / "found" / "a.tif", np.full((3, 4, 6), 5, np.uint8), dtype="uint8", nodata=None)
    found = {
        "type": "FeatureCollection",
        "features": [{**item(name, {"image": asset("./a.tif")})} for name in ("a/1", "b")],
    }
    (tmp_path / "found" / "search.json").write_text(json.dumps(found))
    paths = place_items([tmp_path / "found" / "search.json", "scene.tif"])
    assert [path.rpartition("/")[2] for path in paths] == ["a_1.vrt", "b.vrt", "scene.tif"]
    assert read_info(paths[0]).count == 3 and read(paths[1])[0].max() == 5
    collection = pystac.Collection(
        "all", "two of them",
        pystac.Extent(
            pystac.SpatialExtent([[15, 45, 16, 46]]),
            pystac.TemporalExtent([[datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc), None]]),
        ),
    )  # fmt: skip
    for name in ("x", "y"):
        made = pystac.Item.from_dict({**one, "id": name})
        for each in made.assets.values():
            each.href = str(sentinel.parent / each.href.removeprefix("./"))
        collection.add_item(made)
    collection.normalize_and_save(str(tmp_path / "catalog"), pystac.CatalogType.SELF_CONTAINED)
    paths = place_items(str(tmp_path / "catalog" / "collection.json"), bands=["nir"])
    assert [path.rpartition("/")[2] for path in paths] == ["x.vrt", "y.vrt"]
    assert read(paths[1])[0].max() == 124


def test_addresses_become_what_gdal_opens(monkeypatch):
    from geomm.io import stac

    for href, name in (
        ("https://host/a.tif", "/vsicurl/https://host/a.tif"),
        ("s3://bucket/a.tif", "/vsis3/bucket/a.tif"),
        ("file:///data/a.tif", "/data/a.tif"),
        ("/data/a.tif", "/data/a.tif"),
    ):
        assert stac._address(pystac.Asset(href)) == name


def test_mistakes_are_one_line(tmp_path, sentinel, monkeypatch):
    content = json.loads(sentinel.read_text())

    def fails(change, match, **options):
        path = tmp_path / "S2A" / "wrong.json"
        path.write_text(change if isinstance(change, str) else json.dumps({**content, **change}))
        with pytest.raises(DataError, match=match) as error:
            place_items(path, **options)
        assert "\n" not in str(error.value)

    fails({}, r"'S2A_32' has no band or asset 'nri'; did you mean 'nir'", bands=["red", "nri"])
    fails({}, r"has 3 assets with imagery; name the bands, in order, of b04, red, b08, nir, b11, swir")
    fails({"geometry": None, "bbox": None}, "has no geometry")
    fails({"assets": {"t": content["assets"]["thumbnail"]}}, "has no asset with imagery; it has t")
    fails({"assets": {"red": asset("./gone.tif")}}, r"gone.tif: there is no such file", bands=["red"])
    fails("{", "cannot be read as STAC")
    fails({"type": "Topology"}, "JSON of type 'Topology'; expected a STAC item")
    labels = {"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {}}]}
    fails(json.dumps(labels), r"features without assets; expected STAC items \(labels go to dataset.labels\)")
    with pytest.raises(DataError, match=r"nowhere.json cannot be read as STAC"):
        place_items(str(tmp_path / "nowhere.json"))
    monkeypatch.setitem(sys.modules, "pystac", None)
    with pytest.raises(GeommError, match=r"pip install 'geomm\[stac\]'"):
        place_items(sentinel)
    assert place_items("scene.tif") == "scene.tif" and place_items(None) is None


def test_results_are_described_by_a_valid_item(tmp_path, sentinel):
    (scene,) = place_items(sentinel, bands=["red"])
    out = tmp_path / "out"
    target = write_band(out / "S2A_32.tif", np.ones((4, 6)), dtype="uint8")
    (out / "S2A_32_preview.png").write_bytes(b"")
    assert wants_item("auto", [scene]) and not wants_item("auto", [str(target)]) and wants_item(True, [scene])
    path = write_item(
        "S2A_32", [target, out / "S2A_32_preview.png"], [scene], classes=make_classes(["a roof", "tree"]),
        model_id="abc",
    )  # fmt: skip
    made = pystac.Item.from_file(str(path))
    assert made.geometry == source_item(scene).geometry and made.datetime.year == 2024
    assert made.properties["proj:code"] == CRS and made.properties["proj:shape"] == [4, 6]
    assert made.assets["map"].extra_fields["bands"][0]["classification:classes"][0]["name"] == "a_roof"
    assert made.assets["preview"].roles == ["thumbnail"]
    assert made.get_single_link("derived_from").href == str(sentinel)
    # The core's schema is at hand offline, those of extensions are not.
    made.stac_extensions = []
    made.validate()


def test_where_a_scene_lies_follows_from_its_crs(tmp_path):
    scene = write_band(tmp_path / "plain.tif", np.ones((40, 60)))
    path = write_item("plain", [scene], [str(scene)])
    made = pystac.Item.from_file(str(path))
    assert made.bbox == pytest.approx([15.0, 45.15, 15.0076, 45.1536], abs=3e-3)
    made.stac_extensions = []
    made.validate()
