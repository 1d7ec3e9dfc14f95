"""Every network that enlarges, over bands and scales; tiles that equal the whole."""

import importlib.util

import numpy as np
import pytest
import rasterio
import torch

from geomm.errors import ConfigError, DataError
from geomm.inference import FinerOptions, FinerScene, predict_rasters
from geomm.models.maps.adversarial import AdversarialSuperResolver
from geomm.models.maps.super_resolver import SuperResolver, build_network
from tests.models.common import composed, make_spec

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mmagic") is None,
    reason="mmagic is not installed (pip install --no-deps mmagic==1.2.0)",
)
HEADS = ("srcnn", "edsr", "rdn", "srresnet", "esrgan", "swinir")
#: What makes each network small enough for a test.
SMALL = {
    "srcnn": {},
    "edsr": {"mid_channels": 8, "num_blocks": 1},
    "rdn": {"mid_channels": 8, "num_blocks": 1, "num_layers": 2, "channel_growth": 8},
    "srresnet": {"mid_channels": 8, "num_blocks": 1},
    "esrgan": {"mid_channels": 8, "num_blocks": 1, "growth_channels": 4},
    "swinir": {"depths": [2], "embed_dim": 12, "num_heads": [2]},
}


def head_of(name, scale, **changes):
    head = composed("task=super_resolution", f"head={name}")["head"]
    head |= {**SMALL[name], "scale": scale, **changes}
    if "adversarial" in head:
        head["adversarial"]["discriminator"] = {
            "type": "mmagic.UNetDiscriminatorWithSpectralNorm",
            "mid_channels": 4,
        }
        head["adversarial"]["begin"] = 0.0
    return head


def build(name, *, bands=3, scale=2, **changes):
    spec = make_spec(bands, classes=(), class_pixels=None, scale=scale)
    head = head_of(name, scale, **changes)
    kind = AdversarialSuperResolver if "adversarial" in head else SuperResolver
    return kind(head=head, loss={"type": "mmagic.L1Loss", "tasks": ["super_resolution"]}, spec=spec)


def batch(bands, scale, height=12, width=16):
    rng = torch.Generator().manual_seed(0)
    valid = torch.ones((2, height, width), dtype=torch.bool)
    finer = valid.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    finer[:, :3] = False
    return {
        "inputs": torch.rand((2, bands, height, width), generator=rng),
        "valid": valid,
        "target": torch.rand((2, bands, height * scale, width * scale), generator=rng),
        "target_valid": finer,
        "name": ["a", "b"],
    }


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize(("bands", "scale"), [(1, 2), (3, 4), (6, 3)])
def test_every_head_learns_and_enlarges_any_bands_and_scale(name, bands, scale):
    model = build(name, bands=bands, scale=scale)
    data = model.data_preprocessor(batch(bands, scale), training=True)
    losses = model(**data, mode="loss")
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.generator.parameters() if p.requires_grad)
    model.eval()
    first = model(**data, mode="predict")[0]
    assert first["prediction"].shape == first["bicubic"].shape == (bands, 12 * scale, 16 * scale)
    odd = torch.rand((1, bands, 7, 9))
    fine = model.predict_pixels(odd, torch.ones((1, 7, 9), dtype=torch.bool))
    assert fine.shape == (1, bands, 7 * scale, 9 * scale) and fine.isfinite().all()


@pytest.mark.parametrize("name", [name for name in HEADS if name != "srresnet"])
def test_a_network_that_learns_the_difference_begins_at_bicubic(name):
    model = build(name).eval()
    data = model.data_preprocessor(batch(3, 2))
    first = model(**data, mode="predict")[0]
    torch.testing.assert_close(first["prediction"], first["bicubic"])


