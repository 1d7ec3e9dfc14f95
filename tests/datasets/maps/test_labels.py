import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import box

from geomm.datasets.maps.labels import distinct_values, make_table, open_labels, recolour
from geomm.errors import DataError
from geomm.io.raster import RasterReader, read_info
from geomm.io.vector import VectorLabels
from geomm.structures import PixelWindow, make_classes
from tests.datasets.common import IGNORE_INDEX, grid, layer, noise, write

WHOLE = PixelWindow(0, 0, 20, 20)


@pytest.fixture
def scene(tmp_path):
    return read_info(write(tmp_path / "scene.tif", noise(20, 20)))


def from_features(scene, tmp_path, names, **options):
    """Labels of one square a name; ``names`` None for a layer without a field."""
    boxes = [box(2 * i, 0, 2 * i + 2, 2) for i in range(len(names or [1]))]
    path = layer(tmp_path / "a.gpkg", boxes, **({"kind": names} if names else {}))
    field = "kind" if names else None
    labels = open_labels(str(path), scene, label_field=field, all_touched=False)
    options = {"classes": None, "background": "auto", **options}
    return labels, make_table([labels], [], **options)


def from_raster(scene, tmp_path, values, **options):
    path = write(tmp_path / "cover.tif", np.asarray(values, np.uint8))
    labels = open_labels(str(path), scene, label_field=None, all_touched=False)
    found = sorted(distinct_values(labels.raster, [WHOLE]))
    options = {"classes": None, "background": "auto", **options}
    return labels, make_table([labels], found, **options)


def names_of(table):
    return [item.name for item in table.classes]


def cover(*values):
    """A raster of 20 x 20 whose first columns hold these values, 0 elsewhere."""
    plane = np.zeros((20, 20), np.uint8)
    plane[:, : len(values)] = values
    return plane


def test_features_of_several_classes_leave_the_rest_unlabelled(scene, tmp_path):
    labels, table = from_features(scene, tmp_path, ["b", "a", "b"])
    mask = labels.mask(WHOLE)
    assert names_of(table) == ["a", "b"] and table.background is None
    assert mask[0, :8].tolist() == [1, 1, 0, 0, 1, 1, IGNORE_INDEX, IGNORE_INDEX]


def test_features_of_one_class_make_the_rest_background(scene, tmp_path):
    labels, table = from_features(scene, tmp_path, None)
    assert names_of(table) == ["background", "feature"] and table.background == 0
    assert [item.value for item in table.classes] == [0, 1]
    assert labels.mask(WHOLE).sum() == 4


def test_one_name_in_the_field_is_one_class(scene, tmp_path):
    labels, table = from_features(scene, tmp_path, ["roof", "roof"])
    assert names_of(table) == ["background", "roof"] and labels.mask(WHOLE).sum() == 8


def test_a_layer_without_a_field_takes_its_name_from_the_classes(scene, tmp_path):
    _, table = from_features(scene, tmp_path, None, classes=["tree"])
    assert names_of(table) == ["background", "tree"]


def test_background_true_makes_the_rest_a_class(scene, tmp_path):
    labels, table = from_features(scene, tmp_path, ["a", "b"], background=True)
    assert names_of(table) == ["background", "a", "b"]
    assert labels.mask(WHOLE)[0, :5].tolist() == [1, 1, 2, 2, 0]


def test_background_false_needs_a_second_class(scene, tmp_path):
    with pytest.raises(DataError, match=r"one class only \(feature\).*background=true"):
        from_features(scene, tmp_path, None, background=False)
    _, table = from_features(scene, tmp_path, ["a", "b"], background=False)
    assert table.background is None


def test_a_list_of_classes_sets_their_order(scene, tmp_path):
    labels, table = from_features(scene, tmp_path, ["a", "b", "c"], classes=["c", "a", "b"])
    assert names_of(table) == ["c", "a", "b"]
    assert labels.mask(WHOLE)[0, :6:2].tolist() == [1, 2, 0]


def test_numbers_in_the_field_are_the_values_of_the_classes(scene, tmp_path):
    _, table = from_features(scene, tmp_path, [10, 9, 200])
    assert [(c.value, c.name) for c in table.classes] == [(9, "9"), (10, "10"), (200, "200")]


