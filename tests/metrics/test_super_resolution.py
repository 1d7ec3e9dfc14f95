"""PSNR, SSIM and spectral angle, against their definitions."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from geomm.metrics.super_resolution import SuperResolutionMetric, psnr


def pictures(seed=0, bands=3, edge=32, error=5.0):
    rng = torch.Generator().manual_seed(seed)
    truth = torch.rand((bands, edge, edge), generator=rng) * 255
    found = truth + error * torch.randn(truth.shape, generator=rng)
    return {
        "prediction": found,
        "bicubic": truth + 20.0,
        "target": truth,
        "valid": torch.ones((edge, edge), dtype=torch.bool),
    }


def measure(samples, **options):
    metric = SuperResolutionMetric(data_range=255.0, **options)
    for sample in samples:
        metric.process({}, [sample])
    return metric.evaluate(len(samples))


def test_psnr_is_of_the_error_of_all_pixels_not_of_a_mean_of_windows():
    samples = [pictures(0, error=1.0), pictures(1, error=12.0)]
    errors = torch.cat([(s["prediction"] - s["target"]).flatten() for s in samples])
    expected = 10 * np.log10(255**2 / float((errors**2).mean()))
    found = measure(samples)
    assert found["PSNR"] == pytest.approx(expected, rel=1e-5)
    assert found["PSNR/bicubic"] == pytest.approx(10 * np.log10(255**2 / 400), rel=1e-5)
    assert found["gain"] == pytest.approx(found["PSNR"] - found["PSNR/bicubic"])


def test_ssim_is_torchmetrics_own_where_everything_is_valid():
    sample = pictures()
    expected = structural_similarity_index_measure(
        sample["prediction"][None], sample["target"][None], data_range=255.0
    )
    assert measure([sample])["SSIM"] == pytest.approx(float(expected), abs=1e-4)


def test_what_is_not_valid_does_not_count():
    one, two = pictures(), pictures()
    for sample in (one, two):
        sample["valid"][:, :10] = False
    two["prediction"][:, :, :10] = -9999.0
    two["bicubic"][:, :, :10] = float("nan")
    first, second = measure([one]), measure([two])
    assert first["PSNR"] == second["PSNR"] and first["SAM"] == second["SAM"]
    assert first["SSIM"] == pytest.approx(second["SSIM"], abs=1e-6)
    assert np.isfinite(second["PSNR/bicubic"])


def test_the_crop_leaves_the_edge_out():
    sample = pictures()
    sample["prediction"][:, :2] = 0
    assert measure([sample])["PSNR"] < measure([sample], crop_px=2)["PSNR"]


def test_the_spectral_angle_knows_direction_alone():
    truth = torch.zeros((2, 16, 16))
    truth[0], truth[1] = 3.0, 3.0
    turned = torch.zeros_like(truth)
    turned[0] = 7.0
    sample = {**pictures(edge=16), "target": truth, "prediction": turned, "bicubic": 5 * truth}
    found = measure([sample])
    assert found["SAM"] == pytest.approx(45.0, abs=1e-3)
    assert found["SAM/bicubic"] == pytest.approx(0.0, abs=0.1)
    assert "SAM" not in measure([pictures(bands=1)])


def test_a_perfect_picture_has_a_bounded_psnr():
    assert psnr(0.0, 255.0) == 100.0
    sample = pictures()
    sample["prediction"] = sample["target"].clone()
    assert measure([sample])["PSNR"] == 100.0


def test_nothing_valid_is_no_number():
    sample = pictures()
    sample["valid"][:] = False
    assert np.isnan(measure([sample])["PSNR"])


def test_lpips_is_measured_where_its_weights_are(tmp_path, monkeypatch):
    from torchvision.models import alexnet

    assert "LPIPS" not in measure([pictures(edge=64)])
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(alexnet(weights=None).state_dict(), folder / "alexnet-owt-7be5be79.pth")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    same = pictures(edge=64)
    same["bicubic"] = same["target"].clone()
    found = measure([same])
    assert found["LPIPS/bicubic"] == pytest.approx(0.0, abs=1e-6) and found["LPIPS"] > 0
