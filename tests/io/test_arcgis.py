import json
import shutil

import pytest

from geomm.errors import DataError
from geomm.io.arcgis import export_kind, read_export

KINDS = ("Classified_Tiles",)
CLASSES = [
    {"Value": 1, "Name": "water", "Color": [0, 0, 255]},
    {"Value": 2, "Name": "forest", "Color": [-1, -1, -1]},
    {"Value": 3, "Name": "road"},
]


def write_json(path, data):
    path.write_text(json.dumps(data), encoding="utf-8-sig")


@pytest.fixture
def export(tmp_path):
    """An export of three chips with Windows paths in its map, and nothing else."""
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
        for number in range(3):
            (tmp_path / part / f"00{number}.tif").write_bytes(b"")
    lines = [f"images\\00{n}.tif  labels\\00{n}.tif \r\n" for n in range(3)]
    (tmp_path / "map.txt").write_text("".join(lines), newline="")
    return tmp_path


def pair_names(found):
    return [(image.name, label.name if label else None) for image, label in found.pairs]


def test_the_map_pairs_images_and_labels_whatever_the_slashes(export):
    found = read_export(export, kinds=KINDS)
    assert pair_names(found) == [(f"00{n}.tif", f"00{n}.tif") for n in range(3)]
    assert all(image.is_file() and label.is_file() for image, label in found.pairs)


def test_chips_that_the_map_names_but_the_folder_lacks_are_left_out(export, caplog):
    for part in ("images", "labels"):
        (export / part / "001.tif").unlink()
    assert len(read_export(export, kinds=KINDS).pairs) == 2
    assert "map.txt: 1 of 3 lines name no file that is there (the first: 'images" in caplog.text


def test_folders_in_the_map_may_have_blanks(export):
    parts = [("images", "partly gone"), ("images2", "old images"), ("labels", "a b")]
    lines = []
    for number in range(2):
        names = []
        for top, folder in parts:
            path = export / top / folder / f"n {number}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
            names.append("\\".join(path.relative_to(export).parts))
        lines.append("\t".join(names) + "  \r\n")
    (export / "map.txt").write_text("".join(lines), newline="")
    found = read_export(export, kinds=("RCNN_Masks",))
    assert [image.parent.name for image, _ in found.pairs] == ["partly gone"] * 2
    assert pair_names(found) == [(f"n {n}.tif", f"n {n}.tif") for n in range(2)]


def test_a_chip_that_several_lines_name_is_one(export):
    lines = [f"images\\00{n}.tif  labels\\{c}\\00{n}.tif\n" for n in range(3) for c in ("none", "1")]
    (export / "labels" / "1").mkdir()
    for number in range(3):
        (export / "labels" / f"00{number}.tif").rename(export / "labels" / "1" / f"00{number}.tif")
    (export / "map.txt").write_text("".join(lines))
    found = read_export(export, kinds=("RCNN_Masks",))
    assert pair_names(found) == [(f"00{n}.tif", f"00{n}.tif") for n in range(3)]
    assert all(label.parent.name == "1" for _, label in found.pairs)


@pytest.mark.parametrize("with_map", [True, False])
def test_every_chip_of_folders_a_class_counts_whatever_its_name(export, with_map):
    shutil.rmtree(export / "labels")
    for folder in ("dark", "partly gone"):
        (export / "images" / folder).mkdir()
        for number in range(3):
            (export / "images" / folder / f"00{number}.tif").write_bytes(b"")
    for number in range(3):
        (export / "images" / f"00{number}.tif").unlink()
    if not with_map:
        (export / "map.txt").unlink()
    found = read_export(export, kinds=("Imagenet",))
    assert [(image.parent.name, image.name) for image, _ in found.pairs] == [
        (folder, f"00{number}.tif") for folder in ("dark", "partly gone") for number in range(3)
    ]


def test_a_chip_of_which_one_half_is_missing_is_kept_for_the_reader_to_judge(export):
    (export / "labels" / "001.tif").unlink()
    found = read_export(export, kinds=KINDS)
    assert [label.is_file() for _, label in found.pairs] == [True, False, True]


def test_without_a_map_chips_are_paired_by_name(export):
    (export / "map.txt").unlink()
    (export / "labels" / "002.tif").rename(export / "labels" / "other.tif")
    found = read_export(export, kinds=KINDS)
    assert pair_names(found)[:2] == [("000.tif", "000.tif"), ("001.tif", "001.tif")]
    assert [label.is_file() for _, label in found.pairs] == [True, True, False, True]
    assert [image.name for image, _ in found.pairs[2:]] == ["002.tif", "other.tif"]
    assert not found.pairs[-1][0].is_file()


