"""The fish sample's boxes are where the fish are."""

import csv
import json

from geomm.io.video import VideoReader
from geomm.samples import make


def test_stills_and_clip_have_their_truth(tmp_path):
    paths = make("fish_in_video", tmp_path)
    with open(paths["coco"]) as file:
        coco = json.load(file)
    assert len(coco["images"]) == 72 and len(coco["annotations"]) > 150
    assert {item["category_id"] for item in coco["annotations"]} == {1, 2}
    for item in coco["annotations"]:
        x, y, width, height = item["bbox"]
        assert 0 <= x and x + width <= 256 and 0 <= y and y + height <= 192 and width > 3 and height > 3
    with open(paths["clip_truth"]) as file:
        truth = list(csv.DictReader(file))
    frames = list(VideoReader(paths["clip"]))
    assert len(frames) == 150 and float(VideoReader(paths["clip"]).info.rate) == 25
    assert {int(row["frame"]) for row in truth} <= set(range(150)) and len({row["fish"] for row in truth}) > 1
    # In the middle of a box there is a fish: not the colours of water just left and right of it.
    clear = 0
    for row in truth[::10]:
        pixels = frames[int(row["frame"])].pixels.astype(int)
        x1, y1, x2, y2 = (int(float(row[key])) for key in ("xmin", "ymin", "xmax", "ymax"))
        inside = pixels[(y1 + y2) // 2, (x1 + x2) // 2]
        clear += abs(inside - pixels[max(y1 - 6, 0), max(x1 - 6, 0)]).max() > 20
    assert clear > 0.7 * len(truth[::10])
