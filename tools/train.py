"""Train a model: python tools/train.py task=segmentation dataset.images=A.tif dataset.labels=B.gpkg.

``--help`` lists every group and name, ``--cfg job`` prints the whole run.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from geomm.cli import train

if __name__ == "__main__":
    sys.exit(train())
