"""Where chips lie, of scenes with and without a place on the map."""

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from geomm.chips import export_chips
from geomm.chips.options import ChipOptions
from geomm.datasets.chips import Chips
from geomm.datasets.objects.exported import ExportedObjects
from geomm.io.raster_info import read_info
from geomm.structures import IGNORE_INDEX
from tests.chips.scenes import dataset

EDGE, TILE, STRIDE = 96, 32, 16
TURNED = Affine.translation(500, 900) @ Affine.rotation(20) @ Affine.scale(0.5, -0.5)


def write_picture(path, *, transform=None):
    """Write a scene without a CRS in which every pixel has a value of its own, and boxes all over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = np.arange(EDGE * EDGE).reshape(EDGE, EDGE)
    pixels = np.stack([numbers % 256, numbers // 256, np.full_like(numbers, 9)]).astype(np.uint8)
    place = {} if transform is None else {"transform": transform}
    with rasterio.open(
        path, "w", driver="GTiff", width=EDGE, height=EDGE, count=3, dtype="uint8", **place
    ) as file:
        file.write(pixels)
    boxes = [(x, y, x + 5, y + 5) for x in range(2, EDGE - 6, 8) for y in range(2, EDGE - 6, 8)]
    rows = [
        "<object><name>tree</name><bndbox>"
        f"<xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for a, b, c, d in boxes
    ]
    path.with_suffix(".xml").write_text(f"<annotation>{''.join(rows)}</annotation>")
    return path


def cut(folder, root, format="PASCAL_VOC_rectangles", **options):
    config = dataset(folder / "*.tif", folder / "*.xml", label_field=None)
    chosen = ChipOptions(format=format, tile_px=TILE, stride_px=STRIDE, progress=False, **options)
    export_chips(config, root, chosen)
    return sorted((root / "images").glob("*.[tpj][inp][fg]"))


def numbers_of(image):
    return image[0].astype(int) + 256 * image[1].astype(int)


@pytest.mark.parametrize("image_format", ["tiff", "png", "jpeg"])
@pytest.mark.parametrize("transform", [None, TURNED])
def test_chips_of_a_scene_without_a_crs_lie_in_it(tmp_path, image_format, transform):
    write_picture(tmp_path / "in" / "a.tif", transform=transform)
    images = cut(tmp_path / "in", tmp_path / "c", image_format=image_format)
    scene = transform or Affine.scale(1, -1)  # where QGIS shows it
    assert len(images) == 25
    for number, image in enumerate(images):
        info = read_info(image)
        place = scene @ Affine.translation(STRIDE * (number % 5), STRIDE * (number // 5))
        assert info.georeference.crs is None and info.gsd == 0
        assert np.allclose(info.georeference.transform, tuple(place)[:6], atol=1e-6)
    assert not list((tmp_path / "c").rglob("*.aux.xml"))


@pytest.mark.parametrize("image_format", ["tiff", "png"])
@pytest.mark.parametrize("transform", [None, TURNED])
def test_no_ground_of_a_scene_without_a_crs_is_trained_on_and_judged_by(tmp_path, image_format, transform):
    write_picture(tmp_path / "in" / "a.tif", transform=transform)
    cut(tmp_path / "in", tmp_path / "c", image_format=image_format)
    source = ExportedObjects(root=str(tmp_path / "c"), split={"val": 0.3})
    assert source.prepare(None).crs is None
    shown = {"train": set(), "val": set()}
    for name, numbers in shown.items():
        for chip in source.split(name).chips:
            with rasterio.open(chip.image) as file:
                image = numbers_of(file.read())
            for window in chip.hidden:
                image[window.slices] = -1
            numbers |= set(image[image >= 0].tolist())
    assert not shown["train"] & shown["val"]
    assert len(shown["train"] | shown["val"]) == EDGE * EDGE
    assert any(chip.hidden for chip in source.split("train").chips)


def test_scenes_without_a_place_lie_side_by_side(tmp_path):
    for name in "ab":
        write_picture(tmp_path / "in" / f"{name}.tif")
    images = cut(tmp_path / "in", tmp_path / "c")
    lefts = sorted({read_info(image).georeference.transform[2] for image in images})
    assert len(images) == 50 and lefts[:5] == [STRIDE * number for number in range(5)]
    assert np.diff(lefts[5:]).tolist() == [STRIDE] * 4 and lefts[5] >= EDGE + TILE
    source = ExportedObjects(root=str(tmp_path / "c"), split={"val": 0.3})
    source.prepare(None)
    shown = {"train": set(), "val": set()}
    for name, numbers in shown.items():
        for chip in source.split(name).chips:
            with rasterio.open(chip.image) as file:
                image, second = numbers_of(file.read()), file.transform.c >= EDGE
            for window in chip.hidden:
                image[window.slices] = -1
            numbers |= {(second, number) for number in image[image >= 0].tolist()}
    assert not shown["train"] & shown["val"]
    assert len(shown["train"] | shown["val"]) == 2 * EDGE * EDGE


def test_labels_of_pixels_lie_where_their_chips_do(tmp_path):
    scene = write_picture(tmp_path / "in" / "a.tif")
    kinds = np.ones((1, EDGE, EDGE), np.uint8)
    kinds[:, :, EDGE // 3 :] = 2
    with rasterio.open(
        tmp_path / "kinds.tif", "w", driver="GTiff", width=EDGE, height=EDGE, count=1, dtype="uint8"
    ) as file:
        file.write(kinds)
    options = ChipOptions(format="Classified_Tiles", tile_px=TILE, stride_px=STRIDE, progress=False)
    export_chips(dataset(scene, tmp_path / "kinds.tif", label_field=None), tmp_path / "c", options)
    source = Chips(root=str(tmp_path / "c"), split={"val": 0.3})
    source.prepare(tmp_path)
    shown = {"train": set(), "val": set()}
    for name, numbers in shown.items():
        for number in range(len(source.split(name))):
            sample = source.split(name)[number]
            numbers |= set(numbers_of(sample.image)[sample.mask != IGNORE_INDEX].tolist())
    assert shown["val"] and not shown["train"] & shown["val"]
    assert len(shown["train"] | shown["val"]) == EDGE * EDGE
