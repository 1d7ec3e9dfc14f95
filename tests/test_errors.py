import errno
import os
import pickle

import pytest

from geomm.errors import ConfigError, Problem, did_you_mean, of_system


def test_the_nearest_name_is_suggested():
    assert did_you_mean("unett", ["unet", "pspnet"]) == "did you mean 'unet'? allowed: pspnet, unet"


def test_far_names_are_listed_only():
    assert did_you_mean("xyz", ["unet"]) == "allowed: unet"
    assert did_you_mean("xyz", []) == "there are none"


def test_long_lists_are_cut():
    assert did_you_mean("x", [f"n{i:02d}" for i in range(40)], limit=2) == "allowed: n00, n01, … (40 in all)"


def test_a_config_error_is_a_line_a_problem_and_travels_between_processes():
    error = ConfigError([Problem("head", "unknown"), Problem("", "no path")])
    assert str(error) == "head: unknown\nno path"
    again = pickle.loads(pickle.dumps(error))
    assert again.problems == error.problems


def test_an_error_of_the_system_is_a_line_with_its_cure(tmp_path):
    with pytest.raises(OSError) as caught:
        (tmp_path / ("a" * 300)).touch()
    assert str(of_system(caught.value)).startswith(f"{tmp_path}/aaa")
    assert str(of_system(caught.value)).endswith("File name too long; give the input a shorter name")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert str(of_system(full, "a.tif")).startswith("a.tif: No space left on device; free some space")
    assert str(of_system(OSError("no driver\nat all"), "a.tif")) == "a.tif: no driver"
