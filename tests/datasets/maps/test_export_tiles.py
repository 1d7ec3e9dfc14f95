"""ArcGIS's Export_Tiles for super-resolution: alone, and beside a second raster of the same ground."""

import json

import numpy as np
import pytest
from rasterio import Affine

from geomm.datasets.maps.export_tiles import _second
from geomm.errors import DataError
from geomm.tasks import SuperResolution
from tests.datasets.common import write
from tests.io.common import LEFT, TOP

SIZE = 32


def export(root, *, second=None, step=SIZE, count=12, kind="Export_Tiles"):
    """Write chips of 0.5 m side by side; ``second`` is how many times as fine images2 is."""
    (root / "images").mkdir(parents=True)
    if second:
        (root / "images2").mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        left, top = LEFT + number % 4 * step * 0.5, TOP - number // 4 * step * 0.5
        for folder, finer in (("images", 1), ("images2", second)):
            if finer:
                edge = int(SIZE * finer)
                pixels = rng.integers(0, 255, (3, edge, edge)).astype(np.uint8)
                place = Affine(0.5 / finer, 0, left, 0, -0.5 / finer, top)
                write(root / folder / f"{number:09d}.tif", pixels, transform=place)
    text = json.dumps({"MetaDataMode": kind, "ImageSpaceUsed": "MAP_SPACE"})
    (root / "esri_model_definition.emd").write_text(text)
    return root


def source_of(root, cache, **dataset):
    dataset = {"type": "Chips", "tasks": [], "root": str(root), **dataset}
    source = SuperResolution().build_source({"dataset": dataset, "head": {"scale": 2}, "seed": 0})
    return source, source.prepare(cache)


def test_chips_alone_are_the_finer_imagery(tmp_path):
    source, spec = source_of(export(tmp_path / "e"), tmp_path / "c")
    assert (spec.window_px, spec.scale, spec.gsd) == (SIZE // 2, 2, 1.0)
    sample = source.split("train")[0]
    assert sample.image.shape == (3, SIZE // 2, SIZE // 2)
    assert sample.extras["target"].shape == (3, SIZE, SIZE)
    assert len(source.split("val")) > 0


@pytest.mark.parametrize("second", [2, 0.5])
def test_images2_is_the_finer_or_the_coarser_half_of_each_pair(tmp_path, second):
    source, spec = source_of(export(tmp_path / "e", second=second), tmp_path / "c")
    assert spec.gsd == (0.5 if second == 2 else 1.0)
    edge = SIZE * 2 if second == 2 else SIZE
    sample = source.split("train")[0]
    assert sample.extras["target"].shape == (3, edge, edge)
    assert sample.image.shape == (3, edge // 2, edge // 2)


def test_chips_that_overlap_are_in_one_split(tmp_path):
    source, _ = source_of(export(tmp_path / "e", step=SIZE // 2), tmp_path / "c", split={"val": 0.3})
    seen = {
        name: {scene.reader.info.path for scene in source._source._scenes if (scene.splits == index).any()}
        for index, name in enumerate(("train", "val"))
    }
    assert seen["train"] and seen["val"] and not seen["train"] & seen["val"]


def test_a_chip_without_its_second_is_named(tmp_path):
    root = export(tmp_path / "e", second=2)
    (root / "images2" / "000000003.tif").unlink()
    with pytest.raises(DataError, match=r"1 chips of 12 are not in images2, the first: .*000000003\.tif"):
        source_of(root, tmp_path / "c")


def test_the_second_of_a_chip_has_exactly_its_name_and_folders(tmp_path):
    image = tmp_path / "images" / "a" / "t.tif"
    for name in ("images2/a/t.z.tif", "images2/t.tif", "images2/b/t.tif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert _second(image) is None
    (tmp_path / "images2" / "a" / "t.png").touch()
    assert _second(image) == tmp_path / "images2" / "a" / "t.png"


def test_an_export_of_labels_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"of kind Classified_Tiles; this task reads Export_Tiles"):
        source_of(export(tmp_path / "e", kind="Classified_Tiles"), tmp_path / "c")
