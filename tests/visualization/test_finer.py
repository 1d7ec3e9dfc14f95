"""Pictures of super-resolution show the right ground at the right size."""

import numpy as np
import pytest
import rasterio
import torch
from matplotlib import image as png

from geomm.structures import RasterSample
from geomm.visualization.finer import _busiest, _detail_window, draw_finer_panels, draw_finer_preview


class Doubler(torch.nn.Module):
    """Enlarges twice by repeating; what is asked of a SuperResolver by the figures."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def predict_pixels(self, inputs, valid):
        return inputs.float().repeat_interleave(2, 2).repeat_interleave(2, 3) * self.weight

    bicubic = lambda self, inputs: self.predict_pixels(inputs, None)  # noqa: E731


def sample(seed):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 4000, (4, 24, 24)).astype(np.uint16)
    low = target.reshape(4, 12, 2, 12, 2).mean((2, 4)).astype(np.float32)
    extras = {"target": target, "target_valid": np.ones((24, 24), bool)}
    return RasterSample(low, np.ones((12, 12), bool), name=f"s{seed}", extras=extras)


def test_panels_are_drawn(tmp_path):
    path = draw_finer_panels(Doubler().eval(), [sample(i) for i in range(3)], tmp_path / "p.png", rows=2)
    picture = png.imread(path)
    assert picture.shape[0] > 1000 and picture[..., :3].std() > 0.05


@pytest.mark.parametrize(("row", "col"), [(0, 0), (5, 11), (14, 14)])
def test_the_busiest_square_is_where_neighbours_differ(row, col):
    image = np.zeros((2, 20, 20), np.float32)
    image[:, row : row + 6, col : col + 6] = np.random.default_rng(0).random((2, 6, 6)) * 100
    rows, cols = _busiest(image, 6)
    covered = np.zeros((20, 20), bool)
    covered[rows, cols] = True
    assert covered[row : row + 6, col : col + 6].mean() > 0.4


@pytest.mark.parametrize("width", [3, 50, 900])
def test_a_detail_lies_in_the_scene(width):
    overview = np.random.default_rng(0).random((1, max(round(width / 2), 1), width)).astype(np.float32)
    valid = np.ones(overview.shape[1:], bool)
    window = _detail_window(overview, valid, width, overview.shape[1], 96)
    assert 0 <= window.col <= width - window.width and 0 <= window.row
    assert window.row + window.height <= overview.shape[1]


@pytest.mark.parametrize("bands", [1, 5])
def test_a_preview_is_drawn(tmp_path, bands):
    pixels = np.random.default_rng(0).integers(1, 5000, (bands, 40, 60)).astype(np.uint16)
    for name, scale in (("scene", 1), ("finer", 3)):
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", driver="GTiff", width=60 * scale, height=40 * scale,
            count=bands, dtype="uint16", crs="EPSG:32616",
            transform=rasterio.Affine(1 / scale, 0, 7e5, 0, -1 / scale, 3.7e6),
        ) as target:  # fmt: skip
            target.write(np.kron(pixels, np.ones((1, scale, scale), np.uint16)))
    path = draw_finer_preview(
        str(tmp_path / "scene.tif"), tmp_path / "finer.tif", tmp_path / "p.png",
        bands=tuple(range(1, bands + 1)),
    )  # fmt: skip
    assert png.imread(path)[..., :3].std() > 0.05
