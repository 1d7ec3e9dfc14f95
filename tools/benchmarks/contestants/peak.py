"""Peak memory of a process."""

from pathlib import Path


def peak_mb() -> float:
    """Return the most memory that this process has held, MB.

    Not by getrusage: a child's peak there begins at what its parent held when it was started.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