def test_a_mapping_names_numbers_and_groups_them(scene, tmp_path):
    classes = {1: "wood", 2: "wood", 7: "water"}
    labels, table = from_features(scene, tmp_path, [1, 2, 7], classes=classes)
    assert [(c.value, c.name) for c in table.classes] == [(1, "wood"), (7, "water")]
    assert labels.mask(WHOLE)[0, :6:2].tolist() == [0, 0, 1]


def test_a_mapping_groups_names(scene, tmp_path):
    classes = {"oak": "tree", "pine": "tree", "road": "road"}
    labels, table = from_features(scene, tmp_path, ["oak", "pine", "road"], classes=classes)
    assert names_of(table) == ["tree", "road"]
    assert labels.mask(WHOLE)[0, :6:2].tolist() == [0, 0, 1]


def test_features_without_a_class_stay_unlabelled(scene, tmp_path):
    labels, table = from_features(scene, tmp_path, ["a", None, "b"])
    assert names_of(table) == ["a", "b"] and labels.mask(WHOLE)[0, 2] == IGNORE_INDEX


def test_a_class_in_the_layer_that_the_list_lacks_is_an_error(scene, tmp_path):
    with pytest.raises(DataError, match=r"features of class 'c' are not in dataset\.classes"):
        from_features(scene, tmp_path, ["a", "b", "c"], classes=["a", "b"])


def test_a_class_in_the_list_without_a_feature_is_an_error(scene, tmp_path):
    with pytest.raises(DataError, match=r"no features of class c; take it from"):
        from_features(scene, tmp_path, ["a", "b"], classes=["a", "b", "c"])


def test_several_names_for_a_layer_without_a_field_are_an_error(scene, tmp_path):
    with pytest.raises(DataError, match=r"names 2 classes, but without dataset\.label_field"):
        from_features(scene, tmp_path, None, classes=["a", "b"])


def test_two_entries_of_a_list_with_one_name_are_one_class(scene, tmp_path):
    _, table = from_features(scene, tmp_path, ["a", "b"], classes=["a", "b", "a"])
    assert names_of(table) == ["a", "b"]


def test_class_values_are_distinct_whatever_the_mapping(scene, tmp_path):
    classes = {"oak": "tree", 1: "road"}
    _, table = from_features(scene, tmp_path, ["oak", "1"], classes=classes)
    assert len({item.value for item in table.classes}) == 2


def test_a_class_of_value_zero_leaves_no_place_for_a_background(scene, tmp_path):
    with pytest.raises(DataError, match="needs class value 0 free"):
        from_features(scene, tmp_path, [0, 1], background=True)


def test_more_classes_than_a_byte_holds_are_an_error(scene, tmp_path):
    with pytest.raises(DataError, match="256 classes found; at most 255"):
        make_table([], range(1, 257), classes=None, background=False)


def test_zero_in_a_raster_is_unlabelled(scene, tmp_path):
    labels, table = from_raster(scene, tmp_path, cover(3, 8))
    assert [(c.value, c.name) for c in table.classes] == [(3, "class_3"), (8, "class_8")]
    assert labels.mask(WHOLE)[0, :3].tolist() == [0, 1, IGNORE_INDEX]


def test_zero_in_a_raster_is_background_where_asked(scene, tmp_path):
    labels, table = from_raster(scene, tmp_path, cover(3, 8), background=True)
    assert names_of(table) == ["background", "class_3", "class_8"]
    assert labels.mask(WHOLE)[0, :3].tolist() == [1, 2, 0]


def test_zero_in_a_raster_is_a_class_where_it_is_named(scene, tmp_path):
    labels, table = from_raster(scene, tmp_path, cover(1, 1), classes={0: "rest", 1: "roof"})
    assert names_of(table) == ["rest", "roof"] and table.background is None
    assert labels.mask(WHOLE)[0, :3].tolist() == [1, 1, 0]


def test_names_for_a_raster_count_from_one(scene, tmp_path):
    _, table = from_raster(scene, tmp_path, cover(1, 2, 3), classes=["a", "b", "c"])
    assert [(c.value, c.name) for c in table.classes] == [(1, "a"), (2, "b"), (3, "c")]


