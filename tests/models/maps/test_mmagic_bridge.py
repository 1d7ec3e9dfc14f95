"""The bridge stands in for the ``__init__`` modules of mmagic that cannot be imported.

Tests of it run in a process of their own: what the bridge does to ``sys.modules`` lasts.
"""

import importlib.util
import subprocess
import sys
import textwrap

import pytest

from geomm.errors import DependencyError
from geomm.models.frameworks import load_framework
from geomm.models.maps import mmagic_bridge

needs_mmagic = pytest.mark.skipif(
    importlib.util.find_spec("mmagic") is None,
    reason="mmagic is not installed (pip install --no-deps mmagic==1.2.0)",
)


def run(code):
    """Run code in a fresh interpreter; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


@needs_mmagic
def test_mmagic_itself_does_not_import():
    """The day that it does, the bridge may go."""
    code = "import mmagic.models"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "mmcv" in done.stderr


@needs_mmagic
def test_the_networks_register_build_enlarge_and_learn():
    found = run(
        """
        import torch
        from geomm.registry import MODELS, get

        plain = dict(in_channels=3, out_channels=3, mid_channels=8, num_blocks=1)
        networks = {
            "SRCNNNet": dict(channels=(3, 8, 8, 3), upscale_factor=4),
            "EDSRNet": dict(plain, upscale_factor=4),
            "RDNNet": dict(plain, upscale_factor=4, num_layers=2, channel_growth=8),
            "MSRResNet": dict(plain, upscale_factor=4),
            "RRDBNet": dict(plain, upscale_factor=4, growth_channels=4),
            "SwinIRNet": dict(
                upscale=4, in_chans=3, img_size=16, window_size=8, depths=[2], embed_dim=12,
                num_heads=[2], upsampler="pixelshuffle",
            ),
        }
        for name, options in networks.items():
            torch.manual_seed(0)
            network = get(MODELS, f"mmagic.{name}")(**options)
            out = network(torch.rand(1, 3, 16, 16))
            out.mean().backward()
            reached = all(p.grad is not None for p in network.parameters() if p.requires_grad)
            print(name, tuple(out.shape), reached)
        for name in ("BaseEditModel", "SRGAN", "ESRGAN", "RealESRGAN", "L1Loss", "CharbonnierLoss",
                     "GANLoss", "PerceptualLoss", "DataPreprocessor"):
            print(get(MODELS, "mmagic." + name).__name__)
        """
    )
    networks = ("SRCNNNet", "EDSRNet", "RDNNet", "MSRResNet", "RRDBNet", "SwinIRNet")
    assert found.splitlines() == [
        *(f"{name} (1, 3, 64, 64) True" for name in networks),
        *("BaseEditModel", "SRGAN", "ESRGAN", "RealESRGAN", "L1Loss", "CharbonnierLoss"),
        *("GANLoss", "PerceptualLoss", "DataPreprocessor"),
    ]


@needs_mmagic
def test_mmcv_and_numpy_are_left_as_they_were_also_when_an_import_fails():
    found = run(
        """
        import sys
        import mmcv, numpy
        from geomm.models.maps import mmagic_bridge
        from geomm.models.frameworks import load_framework

        version, names = mmcv.__version__, dict(vars(numpy))

        def untouched():
            same = all(getattr(numpy, name) is value for name, value in names.items())
            return mmcv.__version__ == version and same and not hasattr(numpy, "bool8")

        load_framework("mmagic")
        models = sys.modules["mmagic.models"]
        load_framework("mmagic")
        print(untouched(), sys.modules["mmagic.models"] is models)
        print([name for name in ("diffusers", "open_clip") if name in sys.modules])

        del sys.modules["mmagic.models"]
        mmagic_bridge._MODULES = ("editors.no_such_network",)
        try:
            mmagic_bridge.load()
        except ModuleNotFoundError as error:
            print(error.name, untouched())
        """
    )
    assert found.splitlines() == [
        "True True",
        "[]",
        "mmagic.models.editors.no_such_network True",
    ]


def test_a_machine_without_mmagic_is_told_how_to_get_it(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "mmagic"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(mmagic_bridge, "PathFinder", NoFinder)
    with pytest.raises(DependencyError) as caught:
        load_framework("mmagic")
    assert str(caught.value) == "mmagic is not installed; pip install --no-deps mmagic==1.2.0"


class NoFinder:
    @staticmethod
    def find_spec(name):
        return None
