"""Export a package for other runtimes: python tools/export.py model=model.dlpk format=onnx output=out/.

``--help`` lists every option.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from geomm.cli import export

if __name__ == "__main__":
    sys.exit(export())
