"""The demo of `make demo`: train on real airborne imagery, map a scene that was not trained on.

The scenes are those of the National Ecological Observatory Network that the PyPI package deepforest
(MIT) carries: RGB at 10 cm with tree crowns drawn by hand.
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from geomm import cli

RUN = Path("runs/demo")
OUT = RUN / "map"


def main() -> int:
    from geomm.samples import make
    from geomm.samples.store import samples_folder

    started = time.monotonic()
    scenes = make("tree_crowns", samples_folder())
    status = cli.train(["experiment=crown_cover", f"work_dir={RUN}"])
    if status:
        return status
    unseen = scenes["unseen"]
    status = cli.infer(
        [f"model={RUN}/model.dlpk", f"input={unseen}", f"output={OUT}", "inference.polygons=true"]
    )
    if status:
        return status
    metrics = json.loads((RUN / "metrics.json").read_text(encoding="utf-8"))
    name = Path(unseen).stem
    share = crown_iou(OUT / f"{name}.tif", scenes["unseen_labels"])
    print(f"\nDone in {(time.monotonic() - started) / 60:.1f} minutes.")
    print(f"  {metrics['monitor']['name']} on held-back blocks: {metrics['monitor']['value']:.3f}")
    print(f"  IoU of tree crowns in {name}, which was not trained on: {share:.3f}")
    print("Look at")
    for what, path in (
        ("the map", OUT / f"{name}.tif"),
        ("its polygons", OUT / f"{name}.gpkg"),
        ("the picture", OUT / f"{name}_preview.png"),
        ("the metrics", RUN / "metrics.json"),
        ("the figures", RUN / "figures"),
        ("the model", RUN / "model.dlpk"),
    ):
        print(f"  {what:<13} {path.resolve()}")
    return 0


def crown_iou(class_map: Path, labels: str) -> float:
    """Return the IoU of the mapped crowns with those that people drew."""
    from geomm.io.raster import RasterReader
    from geomm.io.vector import VectorLabels
    from geomm.structures import PixelWindow

    reader = RasterReader(class_map)
    whole = PixelWindow(0, 0, reader.info.width, reader.info.height)
    found = reader.read(whole)[0][0] == 1  # the value of the only class beside the background
    drawn = VectorLabels.open(labels, reader.info, label_field=None).burn(whole, 1, fill=0) == 1
    return float((found & drawn).sum() / (found | drawn).sum())


if __name__ == "__main__":
    sys.exit(main())
