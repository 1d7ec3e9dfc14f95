"""The demo of `make demo`: train on real airborne imagery, find tree crowns in a scene not trained on.

The scenes are those of the National Ecological Observatory Network that the PyPI package deepforest
(MIT) carries: RGB at 10 cm with a box around every tree crown, drawn by hand.
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
    status = cli.train(["experiment=tree_crowns", f"work_dir={RUN}"])
    if status:
        return status
    unseen = scenes["unseen"]
    status = cli.infer([f"model={RUN}/model.dlpk", f"input={unseen}", f"output={OUT}"])
    if status:
        return status
    from geomm.inference import judge_objects

    metrics = json.loads((RUN / "metrics.json").read_text(encoding="utf-8"))
    name = Path(unseen).stem
    # The layer holds what is above the model's working threshold, so that is what is judged.
    result = judge_objects(OUT / f"{name}.gpkg", scenes["unseen_boxes"], unseen, score_threshold=0.0)
    print(f"\nDone in {(time.monotonic() - started) / 60:.1f} minutes.")
    print(f"  {metrics['monitor']['name']} on held-back blocks: {metrics['monitor']['value']:.3f}")
    print(
        f"  In {name}, which was not trained on: {result['recall']:.0%} of the crowns that people drew were "
        f"found, and {result['precision']:.0%} of what was found is one of them"
    )
    print("Look at")
    for what, path in (
        ("the crowns", OUT / f"{name}.gpkg"),
        ("their style", OUT / f"{name}.qml"),
        ("the picture", OUT / f"{name}_preview.png"),
        ("the metrics", RUN / "metrics.json"),
        ("the figures", RUN / "figures"),
        ("the model", RUN / "model.dlpk"),
    ):
        print(f"  {what:<13} {path.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
