"""Options of inference: tiles that fit, a device that is there."""

import dataclasses

import numpy as np
import pytest

from geomm.config.compose import compose, hydra_session
from geomm.errors import ConfigError
from geomm.inference import ClassMapOptions, InferenceOptions, ObjectOptions, RasterOptions
from geomm.inference.tables.options import TabularOptions
from geomm.inference.texts.predict import TextOptions


@pytest.mark.parametrize("window, tile", [(16, 256), (128, 256), (200, 400), (900, 1024)])
def test_a_tile_is_twice_the_training_window_within_bounds(spec, window, tile):
    chosen = RasterOptions().tiling(dataclasses.replace(spec, window_px=window))
    assert chosen == (tile, tile // 4)


def test_given_numbers_are_taken_and_auto_is_none(spec):
    assert RasterOptions(tile_px=64, overlap_px=0).tiling(spec) == (64, 0)
    assert RasterOptions(tile_px="auto", overlap_px="auto").tiling(spec) == RasterOptions().tiling(spec)


@pytest.mark.parametrize("overlap", [64, 65])
def test_an_overlap_that_does_not_fit_is_named(spec, overlap):
    with pytest.raises(ConfigError, match=f"overlap_px: found {overlap}, expected 0 to 63"):
        RasterOptions(tile_px=64, overlap_px=overlap).tiling(spec)


def test_a_device_that_is_none_is_an_error_of_inferences_option():
    with pytest.raises(ConfigError, match=r"inference.device: found 'gpu', expected auto, cpu or cuda"):
        RasterOptions(device="gpu").resolve_device()


@pytest.mark.parametrize(
    "name, options",
    [
        ("default", InferenceOptions),
        ("raster", RasterOptions),
        ("segmentation", ClassMapOptions),
        ("ner", TextOptions),
        ("tabular", TabularOptions),
    ],
)
def test_options_and_their_config_group_have_the_same_names_and_defaults(name, options):
    with hydra_session():
        group = compose("infer", [f"inference={name}"]).inference
    assert group == dataclasses.asdict(options())


def test_a_margin_that_does_not_fit_is_named(spec):
    with pytest.raises(ConfigError, match="margin_px: found 9, expected 0 to 8 for an overlap of 16"):
        ClassMapOptions(tile_px=64, overlap_px=16, margin_px=9).tiling(spec)


@pytest.mark.parametrize(
    ("options", "values", "said"),
    [
        (
            ClassMapOptions,
            {"overlap_px": -1, "margin_px": -1},
            ["overlap_px: found -1", "margin_px: found -1"],
        ),
        (RasterOptions, {"on_error": "ignore"}, ["on_error: found 'ignore'"]),
        (
            ObjectOptions,
            {"merge": "nsm", "vanish_frames": 1.5},
            ["did you mean 'nms'", "vanish_frames: found 1.5"],
        ),
        (ObjectOptions, {"format": "csv"}, ["format: unknown 'csv'"]),
    ],
)
def test_values_from_python_are_checked_like_those_of_configs(options, values, said):
    with pytest.raises(ConfigError) as caught:
        options(**values)
    assert all(text in str(caught.value) for text in said)


def test_numbers_of_numpy_are_numbers(spec):
    assert RasterOptions(tile_px=np.int64(64), overlap_px=np.int32(8)).tiling(spec) == (64, 8)


def test_an_unknown_executor_is_an_error(tmp_path, spec):
    from geomm.inference import ClassMap, predict_rasters
    from tests.inference.conftest import noise, pointwise, write_scene

    scene = write_scene(tmp_path / "s.tif", noise(5, 5))
    options = ClassMapOptions(executor="rya", device="cpu")
    with pytest.raises(ConfigError, match=r"executor: unknown 'rya'; .*local"):
        predict_rasters(
            scene,
            tmp_path / "o",
            score=pointwise,
            spec=spec,
            products=ClassMap(spec, options),
            options=options,
            model_id="m",
        )
