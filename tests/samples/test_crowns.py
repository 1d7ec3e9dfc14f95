import pytest
from shapely import box

from geomm.errors import DependencyError
from geomm.samples import crowns
from geomm.samples.crowns import ellipse, read_voc_boxes


def test_an_ellipse_fills_its_box():
    shape = ellipse(box(10, 20, 14, 30))
    assert shape.bounds == pytest.approx((10, 20, 14, 30))
    assert shape.area == pytest.approx(3.14159 * 2 * 5, rel=0.01)


def test_boxes_are_read_in_their_order(tmp_path):
    corners = [(1, 2, 30, 40), (5.5, 6, 7, 8)]
    objects = "".join(
        f"<object><name>Tree</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax>"
        f"<ymax>{d}</ymax></bndbox></object>"
        for a, b, c, d in corners
    )
    (tmp_path / "a.xml").write_text(f"<annotation>{objects}</annotation>")
    assert read_voc_boxes(tmp_path / "a.xml") == corners


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(crowns.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"pip install.*deepforest"):
        crowns.data_folder()


def test_every_crown_lies_in_its_scene(made):
    import geopandas

    from geomm.io.raster import read_info
    from geomm.io.vector import to_pixels

    paths, counts = made("tree_crowns"), []
    for image, boxes in (("images", "boxes"), ("unseen", "unseen_boxes")):
        info = read_info(paths[image])
        placed = to_pixels(geopandas.read_file(paths[boxes]).geometry.to_numpy(), info)
        scene = box(-2, -2, info.width + 2, info.height + 2)
        assert all(scene.contains(shape) for shape in placed)
        counts.append(len(placed))
    assert 574 <= sum(counts) < 574 + 40 and min(counts) > 50
