import subprocess
import sys

import pytest

import geomm
from geomm.errors import ConfigError


def test_importing_geomm_is_light(root):
    code = "import sys, geomm; print(sorted({'torch', 'rasterio', 'hydra'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_available_names_what_there_is():
    assert {"unet", "deeplabv3plus"} <= set(geomm.available("head", task="segmentation"))
    assert "resnet18" in geomm.available("backbone")


def test_an_unknown_group_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'head'"):
        geomm.available("heads")
    with pytest.raises(ConfigError, match="unknown task 'detektion'; did you mean 'detection'"):
        geomm.available("head", task="detektion")


def test_mistakes_are_raised_as_one_error():
    with pytest.raises(ConfigError) as caught:
        geomm.train(["head=unett", "schedule.epocs=1"])
    assert len(caught.value.problems) == 3


def test_there_is_nothing_else():
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        geomm.trian  # noqa: B018
