"""Each xml goes with its own image, whatever else has that name."""

import logging
from pathlib import Path

import pytest

from geomm.datasets import VocChips
from geomm.errors import DataError
from tests.datasets.objects.test_chips import SIZE, png
from tests.datasets.objects.test_targets import voc_xml


def xml(path, left, named=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    box = (left, 4, left + 9, 14, "a")
    path.write_text(voc_xml([box], f"{path.stem}.png" if named is None else named, (SIZE, SIZE)))


def pairs(root, **options):
    """The image of each chip below the root, and where its object begins."""
    source = VocChips(root=str(root), **options)
    source.prepare(None)
    chips = [chip for name in ("train", "val") for chip in source.split(name).chips]
    return {str(Path(chip.image).relative_to(root)): int(chip.labels.boxes[0, 0]) for chip in chips}


@pytest.mark.parametrize("layout", ["{kind}/{part}", "{part}/{kind}"])
def test_images_of_one_name_go_by_their_folders(tmp_path, layout):
    expected = {}
    for part, left in (("train", 3), ("val", 20)):
        image, label = (tmp_path / layout.format(part=part, kind=k) for k in ("JPEGImages", "Annotations"))
        for number in range(2):
            png(image / f"{number}.png", number)
            xml(label / f"{number}.xml", left + number)
            expected[str((image / f"{number}.png").relative_to(tmp_path))] = left + number
    assert pairs(tmp_path) == expected


@pytest.mark.parametrize("masks", ["annotations/trimaps", "SegmentationClass"])
def test_masks_are_no_images(tmp_path, masks, caplog):
    for number in range(3):
        png(tmp_path / "images" / f"{number}.png", number)
        png(tmp_path / masks / f"{number}.png", 9)
        xml(tmp_path / "annotations" / "xmls" / f"{number}.xml", 5)
    with caplog.at_level(logging.WARNING, "geomm"):
        assert set(pairs(tmp_path)) == {f"images/{number}.png" for number in range(3)}
    assert "left out" not in caplog.text


def test_images_may_lie_among_the_annotations(tmp_path):
    for number in range(3):
        png(tmp_path / "annotations" / "images" / f"{number}.png", number)
        xml(tmp_path / "annotations" / "xmls" / f"{number}.xml", 5)
    assert len(pairs(tmp_path)) == 3


def test_the_filename_tells_what_the_stem_does_not(tmp_path):
    for name in ("0.png", "0.tif", "b.png", "c.png"):
        png(tmp_path / "images" / name, 0)
    xml(tmp_path / "xmls" / "0.xml", 3, "0.png")
    xml(tmp_path / "xmls" / "label_7.xml", 7, "b.png")
    xml(tmp_path / "xmls" / "c.xml", 9, "0.png")  # renamed with its image
    assert pairs(tmp_path) == {"images/0.png": 3, "images/b.png": 7, "images/c.png": 9}


def two_images(root):
    png(root / "images" / "old" / "0.png", 0)


def two_labels(root):
    xml(root / "xmls" / "old" / "0.xml", 9)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(two_images, "may be of .*0.png or .*0.png; keep"), (two_labels, "may have the labels of .* or of ")],
)
def test_what_stays_unclear_is_refused_or_left_out(tmp_path, spoil, message, caplog):
    for number in range(4):
        png(tmp_path / "images" / f"{number}.png", number)
        xml(tmp_path / "xmls" / f"{number}.xml", 5)
    spoil(tmp_path)
    with pytest.raises(DataError, match=message):
        pairs(tmp_path)
    with caplog.at_level(logging.WARNING, "geomm"):
        assert sorted(pairs(tmp_path, on_error="skip")) == [f"images/{n}.png" for n in (1, 2, 3)]
    assert "several" in caplog.text and ": 1" in caplog.text
