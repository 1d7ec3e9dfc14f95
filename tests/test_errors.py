import pickle

from geomm.errors import ConfigError, Problem, did_you_mean


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
