"""Run a benchmark of tools/benchmarks: `python tools/benchmark.py NAME [options]`."""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT.parent))


def main(argv: list[str]) -> int:
    names = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))
    if not argv or argv[0] not in names:
        wanted = argv[0] if argv else None
        asked = wanted in (None, "-h", "--help")
        said = "" if asked else f"there is no benchmark {wanted!r}\n"
        print(f"{said}usage: python tools/benchmark.py NAME [options]; NAME is {', '.join(names)}")
        return 0 if asked else 2
    module = runpy.run_path(str(ROOT / "benchmarks" / f"{argv[0]}.py"), run_name=argv[0])
    return module["main"](argv[1:]) or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
