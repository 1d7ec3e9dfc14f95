"""What all tests share: a quiet torch, the repository's root, the real sample data where it is."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# No test is judged by its time.
settings.register_profile("geomm", deadline=None)
settings.load_profile("geomm")

ROOT = Path(__file__).resolve().parent.parent
# Two test processes share two cores; a second thread each makes both several times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# mmcv and friends look for a newer self and a model zoo on some paths; nothing here needs a network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def shared_data():
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real sample data is not at {folder}")
    return folder
