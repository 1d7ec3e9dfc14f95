"""QGIS styles (.qml) of layers of objects: a colour a class, fainter where the model is less sure."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from geomm.structures import ClassSpec

_FAINTEST = 35
#: How every style of objects begins, by which it is known as geomm's.
_HEAD = (
    "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
    '<qgis version="3.28" styleCategories="Symbology|MapTips">'
    '<renderer-v2 type="categorizedSymbol" attr="class" enableorderby="0" symbollevels="0" '
    'forceraster="0" referencescale="-1">'
)
_STYLES_TABLE = """CREATE TABLE IF NOT EXISTS layer_styles (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256), f_table_schema TEXT(256),
  f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT,
  useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),
  update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')))"""


def object_style(classes: Sequence[ClassSpec], *, points: bool = False) -> str:
    """Return a QGIS style that paints features by their field ``class``.

    Args:
      classes: names and colours.
      points: of a layer of points instead of polygons.
    """
    kind = "marker" if points else "fill"
    categories = "".join(
        f'<category value={quoteattr(item.name)} symbol="{number}" label={quoteattr(item.name)} '
        'render="true" type="string"/>'
        for number, item in enumerate(classes)
    )
    symbols = "".join(_symbol(number, item, kind) for number, item in enumerate(classes))
    tip = '[% "class" %] [% round("confidence" * 100) %] %'
    return (
        f"{_HEAD}<categories>{categories}</categories><symbols>{symbols}</symbols></renderer-v2>"
        f"<mapTip>{escape(tip)}</mapTip>"
        f"<layerGeometryType>{0 if points else 2}</layerGeometryType></qgis>\n"
    )


def _symbol(number: int, item: ClassSpec, kind: str) -> str:
    red, green, blue = item.color
    line, inside = f"{red},{green},{blue},255", f"{red},{green},{blue},40"
    if kind == "marker":
        layer = "SimpleMarker"
        options = {"name": "circle", "color": line, "outline_color": "255,255,255,255", "size": "2.4"}
    else:
        layer = "SimpleFill"
        options = {
            "color": inside,
            "style": "solid",
            "outline_color": line,
            "outline_style": "solid",
            "outline_width": "0.46",
            "outline_width_unit": "MM",
        }
    values = "".join(f'<Option type="QString" name="{key}" value="{text}"/>' for key, text in options.items())
    faint = f'{_FAINTEST} + {100 - _FAINTEST} * coalesce("confidence", 1)'
    alpha = (
        '<Option type="Map"><Option type="QString" name="name" value=""/>'
        '<Option type="Map" name="properties"><Option type="Map" name="alpha">'
        '<Option type="bool" name="active" value="true"/>'
        f'<Option type="QString" name="expression" value={quoteattr(faint)}/>'
        '<Option type="int" name="type" value="3"/></Option></Option>'
        '<Option type="QString" name="type" value="collection"/></Option>'
    )
    return (
        f'<symbol type="{kind}" name="{number}" alpha="1" clip_to_extent="1" force_rhr="0">'
        f"<data_defined_properties>{alpha}</data_defined_properties>"
        f'<layer class="{layer}" enabled="1" locked="0" pass="0"><Option type="Map">{values}</Option></layer>'
        "</symbol>"
    )


def is_object_style(path: Path) -> bool:
    """Return whether a file is a style that geomm wrote beside a layer of objects, whatever its classes."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(len(_HEAD)) == _HEAD
    except (OSError, ValueError):
        return False


def write_style(layer: Path, style: str) -> Path:
    """Write a style beside a layer, and into a GeoPackage itself; return the file."""
    if layer.suffix.lower() == ".gpkg":
        _keep_in_geopackage(layer, style)
    path = layer.with_suffix(".qml")
    temporary = path.with_suffix(".qml.part")
    temporary.write_text(style, encoding="utf-8")
    temporary.replace(path)
    return path


def _keep_in_geopackage(path: Path, style: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        name, column = database.execute(
            "SELECT table_name, column_name FROM gpkg_geometry_columns LIMIT 1"
        ).fetchone()
        database.execute(_STYLES_TABLE)
        database.execute("DELETE FROM layer_styles WHERE f_table_name = ?", (name,))
        database.execute(
            "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, "
            "styleName, styleQML, styleSLD, useAsDefault, description, owner) "
            "VALUES ('', '', ?, ?, 'classes', ?, '', 1, 'a colour a class', '')",
            (name, column, style),
        )
        database.execute(
            "INSERT OR REPLACE INTO gpkg_contents (table_name, data_type, identifier) "
            "VALUES ('layer_styles', 'attributes', 'layer_styles')"
        )