def test_names_for_a_raster_follow_its_values_where_they_do_not_count_up(scene, tmp_path):
    _, table = from_raster(scene, tmp_path, cover(10, 30), classes=["a", "b"])
    assert [(c.value, c.name) for c in table.classes] == [(10, "a"), (30, "b")]


def test_values_of_a_raster_that_share_a_name_are_one_class(scene, tmp_path):
    classes = {1: "wood", 2: "wood", 7: "water"}
    labels, table = from_raster(scene, tmp_path, cover(1, 2, 7), classes=classes)
    assert [(c.value, c.name) for c in table.classes] == [(1, "wood"), (7, "water")]
    assert labels.mask(WHOLE)[0, :4].tolist() == [0, 0, 1, IGNORE_INDEX]


def test_a_value_of_a_raster_that_has_no_name_is_an_error(scene, tmp_path):
    with pytest.raises(DataError, match=r"holds values \[7\].*name or map them"):
        from_raster(scene, tmp_path, cover(1, 2, 7), classes={1: "a", 2: "b"})
    with pytest.raises(DataError, match=r"holds values \[1, 2, 7\].*names 2; name each"):
        from_raster(scene, tmp_path, cover(1, 2, 7), classes=["a", "b"])


def test_a_name_whose_value_the_raster_lacks_is_an_error(scene, tmp_path):
    with pytest.raises(DataError, match="no labelled pixel of class 9 c"):
        from_raster(scene, tmp_path, cover(1, 2), classes={1: "a", 2: "b", 9: "c"})


def test_a_raster_of_one_class_needs_a_background(scene, tmp_path):
    with pytest.raises(DataError, match=r"one class only \(class_1\).*background=true"):
        from_raster(scene, tmp_path, cover(1))
    _, table = from_raster(scene, tmp_path, cover(1), background=True)
    assert names_of(table) == ["background", "class_1"]


def test_an_empty_raster_is_an_error(scene, tmp_path):
    with pytest.raises(DataError, match="one class only"):
        from_raster(scene, tmp_path, cover())


def test_labels_of_fractions_are_an_error(scene, tmp_path):
    path = write(tmp_path / "cover.tif", noise(20, 20, dtype="float32"))
    with pytest.raises(DataError, match="labels of type float32; expected whole class values"):
        open_labels(str(path), scene, label_field=None, all_touched=False)


def test_a_raster_on_another_grid_is_read_on_the_scene(scene, tmp_path):
    values = np.kron(np.random.default_rng(0).integers(1, 4, (14, 14)), np.ones((1, 1), np.uint8))
    path = write(tmp_path / "cover.tif", values.astype(np.uint8), transform=grid(-4, -4, gsd=1.0))
    labels = open_labels(str(path), scene, label_field=None, all_touched=False)
    make_table([labels], [1, 2, 3], classes=None, background=False)
    expected = values.repeat(2, 0).repeat(2, 1)[4:24, 4:24] - 1
    np.testing.assert_array_equal(labels.mask(WHOLE), expected)


def test_what_a_raster_on_another_grid_does_not_reach_is_unlabelled(scene, tmp_path):
    path = write(tmp_path / "cover.tif", np.full((20, 20), 2, np.uint8), transform=grid(10, 0))
    labels = open_labels(str(path), scene, label_field=None, all_touched=False)
    make_table([labels], [1, 2], classes=None, background=False)
    mask = labels.mask(WHOLE)
    assert (mask[:, :10] == IGNORE_INDEX).all() and (mask[:, 10:] == 1).all()


def test_nodata_of_a_label_raster_is_unlabelled(scene, tmp_path):
    path = write(tmp_path / "cover.tif", cover(1, 2, 9), nodata=9)
    labels = open_labels(str(path), scene, label_field=None, all_touched=False)
    assert distinct_values(labels.raster, [WHOLE]) == {0, 1, 2}
    make_table([labels], [0, 1, 2], classes=None, background=False)
    assert labels.mask(WHOLE)[0, 2] == IGNORE_INDEX


