"""Pairs of a coarser and a finer picture: made, or read from two scenes that must align."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomm.datasets.maps.geotiff import GeoTiffScenes
from geomm.datasets.maps.pairs import align
from geomm.datasets.maps.targets import FinerTarget
from geomm.errors import ConfigError, DataError
from geomm.io.raster import read_info
from tests.datasets.common import CRS, positions, write

AREA = {"downsample": {"type": "Downsample", "method": "area"}}
MOVES = {"flip": {"type": "RandomFlip"}, "turn": {"type": "RandomQuarterTurn"}}


def place(left_px=0.0, top_px=0.0, gsd=1.0):
    """A transform whose origin is so many metres right of and below 1000, 5000."""
    from rasterio import Affine

    return Affine(gsd, 0, 1000 + left_px, 0, -gsd, 5000 - top_px)


def source(tmp_path, images, labels=None, *, scale=2, window=32, augment=None, **options):
    target = FinerTarget(scale=scale, degrade=AREA)
    made = GeoTiffScenes(
        images=str(images),
        labels=None if labels is None else str(labels),
        window_px=window,
        windows_per_epoch=20,
        augment=augment or {},
        target=target,
        **options,
    )
    return made, made.prepare(tmp_path / "cache")


def shrink(image, scale):
    bands, height, width = image.shape
    return image.reshape(bands, height // scale, scale, width // scale, scale).mean((2, 4))


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_coarse_picture_is_made_of_the_fine_one(tmp_path, split):
    write(tmp_path / "a.tif", positions(120, 150), transform=place())
    made, spec = source(tmp_path, tmp_path / "a.tif", augment=MOVES)
    assert (spec.scale, spec.window_px, spec.gsd, spec.classes) == (2, 16, 2.0, ())
    windows = made.split(split)
    for index in range(len(windows)):
        sample = windows[index]
        target = sample.extras["target"]
        assert sample.image.shape == (2, 16, 16) and target.shape == (2, 32, 32)
        np.testing.assert_allclose(sample.image, np.rint(shrink(target.astype(np.float32), 2)))
        assert sample.extras["target_valid"].any() and "coarse" not in sample.extras


def test_no_pixel_of_another_split_counts(tmp_path):
    write(tmp_path / "a.tif", positions(120, 150), transform=place())
    made, _ = source(tmp_path, tmp_path / "a.tif")
    seen = {}
    for split in ("train", "val"):
        windows = made.split(split)
        seen[split] = {
            tuple(pixel)
            for index in range(len(windows))
            for sample in [windows[index]]
            for pixel in sample.extras["target"][:, sample.extras["target_valid"]].T.tolist()
        }
    assert seen["train"] and seen["val"] and not seen["train"] & seen["val"]


@settings(max_examples=15, deadline=None)
@given(
    scale=st.sampled_from([2, 3, 4]),
    left=st.integers(-9, 9),
    top=st.integers(-9, 9),
    seed=st.integers(0, 9),
)
def test_a_real_pair_is_read_from_the_same_ground(tmp_path_factory, scale, left, top, seed):
    """The coarse scene holds means of the fine one's pixels, so each window can be checked."""
    folder = tmp_path_factory.mktemp("pair")
    wide = positions(160, 200).astype(np.float32)  # the ground, of which each scene shows a part
    fine = wide[:, 20:140, 20:180]
    rows, cols = 20 + top, 20 + left
    part = wide[:, rows : rows + 120 // scale * scale - 24, cols : cols + 144]
    coarse = shrink(part[:, : part.shape[1] // scale * scale, : 144 // scale * scale], scale)
    write(folder / "fine.tif", fine, transform=place(20, 20))
    write(folder / "coarse.tif", coarse.astype(np.float32), transform=place(cols, rows, scale))
    made, spec = source(
        folder,
        folder / "coarse.tif",
        folder / "fine.tif",
        scale=scale,
        window=12 * scale,
        augment=MOVES,
        seed=seed,
    )
    assert spec.scale == scale
    windows = made.split("train")
    counted = 0
    for index in range(10):
        sample = windows[index]
        target, known = sample.extras["target"], sample.extras["target_valid"]
        inside = known.reshape(12, scale, 12, scale).all((1, 3))
        np.testing.assert_allclose(sample.image[:, inside], shrink(target, scale)[:, inside], atol=1e-3)
        counted += int(inside.sum())
    assert counted


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transform": place(0.5, 0, 2)}, r"do not align.*miss each other by 0\.50"),
        ({"transform": place(0, 0, 3)}, r"pixels of 3 and 1; expected the first 2 times.*-tr 2 2"),
        ({"transform": place(500, 0, 2)}, "do not overlap"),
        ({"transform": place(0, 0, 2), "crs": "EPSG:32617"}, "different CRS"),
        ({"transform": place(0, 0, 2), "bands": 3}, "3 and 2 bands"),
        ({"transform": place(0, 0, 2), "crs": None}, "40 x 40 and 60 x 60 px without a CRS"),
    ],
)
def test_pairs_that_do_not_fit_are_named(tmp_path, changes, message):
    write(tmp_path / "fine.tif", positions(60, 60), transform=place(), crs=CRS)
    coarse = np.zeros((changes.pop("bands", 2), 40, 40), np.uint16)
    write(tmp_path / "coarse.tif", coarse, **{"crs": CRS, **changes})
    with pytest.raises(DataError, match=message):
        align(read_info(tmp_path / "fine.tif"), read_info(tmp_path / "coarse.tif"), 2)


def test_a_window_that_is_no_multiple_of_the_scale_is_named():
    with pytest.raises(
        ConfigError, match=r"window_px: found 50, expected a multiple of head\.scale=4; use 48"
    ):
        GeoTiffScenes(window_px=50, target=FinerTarget(scale=4, degrade=AREA))


def test_a_pair_cannot_be_zoomed(tmp_path):
    write(tmp_path / "fine.tif", positions(64, 64), transform=place(), crs=CRS)
    write(tmp_path / "coarse.tif", shrink(positions(64, 64), 2), transform=place(0, 0, 2), crs=CRS)
    zoom = {"zoom": {"type": "RandomZoom", "probability": 1.0}}
    made, _ = source(tmp_path, tmp_path / "coarse.tif", tmp_path / "fine.tif", augment=zoom)
    with pytest.raises(ConfigError, match="can be flipped and turned, but not zoomed"):
        made.split("train")[0]
