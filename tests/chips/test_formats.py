"""What each format writes for a chip."""

import pytest
import shapely

from geomm.chips import export_chips
from geomm.chips.options import ChipOptions
from geomm.datasets.pictures.chips import NamedChips
from geomm.io.class_folders import class_folders
from tests.chips.scenes import dataset, write_town


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        ("a/b a:b c", "a_b a_b_2 c"),
        ("a/b a_b", "a_b_2 a_b"),
        ("a/b a:b a_b_2", "a_b a_b_3 a_b_2"),
        ("Tree tree TREE", "Tree tree_2 TREE_3"),
        ("? * .", "_ __2 __3"),
        ("roof pool", "roof pool"),
    ],
)
def test_no_two_classes_share_a_folder(names, folders):
    assert class_folders(names.split()) == folders.split()


def test_classes_stay_apart_in_an_export_as_imagenet(tmp_path):
    kinds = ["a/b", "a:b", "a_b"]
    squares = [
        (shapely.box(32 * number + 4, 4, 32 * number + 24, 24), kinds[number % 3]) for number in range(6)
    ]
    town = write_town(tmp_path, 192, 32, squares)
    export_chips(
        dataset(*town), tmp_path / "chips", ChipOptions(format="Imagenet", tile_px=32, progress=False)
    )
    pictures = NamedChips(root=str(tmp_path / "chips")).find()
    assert sorted(picture.names[0] for picture in pictures) == sorted(2 * kinds)
