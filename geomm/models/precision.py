"""What a device computes in by itself."""

from __future__ import annotations

import torch


def computes_in_bf16(device: torch.device) -> bool:
    """Say whether a device has instructions for bfloat16; torch emulates it on others, slowly.

    GPUs have them from Ampere on, and AMD's under ROCm; CPUs with AVX512-BF16, AMX or Arm's BF16.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return any(has for name, has in torch.cpu.get_capabilities().items() if "bf16" in name)
    return False
