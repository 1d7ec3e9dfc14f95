"""Loaders: that workers leave alone what is not theirs."""

import gc
import os

import torch

from geomm.engine.loaders import build_loader


class _Relic:
    """Garbage in a cycle; says which process collected it."""

    def __init__(self, file):
        self.file, self.own = file, self

    def __del__(self):
        self.file.write_text(f"{self.file.read_text() if self.file.exists() else ''}{os.getpid()} ")


class _Collecting:
    """Samples whose making collects garbage."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        gc.collect()
        return index


def test_a_worker_does_not_collect_the_parents_garbage(tmp_path):
    gc.collect()
    gc.disable()
    try:
        file = tmp_path / "collected"
        _Relic(file)
        loader = build_loader(
            _Collecting(), batch_size=2, workers=1, collate=list, shuffle=False, seed=0,
            device=torch.device("cpu"),
        )  # fmt: skip
        assert list(loader) == [[0, 1], [2, 3]]
        assert not file.exists()
        gc.collect()
        assert file.read_text() == f"{os.getpid()} "
    finally:
        gc.enable()
