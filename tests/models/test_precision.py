"""Which devices compute in bfloat16 by themselves."""

import pytest
import torch

from geomm.models.precision import computes_in_bf16


@pytest.mark.parametrize(
    ("has", "expected"),
    [({"avx2": True}, False), ({"avx512_bf16": True, "amx_bf16": False}, True), ({"sve_bf16": False}, False)],
)
def test_a_cpu_by_its_instructions(has, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert computes_in_bf16(torch.device("cpu")) is expected


def test_this_processor_says_what_it_has():
    assert computes_in_bf16(torch.device("cpu")) in (True, False)
    assert computes_in_bf16(torch.device("meta")) is False


def test_a_gpu_that_only_emulates_it_does_not_count(monkeypatch):
    asked = {}
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **options: bool(asked.update(options)))
    assert computes_in_bf16(torch.device("cuda")) is False
    assert asked == {"including_emulation": False}
