"""What a folder holds, by names and the beginnings of files."""

import json
import subprocess
import sys

import pytest

import geomm.io.detect
from geomm.errors import DataError
from geomm.io.arcgis import TASKS_OF_KIND
from geomm.io.detect import detect

VOC = "<annotation><object><name>1</name></object></annotation>"
COCO = json.dumps({"images": [], "annotations": [], "categories": []})
GEOJSON = json.dumps({"type": "FeatureCollection", "features": []})


def make(root, **files):
    """Write files by path, ``__`` for a slash and ``_dot_`` for a dot; pictures need no content here."""
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def use_of(root, task=None):
    use = detect(root).use(task)
    return use.dataset, use.tasks[0]


@pytest.mark.parametrize("kind", sorted(TASKS_OF_KIND))
@pytest.mark.parametrize("side", ["esri_model_definition.emd", "esri_accumulated_stats.json"])
def test_every_kind_of_arcgis_export(tmp_path, kind, side):
    make(tmp_path, images__000000000_dot_tif="")
    (tmp_path / side).write_text(json.dumps({"MetaDataMode": kind}))
    found = detect(tmp_path)
    assert found.tasks == TASKS_OF_KIND[kind] and found.uses[0].dataset == "chips"
    assert found.what == f"an ArcGIS export of {kind}, 1 chip"


def test_labels_behind_more_chips_than_are_looked_at_are_seen(tmp_path, monkeypatch):
    for number in range(9):
        make(tmp_path, **{f"images__{number}_dot_jpg": "", f"labels__{number}_dot_txt": "0 .5 .5 .1 .1\n"})
    monkeypatch.setattr(geomm.io.detect, "_MOST_IN_FOLDER", 4)
    found = detect(tmp_path)
    assert found.what == "YOLO: 4 or more text files and 4 or more images"
    assert use_of(tmp_path) == ("yolo", "detection")


def test_a_kind_that_nobody_reads_is_said(tmp_path):
    make(tmp_path, images__0_dot_tif="", esri_model_definition_dot_emd='{"MetaDataMode": "CycleGAN"}')
    with pytest.raises(DataError, match="export of CycleGAN, which no dataset reads; expected Classified_"):
        detect(tmp_path)


@pytest.mark.parametrize(
    ("label", "text", "kind"),
    [
        ("labels__0_dot_tif", "", "Classified_Tiles"),
        ("labels__0_dot_xml", VOC, "PASCAL_VOC_rectangles"),
        ("labels__0_dot_txt", "1 0 0 0 1 2 3 4 0 0 0 0 0 0 0\n", "KITTI_rectangles"),
        ("labels__tree__0_dot_tif", "", "RCNN_Masks"),
    ],
)
def test_an_export_without_side_files_goes_by_its_layout(tmp_path, label, text, kind):
    make(tmp_path, images__0_dot_tif="", **{label: text})
    assert f" of {kind}, 1 chip" in detect(tmp_path).what


def test_formats_of_other_tools(tmp_path):
    assert use_of(make(tmp_path / "a", images__1_dot_jpg="", all_dot_json=COCO)) == ("coco", "detection")
    assert use_of(make(tmp_path / "b", JPEGImages__1_dot_jpg="", Annotations__1_dot_xml=VOC)) == (
        "voc", "detection",
    )  # fmt: skip
    rows = "0 0.5 0.5 0.1 0.1\n3 0.1 0.1 0.2 0.1 0.2 0.2\n"
    assert use_of(make(tmp_path / "c", images__1_dot_jpg="", labels__1_dot_txt=rows))[0] == "yolo"
    folders = make(tmp_path / "d", oak__1_dot_jpg="", oak__2_dot_jpg="", ash__1_dot_png="")
    assert detect(folders).what == "a folder a class: 3 pictures of 2 (ash, oak)"
    parted = make(tmp_path / "e", train__oak__1_dot_jpg="", train__ash__2_dot_jpg="", val__oak__3_dot_jpg="")
    assert use_of(parted) == ("folders", "classification")
    pctd = make(tmp_path / "f.pctd", train__Statistics_dot_json="{}", val__ListTable_dot_h5="")
    assert use_of(pctd) == ("pctd", "point_cloud")


