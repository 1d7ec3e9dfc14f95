#!/bin/sh
# Makes .venv with everything pinned in requirements/lock.txt. Called by `make setup`; safe to run again.
# PYTHON=/path/to/python chooses the interpreter (3.10 to 3.12).
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "setup: $*" >&2; }

# apt-get where the user may, else the command to type.
apt_install() {
  if [ "$(id -u)" = 0 ]; then as_root=""
  elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then as_root="sudo -n"
  else as_root=none; fi
  if [ "$as_root" != none ] && command -v apt-get >/dev/null 2>&1; then
    say "installing $*"
    log=$(mktemp)
    # An index that cannot be refreshed may still hold the packages.
    DEBIAN_FRONTEND=noninteractive $as_root apt-get update -qq >"$log" 2>&1 || true
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends "$@" >>"$log" 2>&1 && rm -f "$log" && return 0
    tail -n 5 "$log" >&2; rm -f "$log"
  fi
  say "missing system packages; install them with: sudo apt-get install $*"
  return 1
}

supported() { "$1" -c 'import sys; raise SystemExit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null; }

find_python() {
  for candidate in ${PYTHON:-} python3.11 python3.12 python3.10 python3 python; do
    if command -v "$candidate" >/dev/null 2>&1 && supported "$candidate"; then
      command -v "$candidate"; return 0
    fi
  done
  return 1
}

python=$(find_python) || {
  say "no Python 3.10, 3.11 or 3.12 found; install one (sudo apt-get install python3 python3-venv) or give PYTHON=/path/to/python"
  exit 1
}

# An environment whose interpreter has gone, or is another version now, is made anew.
if [ ! -x .venv/bin/python ] || ! supported .venv/bin/python || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
  rm -rf .venv
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    apt_install "python$version-venv" || apt_install python3-venv || exit 1
  fi
  say "making .venv with $python"
  "$python" -m venv .venv
fi

# What wheels take from the system: rasterio libexpat, LightGBM libgomp.
missing=$(.venv/bin/python - <<'PY'
import ctypes
for library, package in {"libexpat.so.1": "libexpat1", "libgomp.so.1": "libgomp1"}.items():
    try:
        ctypes.CDLL(library)
    except OSError:
        print(package, end=" ")
PY
)
# shellcheck disable=SC2086
[ -z "$missing" ] || apt_install $missing || say "going on without them"

say "installing the pinned packages (about 3 minutes the first time)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile -r requirements/lock.txt
.venv/bin/python -m pip uninstall --quiet --yes opencv-python >/dev/null 2>&1 || true
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
# Everything is imported once, so that what is wrong shows here, and so that Python keeps the byte code of just what
# is used: without it commands would take up to twenty seconds longer, where PYTHONDONTWRITEBYTECODE is set for good.
say "importing everything once"
PYTHONDONTWRITEBYTECODE='' .venv/bin/python tools/import_all.py || {
  say "the environment does not import; remove .venv and run make setup again"; exit 1; }
say "done: .venv/bin/python tools/train.py --help"