def test_bicubic_is_that_of_pillow():
    from PIL import Image

    pixels = np.random.default_rng(0).random((11, 13), np.float32)
    model = build("srcnn", bands=1, scale=3)
    found = model.bicubic(torch.from_numpy(pixels)[None, None])[0, 0]
    expected = Image.fromarray(pixels).resize((39, 33), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(found, np.asarray(expected), atol=1e-5)


def test_pixels_without_data_are_filled_by_their_neighbours_and_reach_nothing():
    model = build("edsr", bands=1)
    with torch.no_grad():
        for parameter in model.generator.parameters():
            parameter.add_(0.05)
    model.eval()
    valid = torch.ones((1, 20, 20), dtype=torch.bool)
    valid[:, 8:10, 8:10] = False
    one, two = torch.full((1, 1, 20, 20), 0.7), torch.full((1, 1, 20, 20), 0.7)
    two[:, :, 8:10, 8:10] = -9999.0
    first, second = model.predict_pixels(one, valid), model.predict_pixels(two, valid)
    torch.testing.assert_close(first, second)
    plain = model.predict_pixels(one, torch.ones_like(valid))
    torch.testing.assert_close(first, plain, rtol=1e-4, atol=1e-4)


def test_what_does_not_count_teaches_nothing():
    model = build("edsr")
    data = batch(3, 2)
    other = {**data, "target": data["target"].clone()}
    other["target"][:, :, :3] = 55.0
    one, two = (model(**model.data_preprocessor(d), mode="loss")["loss_l1"] for d in (data, other))
    assert float(one) == pytest.approx(float(two), rel=1e-6)


def test_generator_and_discriminator_learn_from_their_own_losses():
    model = build("esrgan")
    losses = model(**model.data_preprocessor(batch(3, 2)), mode="loss")
    assert set(losses) == {"loss_l1", "loss_gan", "loss_discriminator"}
    own = list(model.discriminator.parameters())
    theirs = list(model.generator.parameters())
    grads = torch.autograd.grad(losses["loss_gan"], own, allow_unused=True, retain_graph=True)
    assert all(g is None for g in grads)
    grads = torch.autograd.grad(losses["loss_discriminator"], theirs, allow_unused=True, retain_graph=True)
    assert all(g is None for g in grads)
    assert (
        torch.autograd.grad(losses["loss_gan"], theirs, allow_unused=True, retain_graph=True)[-1].abs().sum()
    )
    assert torch.autograd.grad(losses["loss_discriminator"], own)[0].abs().sum() > 0


def test_the_vgg_discriminator_names_the_window_it_needs():
    head = composed("task=super_resolution", "head=esrgan")["head"] | SMALL["esrgan"] | {"scale": 2}
    spec = make_spec(3, classes=(), class_pixels=None, scale=2)  # windows of 64 * 2 px
    model = AdversarialSuperResolver(head=head, loss=None, spec=spec)
    assert model.crop_px == 128
    from dataclasses import replace

    with pytest.raises(ConfigError, match="window_px: found 64, the discriminator looks at 128 x 128"):
        AdversarialSuperResolver(head=head, loss=None, spec=replace(spec, window_px=32))


def test_a_scale_that_a_network_does_not_have_is_named():
    with pytest.raises(ConfigError, match=r"head\.scale: mmagic\.EDSRNet cannot enlarge 5 times"):
        build_network(head_of("edsr", 5), bands=3, scale=5)


@pytest.mark.parametrize(
    ("changes", "scale", "fits"), [({}, 2, True), ({}, 4, False), ({"mid_channels": 16}, 2, False)]
)
def test_weights_of_another_scale_or_width_are_named(tmp_path, changes, scale, fits):
    from safetensors.torch import save_file

    trained = build("edsr")
    torch.nn.init.ones_(trained.generator.conv_last.weight)
    file = tmp_path / "edsr.safetensors"
    state = {f"generator.{key}": value for key, value in trained.generator.state_dict().items()}
    save_file({key: value.contiguous() for key, value in state.items()}, file)
    if fits:
        again = build("edsr", checkpoint=str(file))
        assert (again.generator.conv_last.weight == 1).all()
    else:
        with pytest.raises((ConfigError, DataError), match=r"head\.checkpoint: .* of another network"):
            build("edsr", scale=scale, checkpoint=str(file), **changes)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_tiled_scene_equals_the_whole_one_borders_included(tmp_path, scale):
    """Where what a network sees fits in the margin: SRCNN looks 6 finer pixels far, and bicubic 2."""
    model = build("srcnn", bands=2, scale=scale)
    torch.manual_seed(0)
    for parameter in model.generator.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    model.eval()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 4000, (2, 75, 101)).astype(np.uint16)
    path = tmp_path / "s.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=101, height=75, count=2, dtype="float32",
        crs="EPSG:32616", transform=rasterio.Affine(2, 0, 7e5, 0, -2, 3.7e6),
    ) as target:  # fmt: skip
        target.write(pixels.astype(np.float32))
    spec = make_spec(2, classes=(), class_pixels=None, scale=scale)
    spec = type(spec)(**{**spec.__dict__, "dtype": "float32"})
    options = FinerOptions(
        tile_px=40, overlap_px=20, margin_px=8, device="cpu", on_error="raise", batch_size=2
    )
    predict_rasters(
        path, tmp_path / "o", score=model.predict_pixels, spec=spec,
        products=FinerScene(spec), options=options, model_id="m",
    )  # fmt: skip
    whole = model.predict_pixels(
        torch.from_numpy(pixels.astype(np.float32))[None], torch.ones((1, 75, 101), dtype=torch.bool)
    )[0].numpy()
    with rasterio.open(tmp_path / "o" / "s.tif") as made:
        np.testing.assert_allclose(made.read(), whole, rtol=1e-4, atol=1e-3 * np.abs(whole).max())
        assert made.nodata is None and made.dtypes == ("float32", "float32")
        assert made.transform == rasterio.Affine(2 / scale, 0, 7e5, 0, -2 / scale, 3.7e6)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_the_result_keeps_dtype_range_nodata_and_names(tmp_path, dtype):
    model = build("srcnn", bands=1).eval()
    top = 1.5 if dtype == "float32" else np.iinfo(dtype).max
    pixels = np.full((20, 30), top, dtype)
    pixels[4:9, 4:9] = 0
    path = tmp_path / "s.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=30, height=20, count=1, dtype=dtype, nodata=0,
        crs="EPSG:32616", transform=rasterio.Affine(2, 0, 7e5, 0, -2, 3.7e6),
    ) as target:  # fmt: skip
        target.write(pixels, 1)
        target.set_band_description(1, "red")
    spec = make_spec(1, classes=(), class_pixels=None, scale=2)
    predict_rasters(
        path, tmp_path / "o", score=model.predict_pixels, spec=spec,
        products=FinerScene(spec), options=FinerOptions(device="cpu", on_error="raise"), model_id="m",
    )  # fmt: skip
    with rasterio.open(tmp_path / "o" / "s.tif") as made:
        found = made.read(1)
        assert made.dtypes == (dtype,) and made.nodata == 0 and made.descriptions == ("red",)
        hole = np.zeros((40, 60), bool)
        hole[8:18, 8:18] = True
        assert (found[hole] == 0).all() and (found[~hole] != 0).all()
        np.testing.assert_allclose(found[~hole], top, rtol=1e-3)