def chips_of(root, images, labels, mode="PASCAL_VOC_rectangles"):
    """Return image and label of each chip below their folders, ``-`` for a file that is not there."""
    for top, names in (("images", images), ("labels", labels)):
        for name in names.split():
            (root / top / name).parent.mkdir(parents=True, exist_ok=True)
            (root / top / name).write_bytes(b"")
    write_json(root / "esri_model_definition.emd", {"MetaDataMode": mode})
    found = read_export(root, kinds=(mode,))
    return [
        tuple(
            str(path.relative_to(root / top)) if path and path.is_file() else "-"
            for path, top in zip(pair, ("images", "labels"), strict=True)
        )
        for pair in found.pairs
    ]


@pytest.mark.parametrize(
    ("images", "labels", "pairs"),
    [
        ("0.tif a/0.tif b/0.tif", "0.xml a/0.xml b/0.xml", "0.tif=0.xml a/0.tif=a/0.xml b/0.tif=b/0.xml"),
        ("a/0.tif b/0.tif", "x/b/0.xml x/a/0.xml", "a/0.tif=x/a/0.xml b/0.tif=x/b/0.xml"),
        ("a/in/0.tif b/in/0.tif", "b/0.xml a/0.xml", "a/in/0.tif=a/0.xml b/in/0.tif=b/0.xml"),
        ("a/0.tif b/1.tif", "0.xml more/1.xml", "a/0.tif=0.xml b/1.tif=more/1.xml"),
        ("0.tif 0.jpg", "0.xml 0.txt 0.tif.aux.xml", "0.jpg=0.xml 0.tif=0.xml"),
        ("a/0.tif b/0.tif", "0.xml", "a/0.tif=- b/0.tif=- -=0.xml"),
        ("0.tif a/0.tif", "0.xml", "0.tif=0.xml a/0.tif=-"),
        ("a/0.tif b/0.tif c/1.tif", "a/0.xml b/2.xml c/0.xml",
         "a/0.tif=a/0.xml b/0.tif=- c/1.tif=- -=b/2.xml -=c/0.xml"),
        ("0.tif", "0.z.xml", "0.tif=- -=0.z.xml"),
    ],
)  # fmt: skip
def test_no_chip_of_equal_names_is_lost_or_given_anothers_label(tmp_path, images, labels, pairs):
    assert chips_of(tmp_path, images, labels) == [tuple(pair.split("=")) for pair in pairs.split()]


def test_rasters_of_one_name_go_by_their_ending(tmp_path):
    found = chips_of(tmp_path, "a/0.png a/0.tif", "a/0.png a/0.tif", "Classified_Tiles")
    assert found == [("a/0.png", "a/0.png"), ("a/0.tif", "a/0.tif")]


def test_the_masks_of_a_chip_are_one_label_whatever_their_class(tmp_path):
    labels = "1/a/0.tif 1/b/0.tif 2/a/0.png 2/b/1.tif"
    found = chips_of(tmp_path, "a/0.tif b/0.tif", labels, "RCNN_Masks")
    assert found == [("a/0.tif", "1/a/0.tif"), ("b/0.tif", "1/b/0.tif"), ("-", "2/b/1.tif")]


@pytest.mark.parametrize(
    ("label", "kind"),
    [("a/0.xml", "PASCAL_VOC_rectangles"), ("a/0.tif", "Classified_Tiles"), ("1/0.tif", "RCNN_Masks")],
)
def test_the_layout_tells_folders_of_chips_from_those_of_classes(tmp_path, label, kind):
    for name in ("images/a/0.tif", f"labels/{label}"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"")
    assert export_kind(tmp_path) == kind


def test_chips_that_the_map_does_not_list_are_counted(export, caplog):
    read_export(export, kinds=KINDS)
    assert "in none of its lines" not in caplog.text
    for number in (3, 4):
        (export / "images" / f"00{number}.tif").write_bytes(b"")
    assert len(read_export(export, kinds=KINDS).pairs) == 3
    (said,) = [record.getMessage() for record in caplog.records]
    assert "map.txt: 2 of 5 chips of images/ are in none of its lines (the first: " in said
    assert "003.tif" in said


def test_classes_come_from_either_file_under_either_names(export):
    write_json(export / "esri_model_definition.emd", {"Classes": CLASSES})
    found = read_export(export, kinds=KINDS)
    assert found.classes == {1: "water", 2: "forest", 3: "road"}
    (export / "esri_model_definition.emd").unlink()
    keys = {"Value": "ClassValue", "Name": "ClassName"}
    renamed = [{keys[k]: v for k, v in item.items() if k in keys} for item in CLASSES]
    write_json(export / "esri_accumulated_stats.json", {"Classes": renamed})
    assert read_export(export, kinds=KINDS).classes == found.classes


