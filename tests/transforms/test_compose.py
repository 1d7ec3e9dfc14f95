import numpy as np
import pytest

from geomm.errors import ConfigError
from geomm.registry import TRANSFORMS
from geomm.structures import RasterSample
from geomm.transforms import Compose, RandomFlip, RandomQuarterTurn, RandomZoom


def sample():
    image = np.arange(36, dtype=np.uint8).reshape(1, 6, 6)
    return RasterSample(image, np.ones((6, 6), bool), np.zeros((6, 6), np.uint8))


def test_transforms_come_in_the_order_of_the_config():
    made = Compose({"a": {"type": "RandomZoom"}, "b": {"type": "RandomFlip", "vertical": False}})
    assert [type(t) for t in made.transforms] == [RandomZoom, RandomFlip]
    assert not made.transforms[1].vertical


def test_none_switches_a_transform_off():
    assert Compose({"a": None, "b": {"type": "RandomFlip"}, "c": {}}).transforms[0].vertical
    assert Compose({"a": None}).transforms == []


def test_an_empty_list_changes_nothing():
    before = sample()
    assert Compose({})(before, np.random.default_rng(0)) is before


@pytest.mark.parametrize(("map_space", "kinds"), [(True, 2), (False, 1)])
def test_transforms_of_maps_are_left_out_of_photos(map_space, kinds):
    configs = {"turn": {"type": "RandomQuarterTurn"}, "flip": {"type": "RandomFlip"}}
    made = Compose(configs, map_space=map_space)
    assert len(made.transforms) == kinds
    assert any(isinstance(t, RandomQuarterTurn) for t in made.transforms) == map_space


def test_only_quarter_turns_assume_a_map():
    TRANSFORMS.import_from_location()
    ours = [c for c in TRANSFORMS.module_dict.values() if c.__module__.startswith("geomm.")]
    assert [c for c in ours if getattr(c, "map_space_only", False)] == [RandomQuarterTurn]


def test_one_generator_serves_all_in_turn():
    configs = {"flip": {"type": "RandomFlip"}, "turn": {"type": "RandomQuarterTurn"}}
    rng = np.random.default_rng(4)
    expected = RandomQuarterTurn()(RandomFlip()(sample(), rng), rng)
    found = Compose(configs)(sample(), np.random.default_rng(4))
    np.testing.assert_array_equal(found.image, expected.image)


def test_an_unknown_transform_is_an_error_that_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'RandomFlip'"):
        Compose({"a": {"type": "RandomFlop"}})


def test_the_config_is_left_as_it_was():
    config = {"a": {"type": "RandomFlip", "probability": 0.3}}
    Compose(config)
    assert config == {"a": {"type": "RandomFlip", "probability": 0.3}}
