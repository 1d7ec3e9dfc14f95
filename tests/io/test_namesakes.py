"""Files of one name are told apart by their folders."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomm.io.namesakes import namesakes, scenes_of_labels

folders = st.lists(st.sampled_from("abc"), max_size=3).map(tuple)
files = st.builds(lambda parts, stem, end: "/".join([*parts, stem + end]),
                  folders, st.sampled_from(["1", "2"]), st.sampled_from([".tif", ".png"]))  # fmt: skip


@settings(deadline=None, derandomize=True)
@given(st.lists(st.tuples(folders, st.sampled_from(["1", "2"])), unique=True, max_size=12))
def test_in_trees_that_are_alike_each_file_has_its_own(tree):
    images = tuple("/".join(["/d/images", *parts, f"{stem}.tif"]) for parts, stem in tree)
    labels = tuple("\\".join(["labels", *parts, f"{stem}.xml"]) for parts, stem in tree)
    assert namesakes(labels, images) == tuple((index,) for index in range(len(tree)))


@settings(deadline=None, derandomize=True)
@given(st.lists(files, max_size=8), st.lists(files, max_size=8))
def test_who_is_alike_does_not_depend_on_who_asks(paths, others):
    there, back = namesakes(tuple(paths), tuple(others)), namesakes(tuple(others), tuple(paths))
    pairs = {(one, two) for one, found in enumerate(there) for two in found}
    assert pairs == {(one, two) for two, found in enumerate(back) for one in found}


@pytest.mark.parametrize(
    ("path", "others", "found"),
    [
        ("b/tile.xml", ["a/tile.tif", "b/tile.tif"], (1,)),
        ("tile.xml", ["a/tile.tif", "b/tile.tif"], (0, 1)),
        ("tile.png", ["a/tile.tif", "b/tile.png"], (1,)),
        ("b/tile.png", ["a/tile.png", "b/tile.tif"], (1,)),
        ("train/labels/1.xml", ["train/images/1.tif", "val/images/1.tif"], (0,)),
        ("1.tif", ["a/1.tif", "./1.tif"], (1,)),
        ("2.xml", ["a/1.tif"], ()),
        ("", ["a/1.tif"], ()),
    ],
)
def test_the_folders_nearest_to_the_file_count_most(path, others, found):
    assert namesakes((path,), tuple(others)) == (found,)


def test_what_another_is_more_alike_to_is_its_own():
    assert namesakes(("a/1.tif", "b/1.tif"), ("x/a/1.xml",)) == ((0,), ())


def test_paths_in_labels_begin_in_their_folder():
    scenes = ("/d/1.tif", "/d/a/1.tif")
    assert scenes_of_labels(("1.tif",), scenes, "/d/boxes.csv") == {"1.tif": ("/d/1.tif",)}
    assert scenes_of_labels(("1.tif", ""), scenes, "/e/boxes.csv") == {"1.tif": scenes, "": ()}
