"""Styles of objects are known again, other files are not."""

import pytest

from geomm.io.qml import is_object_style, object_style, write_style
from geomm.structures import make_classes


@pytest.mark.parametrize("points", [False, True])
@pytest.mark.parametrize("names", [[], ["palm", "a < b"]])
def test_a_style_is_known_whatever_its_classes(tmp_path, points, names):
    style = object_style(make_classes(names), points=points)
    assert is_object_style(write_style(tmp_path / "city.fgb", style))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        b'<qgis version="3.28.1" styleCategories="AllStyleCategories"><pipe/></qgis>',
    ],
)
def test_a_style_of_qgis_is_none_of_them(tmp_path, content):
    path = tmp_path / "city.qml"
    path.write_bytes(content)
    assert not is_object_style(path) and not is_object_style(tmp_path / "none.qml")