def test_scenes_by_what_labels_them(tmp_path):
    layer = make(tmp_path / "a", x_dot_tif="", y_dot_tif="", roofs_dot_geojson=GEOJSON)
    found = detect(layer)
    assert found.what == "2 scenes with 1 vector layer"
    assert found.uses[0].options == {"images": f"{layer}/*.tif", "labels": f"{layer}/roofs.geojson"}
    assert use_of(layer, "classification") == ("footprints", "classification")
    masks = make(tmp_path / "b", x_dot_tif="", x_mask_dot_tif="")
    assert detect(masks).uses[0].options == {"images": f"{masks}/x.tif", "labels": f"{masks}/x_mask.tif"}
    boxes = make(tmp_path / "c", x_dot_tif="", x_dot_csv="image_path,xmin,ymin,xmax,ymax,label\n")
    assert use_of(boxes) == ("geotiff", "detection")
    assert use_of(make(tmp_path / "d", x_dot_tif="", notes_dot_csv="a,b\n")) == (
        "geotiff", "super_resolution",
    )  # fmt: skip


def test_clouds_texts_and_tables(tmp_path):
    kept = make(tmp_path / "a", train__1_dot_laz="", val__2_dot_las="")
    assert detect(kept).uses[0].options == {"root": f"{kept}/train", "val": f"{kept}/val"}
    assert use_of(make(tmp_path / "b", notes_dot_txt="Paris B-LOC\nis O\n\nbig O\n")) == ("text", "ner")
    pairs = make(tmp_path / "c", tokens_dot_csv="a,b\n", tags_dot_csv="O,O\n")
    assert detect(pairs).uses[0].options == {"path": f"{pairs}/tokens.csv"}
    reports = make(tmp_path / "d", reports_dot_csv="text,Address\nhi,\n")
    assert use_of(reports) == ("text", "ner") and use_of(reports, "tabular")[0] == "table"
    assert use_of(make(tmp_path / "e", houses_dot_csv="price,area\n1,2\n")) == ("table", "tabular")
    assert use_of(tmp_path / "e" / "houses.csv") == ("table", "tabular")


def test_what_is_ambiguous_or_unknown_is_one_line(tmp_path):
    mixed = make(tmp_path / "a", x_dot_laz="", y_dot_tif="")
    with pytest.raises(DataError, match=r"more than one kind of data: 1 scene without labels \(da"):
        detect(mixed)
    two = make(tmp_path / "b", x_dot_jpg="", train_dot_json=COCO, val_dot_json=COCO)
    with pytest.raises(DataError, match=r"2 COCO files \(train.json, val.json\).*dataset.annotations"):
        detect(two)
    for root, seen in ((make(tmp_path / "c", a_dot_doc=""), "1 .doc"), (tmp_path / "d", "an empty folder")):
        root.mkdir(exist_ok=True)
        with pytest.raises(
            DataError, match=f"no training data found in {seen}; expected an ArcGIS"
        ) as caught:
            detect(root)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="there is no such folder"):
        detect(tmp_path / "nowhere")


def test_large_coco_files_are_known_by_their_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("geomm.io.sniff._SMALL_JSON", 400)
    boxes = [{"id": n} for n in range(100)]
    text = json.dumps({"images": [{"id": 1}], "annotations": boxes, "categories": []})
    assert use_of(make(tmp_path, x_dot_jpg="", all_dot_json=text))[0] == "coco"


def test_real_folders(shared_data):
    expected = {
        "palms_export": ("chips", "detection"), "crowns": ("geotiff", "detection"),
        "lidar": ("las", "point_cloud"), "table": ("table", "tabular"), "text": ("text", "ner"),
        "buildings": ("geotiff", "segmentation"),
    }  # fmt: skip
    assert {name: use_of(shared_data / name) for name in expected} == expected


def test_looking_loads_nothing_heavy(tmp_path, root):
    make(tmp_path, x_dot_jpg="", all_dot_json=COCO)
    code = (
        "import sys\nfrom geomm.io.detect import detect\n"
        f"detect({str(tmp_path)!r})\n"
        "print(sorted({'torch', 'rasterio', 'geopandas', 'pandas', 'laspy', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
