"""A detector that shows the truth gives back the truth, each object once, whatever the tiles."""

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.inference.objects import Truth, disjoint_boxes, in_pixels, numbered_scene, rows_of, run


def read(path):
    return geopandas.read_file(path, layer=path.stem)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
