"""Look at a package: python tools/package.py show|verify|export model.dlpk.

``--help`` lists every option.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from geomm.cli import package

if __name__ == "__main__":
    sys.exit(package())
