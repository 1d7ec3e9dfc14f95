"""Map scenes with a trained package: python tools/infer.py model=model.dlpk input=city.tif output=out/.

``--help`` lists every option.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from geomm.cli import infer

if __name__ == "__main__":
    sys.exit(infer())
