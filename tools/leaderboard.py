"""Tables and plots of a folder of runs: python tools/leaderboard.py runs=runs/sweep.

``--help`` lists every option.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from geomm.cli import leaderboard

if __name__ == "__main__":
    sys.exit(leaderboard())
