"""The bridge stands in for the ``__init__`` modules of mmagic that cannot be imported.

Each test runs in a process of its own: what the bridge does to ``sys.modules`` lasts.
"""

import importlib.util
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(
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


def test_mmagic_itself_does_not_import():
    """The day that it does, the bridge may go."""
    code = "import mmagic.models"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "mmcv" in done.stderr


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
        """
    )
    assert found.splitlines() == [
        f"{name} (1, 3, 64, 64) True"
        for name in ("SRCNNNet", "EDSRNet", "RDNNet", "MSRResNet", "RRDBNet", "SwinIRNet")
    ]


def test_its_models_and_losses_register():
    found = run(
        """
        from geomm.registry import MODELS, get

        for name in ("BaseEditModel", "SRGAN", "ESRGAN", "RealESRGAN", "L1Loss", "CharbonnierLoss",
                     "GANLoss", "PerceptualLoss", "DataPreprocessor"):
            print(get(MODELS, "mmagic." + name).__name__)
        """
    )
    assert found.split() == [
        *("BaseEditModel", "SRGAN", "ESRGAN", "RealESRGAN", "L1Loss", "CharbonnierLoss"),
        *("GANLoss", "PerceptualLoss", "DataPreprocessor"),
    ]


def test_mmcv_and_numpy_are_left_as_they_were_and_loading_twice_is_loading_once():
    found = run(
        """
        import sys
        import mmcv, numpy
        from geomm.models.frameworks import load_framework

        version, names = mmcv.__version__, set(vars(numpy))
        load_framework("mmagic")
        models = sys.modules["mmagic.models"]
        load_framework("mmagic")
        print(mmcv.__version__ == version, set(vars(numpy)) == names)
        print(sys.modules["mmagic.models"] is models)
        print([name for name in ("diffusers", "transformers", "open_clip") if name in sys.modules])
        """
    )
    assert found.splitlines() == ["True True", "True", "[]"]


def test_mmcv_and_numpy_are_left_as_they_were_when_an_import_fails():
    found = run(
        """
        import mmcv, numpy
        from geomm.models import mmagic_bridge, mmcv_ops

        mmcv_ops.install()
        version, names = mmcv.__version__, set(vars(numpy))
        mmagic_bridge._MODULES = ("editors.no_such_network",)
        try:
            mmagic_bridge.load()
        except ModuleNotFoundError as error:
            print(error.name)
        print(mmcv.__version__ == version, set(vars(numpy)) == names)
        """
    )
    assert found.splitlines() == ["mmagic.models.editors.no_such_network", "True True"]


def test_a_machine_without_mmagic_is_told_how_to_get_it():
    found = run(
        """
        from importlib.machinery import PathFinder
        from geomm.errors import DependencyError
        from geomm.registry import MODELS, get

        real = PathFinder.find_spec
        PathFinder.find_spec = lambda name, *rest: None if name == "mmagic" else real(name, *rest)
        try:
            get(MODELS, "mmagic.SRCNNNet")
        except DependencyError as error:
            print(error)
        """
    )
    assert found == "mmagic is not installed; pip install --no-deps mmagic==1.2.0"
