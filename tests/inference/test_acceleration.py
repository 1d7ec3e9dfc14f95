"""What is put around the model changes how fast it is, not what it says."""

from dataclasses import replace

import pytest
import torch

from geomm.inference.acceleration import CPU_BATCH, accelerate, automatic_batch
from geomm.inference.memory import reused_memory
from geomm.inference.options import RasterOptions

CPU = torch.device("cpu")


def slanted(inputs, valid):
    """Scores that depend on the place in the tile."""
    x = inputs.float() / 255
    ramp = torch.linspace(0, 1, x.shape[-1]).expand_as(x)
    return torch.cat([x, ramp, 1 - ramp, x * ramp], 1)


def inputs(dtype=torch.uint8, height=8, width=8):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 200, (2, 1, height, width), generator=generator).to(dtype)
    return pixels, torch.ones(2, height, width, dtype=torch.bool)


def test_scores_are_those_of_the_model(spec):
    run = accelerate(slanted, spec, RasterOptions(), CPU)
    found = run(*inputs())
    assert torch.equal(found, slanted(*inputs()))
    assert found.dtype == torch.float32 and found.is_contiguous()


def test_scores_of_flipped_and_turned_views_come_back_in_place(spec):
    run = accelerate(slanted, spec, RasterOptions(tta=True), CPU)
    found = run(*inputs())
    torch.testing.assert_close(found[:, :1], slanted(*inputs())[:, :1])
    # Averaged over all turns a ramp is flat.
    torch.testing.assert_close(found[:, 1], torch.full((2, 8, 8), 0.5))


def test_oblique_imagery_is_flipped_but_not_turned(spec):
    seen = []

    def note(pixels, valid):
        seen.append(pixels.shape)
        return slanted(pixels, valid)

    oblique = replace(spec, map_space=False)
    accelerate(note, oblique, RasterOptions(tta=True), CPU)(*inputs())
    assert len(seen) == 2
    seen.clear()
    accelerate(note, spec, RasterOptions(tta=True), CPU)(*inputs())
    assert len(seen) == 8


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.int16, torch.float64])
def test_every_dtype_can_be_turned(spec, dtype):
    found = accelerate(slanted, spec, RasterOptions(tta=True), CPU)(*inputs(dtype))
    torch.testing.assert_close(found[:, :1], slanted(*inputs())[:, :1])


def test_a_cpu_takes_a_few_tiles_a_batch(spec):
    assert automatic_batch(slanted, spec, 64, CPU) == CPU_BATCH


def test_memory_is_kept_for_the_next_batch_and_given_back(monkeypatch):
    calls = []

    class Library:
        def mallopt(self, parameter, value):
            calls.append((parameter, value))

        def malloc_trim(self, padding):
            calls.append("trim")

    monkeypatch.setattr("geomm.inference.memory.sys.platform", "linux")
    monkeypatch.setattr("geomm.inference.memory.ctypes.CDLL", lambda name: Library())
    with pytest.raises(KeyError), reused_memory(CPU):
        assert len(calls) == 3
        raise KeyError
    assert calls[-1] == "trim"
    assert calls[3][1] < calls[1][1]


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr("geomm.inference.memory.sys.platform", "darwin")
    monkeypatch.setattr("geomm.inference.memory.ctypes.CDLL", lambda name: pytest.fail("called"))
    with reused_memory(CPU):
        pass
