"""Composing: one plain config, interpolations resolved, tuples kept."""

import pytest
from omegaconf import OmegaConf

from geomm.config.compose import as_overrides, compose, config_dir, hydra_session, register_resolvers, resolve
from geomm.errors import ConfigError
from geomm.samples import SAMPLES

EXPERIMENTS = sorted(path.stem for path in (config_dir() / "experiment").glob("*.yaml"))


def composed(*overrides):
    with hydra_session():
        return resolve(compose("train", ["work_dir=x", *overrides]))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes(name):
    config = composed(f"experiment={name}")
    assert config["dataset"]["sample"] in SAMPLES
    assert {"task", "dataset", "head", "schedule", "runtime"} <= set(config)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_a_small_difference(name):
    lines = (config_dir() / "experiment" / f"{name}.yaml").read_text().splitlines()
    assert len(lines) <= 30


def test_the_command_line_has_the_last_word_over_an_experiment():
    config = composed("experiment=building_footprints", "backbone=resnet50", "schedule.epochs=1")
    assert config["backbone"]["name"] == "resnet50"
    assert config["schedule"]["epochs"] == 1


@pytest.mark.parametrize("policy", ["one_cycle", "cosine", "constant"])
def test_schedules_differ_by_policy_only_where_they_say_so(policy):
    schedule = composed("experiment=building_footprints", f"schedule={policy}")["schedule"]
    assert schedule["policy"] == policy
    assert schedule["batch_size"] == 8


def test_missing_values_are_named():
    with pytest.raises(ConfigError, match=r"dataset\.root"):
        composed("dataset=chips")


def test_tuples_survive():
    register_resolvers()
    config = OmegaConf.create({"sizes": "${tuple:1,2,3}", "nested": [{"pair": "${tuple:4,5}"}]})
    assert resolve(config) == {"sizes": (1, 2, 3), "nested": [{"pair": (4, 5)}]}


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, 0.25, "plain", "it's a 'quoted' one", "C:\\data\\a b\\", "\\'", "a,b=[c]{d}",
        "scenes/*.tif", "", "null",
        [1, "two", None], {"val": 0.2, "a key: of three": "x y", "nested": {"deep": [1]}},
    ],
)  # fmt: skip
def test_keywords_become_overrides_that_say_the_same(value):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from geomm.config.check import _plain

    (text,) = as_overrides({"label_field": value}, within="dataset")
    (parsed,) = OverridesParser.create().parse_overrides([text])
    assert parsed.key_or_group == "dataset.label_field"
    assert _plain(parsed.value()) == value


def test_groups_and_the_root_are_no_options_of_the_dataset():
    given = {"images": "a.tif", "task": "detection", "seed": 4, "work_dir": "x", "backbone": None}
    found = as_overrides(given, within="dataset")
    assert set(found) == {
        "dataset.images='a.tif'", "task=detection", "seed=4", "work_dir='x'", "backbone=null",
    }  # fmt: skip
    assert found[-1].startswith("dataset.")
