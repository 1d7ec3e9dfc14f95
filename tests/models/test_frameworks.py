"""Frameworks are imported when a name asks for one, and not before."""

import subprocess
import sys

import pytest

from geomm.errors import DependencyError
from geomm.models import frameworks, mmcv_ops
from geomm.models.maps import mmagic_bridge
from geomm.registry import MODELS, get


def loaded_after(code):
    report = "import sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    command = [sys.executable, "-W", "ignore", "-c", f"{code}\n{report}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_geomms_own_models_bring_no_framework():
    assert not loaded_after("import geomm.models") & frameworks.FRAMEWORKS.keys()


@pytest.mark.parametrize("name", ["mmseg.PSPHead", "mmdet.Darknet", "mmpretrain.ResNet"])
def test_a_name_with_a_prefix_is_the_frameworks(name):
    scope, _, cls = name.partition(".")
    pytest.importorskip(scope)
    found = get(MODELS, name)
    assert found.__name__ == cls and found.__module__.startswith(f"{scope}.")


@pytest.mark.parametrize("scope", frameworks.FRAMEWORKS)
def test_a_framework_that_is_missing_is_named_with_the_command(monkeypatch, scope):
    def missing(*_):
        raise ModuleNotFoundError(f"No module named {scope!r}", name=scope)

    mmcv_ops.install()  # imports too, if nothing has done so before
    monkeypatch.setattr(mmagic_bridge, "load", missing)
    monkeypatch.setattr(frameworks.importlib, "import_module", missing)
    with pytest.raises(DependencyError, match=f"^{scope} is not installed; pip install"):
        frameworks.load_framework(scope)


def test_what_a_framework_itself_lacks_is_not_hidden(monkeypatch):
    def missing(*_):
        raise ModuleNotFoundError("No module named 'ftfy'", name="ftfy")

    mmcv_ops.install()
    monkeypatch.setattr(frameworks.importlib, "import_module", missing)
    with pytest.raises(ModuleNotFoundError, match="ftfy"):
        frameworks.load_framework("mmseg")
