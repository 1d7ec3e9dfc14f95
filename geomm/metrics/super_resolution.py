"""The metrics of super-resolution, beside those of bicubic interpolation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from numpy.typing import NDArray
from torch import Tensor

from geomm.registry import METRICS

_SUMS = (
    "pixels",
    "squares",
    "values",
    "ssim",
    "ssim_pixels",
    "angles",
    "angle_pixels",
    "lpips",
    "lpips_windows",
)
#: What LPIPS looks through; torchvision keeps it in its cache.
_LPIPS_WEIGHTS = "alexnet-owt-7be5be79.pth"


@METRICS.register_module()
class SuperResolutionMetric(BaseMetric):
    """PSNR, SSIM and spectral angle over all valid pixels, of the prediction and of bicubic.

    ``PSNR`` (dB) is of the mean squared error of all bands; ``SSIM`` (Wang et al., 2004) the mean of a map
    with a Gaussian window of 11 px; ``SAM`` the mean spectral angle in degrees, of two bands or more;
    ``LPIPS`` (Zhang et al., 2018) the mean of windows that are valid all over, of one band or of the first
    three, where torchvision's weights of AlexNet are in its cache; ``gain`` what the prediction has over
    bicubic, dB.

    Args:
      data_range: between the lowest and the highest value there is, for PSNR, SSIM and LPIPS.
      lowest: the lowest value there is.
      crop_px: edge of each window that is left out, as the field does.

    Attributes:
      sums: (2, N) of the last evaluation, prediction and bicubic.
    """

    #: mmengine puts it before every result's name and warns without one.
    default_prefix = ""

    def __init__(self, data_range: float, crop_px: int = 0, lowest: float = 0.0) -> None:
        super().__init__(collect_device="cpu")
        self.data_range, self.lowest, self.crop_px = float(data_range), float(lowest), crop_px
        self._lpips = lpips_network()
        self.sums: NDArray[np.float64] = np.zeros((2, len(_SUMS)))

    results: list[NDArray[np.float64]]

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Add a batch: dicts with ``prediction``, ``bicubic``, ``target`` (C, H, W), ``valid`` (H, W)."""
        for sample in data_samples:
            truth, valid = self._crop(sample["target"]), self._crop(sample["valid"])
            pair = (self._crop(sample["prediction"]), self._crop(sample["bicubic"]))
            self.results.append(np.stack([self._sum(found, truth, valid) for found in pair]))
        # One table a process, however many samples.
        self.results = [self._total(self.results)]

    def _crop(self, values: Tensor) -> Tensor:
        edge = self.crop_px
        cut = values[..., edge:-edge, edge:-edge] if edge else values
        return cut if cut.dtype == torch.bool else cut.float()

    def _sum(self, found: Tensor, truth: Tensor, valid: Tensor) -> NDArray[np.float64]:
        squares = torch.where(valid, (found - truth) ** 2, 0.0).sum(dtype=torch.float64)
        ssim, ssim_pixels = self._ssim(found, truth, valid)
        angles, angle_pixels = _spectral_angles(found, truth, valid)
        counts = valid.sum(dtype=torch.float64)
        plain = (counts, squares, counts * len(truth), ssim, ssim_pixels, angles, angle_pixels)
        row = (*plain, *self._perceptual(found, truth, valid))
        return np.array([float(value) for value in row])

    def _ssim(self, found: Tensor, truth: Tensor, valid: Tensor) -> tuple[float, float]:
        """Return the sum and the number of SSIM's values whose window is valid all through."""
        from torchmetrics.functional.image import structural_similarity_index_measure as ssim

        half = 5
        if min(truth.shape[-2:]) <= 2 * half:
            return 0.0, 0.0
        fill = torch.where(valid, truth, 0.0)
        _, values = ssim(
            torch.where(valid, found, 0.0)[None],
            fill[None],
            data_range=self.data_range,
            return_full_image=True,
        )
        inner = torch.nn.functional.avg_pool2d(valid[None].float(), 2 * half + 1, 1) > 1 - 1e-6
        mean = values[0].mean(0)[half:-half, half:-half]
        return float(mean[inner[0]].sum(dtype=torch.float64)), float(inner.sum())

    def _perceptual(self, found: Tensor, truth: Tensor, valid: Tensor) -> tuple[float, float]:
        """Return the LPIPS of a window and 1, or nothing where it has none."""
        if self._lpips is None or not bool(valid.all()):
            return 0.0, 0.0
        shown = [0, 1, 2] if len(truth) >= 3 else [0, 0, 0]
        one, two = (
            ((picture[shown].cpu() - self.lowest) / self.data_range).clamp(0, 1)[None]
            for picture in (found, truth)
        )
        with torch.inference_mode():
            return float(self._lpips(one, two)), 1.0

    def _total(self, results: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.asarray(sum(results, np.zeros((2, len(_SUMS)))))

    def compute_metrics(self, results: list[NDArray[np.float64]]) -> dict[str, float]:
        self.sums = self._total(results)
        found, bicubic = (self._summarise(row) for row in self.sums)
        named = {**found, "gain": found["PSNR"] - bicubic["PSNR"]}
        return {**named, **{f"{key}/bicubic": value for key, value in bicubic.items()}}

    def _summarise(self, row: NDArray[np.float64]) -> dict[str, float]:
        sums = dict(zip(_SUMS, row.tolist(), strict=True))
        error = sums["squares"] / sums["values"] if sums["values"] else float("nan")
        result = {"PSNR": psnr(error, self.data_range)}
        result["SSIM"] = sums["ssim"] / sums["ssim_pixels"] if sums["ssim_pixels"] else float("nan")
        if sums["angle_pixels"]:
            result["SAM"] = sums["angles"] / sums["angle_pixels"]
        if sums["lpips_windows"]:
            result["LPIPS"] = sums["lpips"] / sums["lpips_windows"]
        return result


def lpips_network() -> Any:
    """Return torchmetrics' LPIPS over AlexNet, None where the weights are not in torch's cache."""
    if not (Path(torch.hub.get_dir()) / "checkpoints" / _LPIPS_WEIGHTS).is_file():
        return None
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    return LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True).eval()


def psnr(squared_error: float, data_range: float) -> float:
    """Return the peak signal-to-noise ratio, dB, of a mean squared error; 100 where there is none."""
    if squared_error <= 0:
        return 100.0
    return min(10 * math.log10(data_range**2 / squared_error), 100.0)


def _spectral_angles(found: Tensor, truth: Tensor, valid: Tensor) -> tuple[float, float]:
    """Return the sum of the angles between spectra (Kruse et al., 1993), degrees, and their number."""
    if len(truth) < 2:
        return 0.0, 0.0
    one, two = found[:, valid].double(), truth[:, valid].double()
    lengths = one.norm(dim=0) * two.norm(dim=0)
    seen = lengths > 0
    cosine = ((one * two).sum(0)[seen] / lengths[seen]).clamp(-1, 1)
    return float(torch.rad2deg(cosine.arccos()).sum()), float(seen.sum())