def test_nodata_of_a_label_raster_is_no_background_either(scene, tmp_path):
    path = write(tmp_path / "cover.tif", cover(1, 0, 9), nodata=9)
    labels = open_labels(str(path), scene, label_field=None, all_touched=False)
    make_table([labels], [0, 1], classes=None, background=True)
    assert labels.mask(WHOLE)[0, :3].tolist() == [1, 0, IGNORE_INDEX]


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize(
    ("options", "zero"),
    [
        ({"classes": {0: "rest", 1: "roof"}, "background": False}, 0),
        ({"classes": None, "background": True}, 0),
        ({"classes": {1: "roof", 2: "road"}, "background": False}, IGNORE_INDEX),
    ],
)
def test_zeros_that_are_nodata_too_are_what_the_classes_say(scene, tmp_path, moved, options, zero):
    """Also on another grid, beyond whose edge nothing is known."""
    values = cover(1, 0, 2) if options["classes"] == {1: "roof", 2: "road"} else cover(1, 0)
    place = grid(3, 0) if moved else None
    path = write(tmp_path / "cover.tif", values, nodata=0, transform=place)
    labels = open_labels(str(path), scene, label_field=None, all_touched=False)
    found = distinct_values(labels.raster, [WHOLE])
    assert 0 in found
    make_table([labels], sorted(found), **options)
    mask, shift = labels.mask(WHOLE), 3 if moved else 0
    assert mask[0, shift] != IGNORE_INDEX and mask[0, shift + 1] == zero
    assert (mask[:, :shift] == IGNORE_INDEX).all()


def test_features_without_a_class_are_no_background_either(scene, tmp_path):
    path = layer(tmp_path / "a.gpkg", [box(1, 1, 4, 4), box(6, 1, 9, 4)], kind=["a", None])
    labels = open_labels(str(path), scene, label_field="kind", all_touched=False)
    make_table([labels], [], classes=None, background=True)
    assert labels.mask(WHOLE)[2, [0, 2, 7]].tolist() == [0, 1, IGNORE_INDEX]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 300), min_size=2, max_size=30), st.booleans(), st.integers(0, 9))
def test_every_value_is_looked_up_or_unlabelled(values, background, seed):
    found = sorted(set(values))
    if len([v for v in found if v]) < 2:
        return
    table = make_table([], found, classes=None, background=background)
    plane = np.array(values)[None]
    valid = np.random.default_rng(seed).random(plane.shape) < 0.8
    mask = table.look_up(plane, valid)
    for value, known, index in zip(plane[0], valid[0], mask[0], strict=True):
        if value and known:
            assert table.classes[index].value == value
        else:
            assert index == (0 if background and known else IGNORE_INDEX)


def test_all_touched_reaches_the_mask(scene, tmp_path):
    path = layer(tmp_path / "a.gpkg", [box(3.6, 3.6, 5.4, 5.4)])
    masks = []
    for touched in (False, True):
        labels = open_labels(str(path), scene, label_field=None, all_touched=touched)
        make_table([labels], [], classes=None, background="auto")
        masks.append(int(labels.mask(WHOLE).sum()))
    assert masks == [1, 9]


def test_the_classes_of_several_layers_are_one_list(scene, tmp_path):
    made = []
    for number, name in enumerate(("oak", "birch")):
        path = layer(tmp_path / f"{number}.gpkg", [box(1, 1, 4, 4)], kind=[name])
        made.append(open_labels(str(path), scene, label_field="kind", all_touched=False))
    table = make_table(made, [], classes=None, background="auto")
    assert names_of(table) == ["birch", "oak"] and table.background is None
    assert [item.mask(WHOLE)[1, 1] for item in made] == [1, 0]
    assert all(isinstance(item.vector, VectorLabels) for item in made)


def test_colours_of_the_source_replace_the_default_ones():
    classes = make_classes(["a", "b"])
    changed = recolour(classes, {2: (1, 2, 3)})
    assert changed[0] == classes[0] and changed[1].color == (1, 2, 3)


def test_distinct_values_are_found_in_every_window(tmp_path):
    reader = RasterReader(write(tmp_path / "a.tif", cover(3, 8)))
    assert distinct_values(reader, [PixelWindow(5, 0, 9, 9)]) == {0}
    assert distinct_values(reader, [PixelWindow(5, 0, 9, 9), WHOLE]) == {0, 3, 8}
