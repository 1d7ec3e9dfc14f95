"""Cut scenes and labels into chips: python tools/export_chips.py dataset.images=… format=coco output=chips/.

``--help`` lists every option.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from geomm.cli import export_chips

if __name__ == "__main__":
    sys.exit(export_chips())
