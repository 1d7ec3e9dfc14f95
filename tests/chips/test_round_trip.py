"""What is exported is read back with the same labels, in every format."""

import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize

from geomm.chips import export_chips
from geomm.chips.options import ChipOptions
from geomm.datasets.chips import Chips
from geomm.datasets.objects.coco import CocoChips
from geomm.datasets.objects.exported import ExportedObjects
from geomm.datasets.objects.yolo import YoloChips
from geomm.datasets.pictures.chips import NamedChips
from geomm.errors import DataError
from geomm.io.detect import detect
from geomm.io.object_labels import Problems
from geomm.io.raster_info import read_info
from tests.chips.scenes import dataset, shown, towns, window_of, write_town

FEW = settings(max_examples=6, deadline=None)
TILES = st.integers(12, 48)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A function that makes a new folder."""
    return lambda: tmp_path_factory.mktemp("town")


def cut(folder, town, tile, format, **options):
    """Export a town in a folder of its own; return the folder, None where no chip shows anything."""
    scene, layer = write_town(folder, *town)
    chosen = ChipOptions(format=format, tile_px=tile, progress=False, **options)
    try:
        export_chips(dataset(scene, layer), folder / "chips", chosen)
    except DataError as error:
        assert "no chip shows anything" in str(error)
        return None
    return folder / "chips"


def read_objects(source):
    """Return image, and (class, outline) of each object, of every chip; ids are turned into names."""
    folder = source.read_folder(Problems(False))
    for image, read in folder.chips:
        labels = read(read_info(image))
        names = [folder.names.get(int(name), name) if str(name).isdigit() else name for name in labels.names]
        yield image, list(zip(names, labels.geometries, strict=True))


SOURCES = {
    "PASCAL_VOC_rectangles": ExportedObjects,
    "KITTI_rectangles": ExportedObjects,
    "coco": CocoChips,
    "yolo": YoloChips,
}


@pytest.mark.parametrize("format", sorted(SOURCES))
@FEW
@given(town=towns(), tile=TILES, min_overlap=st.sampled_from([0.0, 0.25, 0.9]), empty=st.booleans())
def test_boxes_come_back(format, place, town, tile, min_overlap, empty):
    root = cut(place(), town, tile, format, min_overlap=min_overlap, keep_empty=empty)
    if root is None:
        return
    assert SOURCES[format] is ExportedObjects or detect(root).uses[0].dataset == format
    chips = 0
    for image, found in read_objects(SOURCES[format](root=str(root))):
        window, _ = window_of(image)
        expected = shown(town[2], window, min_overlap)
        assert len(found) == len(expected) and (expected or empty)
        for name, outline in expected:
            gaps = [np.abs(np.subtract(o.bounds, outline.bounds)).max() for n, o in found if n == name]
            assert min(gaps) < 1e-3
        chips += 1
    assert chips == len(list((root / "images").iterdir()))


@FEW
@given(town=towns(), tile=TILES)
def test_cocos_outlines_come_back(place, town, tile):
    width, height, objects = town
    hole = [(shape.difference(shape.centroid.buffer(1)), name) for shape, name in objects]
    whole = [(s, n) for s, n in hole if s.geom_type == "Polygon"]
    root = cut(place(), (width, height, whole), tile, "coco", min_overlap=0.0)
    for image, found in read_objects(CocoChips(root=str(root))):
        for name, outline in shown(whole, window_of(image)[0], 0.0):
            differences = [o.symmetric_difference(outline).area for n, o in found if n == name]
            assert min(differences) < 0.05


@FEW
@given(town=towns(), tile=TILES)
def test_instance_masks_come_back(place, town, tile):
    root = cut(place(), town, tile, "RCNN_Masks", min_overlap=0.0, keep_empty=True)
    for image, found in read_objects(ExportedObjects(root=str(root))):
        window, _ = window_of(image)
        shape = (window[3] - window[1], window[2] - window[0])
        burnt = [(name, burn(outline, shape)) for name, outline in shown(town[2], window, 0.0)]
        expected = [(name, mask) for name, mask in burnt if mask.any()]
        assert len(found) == len(expected)
        for name, mask in expected:
            assert any(n == name and np.array_equal(burn(o, shape), mask) for n, o in found)


def burn(outline, shape):
    return rasterize([(outline, 1)], out_shape=shape, dtype="uint8").astype(bool)


@FEW
@given(town=towns(), tile=TILES, background=st.booleans())
def test_pixel_classes_come_back(place, town, tile, background):
    assume(background or len({name for _, name in town[2]}) > 1)  # one class alone is refused
    folder = place()
    scene, layer = write_town(folder, *town)
    root = folder / "chips"
    options = ChipOptions(format="Classified_Tiles", tile_px=tile, progress=False)
    export_chips(dataset(scene, layer, background=background), root, options)
    source = Chips(root=str(root), split={"val": 0.0})
    spec, data = source.prepare(folder / "cache"), source.split("train")
    assert {c.name for c in spec.classes} == {n for _, n in town[2]} | (
        {"background"} if background else set()
    )
    names = [item.name for item in spec.classes]
    for number, chip in enumerate(data.chips):
        window, pixels = window_of(chip.image)
        sample = data[number]
        inside = sample.mask[sample.valid]
        expected = np.full((window[3] - window[1], window[2] - window[0]), -1)
        for shape, name in town[2]:
            moved = shapely.affinity.translate(shape, -window[0], -window[1])
            expected[burn(moved, expected.shape)] = names.index(name)
        if background:
            expected[expected == -1] = names.index("background")
        on_scene = expected[: min(tile, town[1]), : min(tile, town[0])]
        assert (np.where(inside == 255, -1, inside.astype(int)) == on_scene.ravel()).all()
        assert pixels.dtype == np.uint8


@FEW
@given(town=towns(), tile=TILES, format=st.sampled_from(["Labeled_Tiles", "MultiLabeled_Tiles", "Imagenet"]))
def test_labels_of_whole_chips_come_back(place, town, tile, format):
    root = cut(place(), town, tile, format)
    source = NamedChips(root=str(root))
    pictures = source.find()
    assert len(pictures) == sum(1 for path in (root / "images").rglob("*.tif"))
    named = dict(source.export.classes)
    for picture in pictures:
        window, _ = window_of(picture.crop.path)
        shape = (window[3] - window[1], window[2] - window[0])
        pixels = {}
        for outline, name in town[2]:
            moved = shapely.affinity.translate(outline, -window[0], -window[1])
            pixels[name] = pixels.get(name, 0) + int(burn(moved, shape).sum())
        there = {name for name, count in pixels.items() if count}
        names = {named[int(name)] if name.isdigit() else name for name in picture.names}
        if format == "MultiLabeled_Tiles":
            assert names == there
        else:
            (name,) = names
            assert pixels[name] == max(pixels.values())


def test_features_each_become_a_chip(tmp_path):
    from tests.models.common import composed

    squares = [
        (shapely.box(x, y, x + 8, y + 6), n)
        for x, y, n in [(4, 4, "roof"), (40, 9, "pool"), (70, 50, "roof")]
    ]
    scene, layer = write_town(tmp_path, 90, 70, squares)
    config = {**composed("task=classification", "dataset=footprints")["dataset"], "images": str(scene),
              "labels": str(layer), "label_field": "kind", "margin": 0.5}  # fmt: skip
    for tile, edge in ((None, 16), (24, 24)):
        root = tmp_path / f"chips_{tile}"
        options = ChipOptions(format="Labeled_Tiles", tile_px=tile, max_nodata=1.0, progress=False)
        assert export_chips(config, root, options).counts == {"pool": 1, "roof": 2}
        source = NamedChips(root=str(root), classes=None)
        found = {(picture.names[0], window_of(picture.crop.path)[0]) for picture in source.find()}
        named = {value: name for value, name in source.export.classes.items()}
        middles = {(named[int(n)], ((l + r) / 2, (t + b) / 2)) for n, (l, t, r, b) in found}  # noqa: E741
        assert middles == {("roof", (8, 7)), ("pool", (44, 12)), ("roof", (74, 53))}
        assert {r - l for _, (l, t, r, b) in found} == {edge}  # noqa: E741


def test_a_real_export_cut_again_is_the_same(shared_data, tmp_path):
    from tests.models.common import composed

    real = shared_data / "palms_export"
    config = {**composed("task=detection", "dataset=geotiff")["dataset"], "images": str(real / "images"),
              "labels": str(real / "labels"), "classes": {1: "Palm"}}  # fmt: skip
    options = ChipOptions(
        format="PASCAL_VOC_rectangles", tile_px=448, min_overlap=0.0, image_format="jpeg", progress=False
    )
    done = export_chips(config, tmp_path / "again", options)
    assert done.chips == 160 and done.counts == {"Palm": 526}
    read = [list(read_objects(ExportedObjects(root=str(root)))) for root in (real, tmp_path / "again")]
    for (before, labels), (after, again) in zip(*read, strict=True):
        assert [name for name, _ in labels] == [name for name, _ in again] == ["Palm"] * len(labels)
        for (_, one), (_, two) in zip(labels, again, strict=True):
            assert np.abs(np.subtract(one.bounds, two.bounds)).max() < 1e-3
        first, second = read_info(before), read_info(after)
        assert np.allclose(first.georeference.transform, second.georeference.transform)
    assert read_info(after).gsd == pytest.approx(read_info(before).gsd)
