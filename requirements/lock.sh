#!/bin/sh
# Pins everything that requirements/dev.in needs, for Python 3.10 to 3.12 at once, in lock.txt.
# opencv-python is left out: it owns the same files as opencv-python-headless and needs libGL.
set -eu
cd "$(dirname "$0")"
PYTHON=${PYTHON:-../.venv/bin/python}
"$PYTHON" -m pip install --quiet uv
{
  echo "# Written by \`make lock\` from dev.in and data.in; installed with --no-deps, so that it is exact."
  "$PYTHON" -m uv pip compile --quiet --universal --python-version 3.10 --no-header --no-annotate dev.in |
    grep -v -E '^(opencv-python==|--)'
  grep -v '^#' data.in
} > lock.tmp
mv lock.tmp lock.txt