def test_the_model_definition_wins_where_both_name_a_class(export):
    stats = {"Classes": [{"ClassValue": 1, "ClassName": "1"}, {"ClassValue": 9, "ClassName": "9"}]}
    write_json(export / "esri_accumulated_stats.json", stats)
    write_json(export / "esri_model_definition.emd", {"Classes": CLASSES})
    classes = read_export(export, kinds=KINDS).classes
    assert classes == {1: "water", 2: "forest", 3: "road", 9: "9"}


def test_colours_that_are_missing_or_minus_one_are_left_out(export):
    write_json(export / "esri_model_definition.emd", {"Classes": CLASSES})
    assert read_export(export, kinds=KINDS).colors == {1: (0, 0, 255)}


@pytest.mark.parametrize("classes", ["e.g. [1, 2]", ["one", "two"], None, {"Value": 1}, [{"a": 1}]])
def test_texts_of_the_template_in_place_of_values_say_nothing(export, classes):
    template = {
        "Classes": classes,
        "ImageHeight": "e.g. 256",
        "MinCellSize": "e.g. 0.5",
        "ImageSpaceUsed": "MAP_SPACE",
    }
    write_json(export / "esri_model_definition.emd", template)
    found = read_export(export, kinds=KINDS)
    assert (found.kind, found.classes, found.colors, found.cell_size) == (*KINDS, {}, {}, 0.0)


@pytest.mark.parametrize("size", [0.25, {"x": 0.25, "y": 0.25}])
def test_the_cell_size_is_a_number_or_a_pair(export, size):
    write_json(export / "esri_accumulated_stats.json", {"MinCellSize": size})
    assert read_export(export, kinds=KINDS).cell_size == 0.25


def test_oblique_imagery_is_told_from_maps(export):
    assert read_export(export, kinds=KINDS).map_space
    write_json(export / "esri_model_definition.emd", {"ImageSpaceUsed": "PIXEL_SPACE"})
    assert not read_export(export, kinds=KINDS).map_space


def test_an_export_of_another_kind_is_an_error_that_names_both(export):
    write_json(export / "esri_accumulated_stats.json", {"MetaDataMode": "PASCAL_VOC_rectangles"})
    with pytest.raises(DataError, match=r"kind PASCAL_VOC_rectangles.*reads Classified_Tiles"):
        read_export(export, kinds=KINDS)
    assert read_export(export, kinds=("PASCAL_VOC_rectangles",)).kind == "PASCAL_VOC_rectangles"


def test_a_damaged_side_file_is_an_error_of_one_line(export):
    (export / "esri_model_definition.emd").write_text('{"Classes": [')
    with pytest.raises(DataError, match=r"esri_model_definition\.emd is not JSON") as caught:
        read_export(export, kinds=KINDS)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_export_is_an_error_that_says_what_it_holds(tmp_path):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DataError, match=r"no folder 'images'.*found pictures"):
        read_export(tmp_path, kinds=KINDS)
    with pytest.raises(DataError, match="found nothing"):
        read_export(tmp_path / "none", kinds=KINDS)


def test_an_export_without_chips_is_an_error(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="holds no chips"):
        read_export(tmp_path, kinds=KINDS)


def test_real_sidecars_of_classified_tiles_are_understood(export, shared_data):
    for name in ("esri_accumulated_stats.json", "esri_model_definition.emd"):
        shutil.copy(shared_data / "arcgis_samples" / f"classified_tiles.{name}", export / name)
    found = read_export(export, kinds=KINDS)
    assert found.kind == "Classified_Tiles" and found.map_space
    assert found.classes == {1: "1", 2: "2"} and found.colors == {}


def test_the_definition_of_a_model_that_arcgis_trained_has_the_same_classes(export, shared_data):
    source = shared_data / "arcgis_samples" / "unet_saved_model.emd"
    shutil.copy(source, export / "esri_model_definition.emd")
    found = read_export(export, kinds=KINDS)
    assert list(found.classes) == [1, 2] and found.colors[1] == (185, 2, 84)


def test_a_real_export_of_boxes_is_understood(shared_data):
    found = read_export(shared_data / "palms_export", kinds=("PASCAL_VOC_rectangles",))
    assert len(found.pairs) == 160 and found.classes == {1: "Palm"}
    assert found.colors == {1: (255, 0, 0)}
    assert all(image.is_file() and label.suffix == ".xml" for image, label in found.pairs)
    with pytest.raises(DataError, match="PASCAL_VOC_rectangles"):
        read_export(shared_data / "palms_export", kinds=KINDS)
