"""A loss of features rather than pixels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from geomm.models.weights import load_weights, read_weights, report_loaded
from geomm.structures import RasterSpec

#: Layers of VGG-19's features before their activation, and their shares (ESRGAN).
_LAYERS = {2: 0.1, 7: 0.1, 16: 1.0, 25: 1.0, 34: 1.0}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PerceptualLoss:
    """The mean absolute difference of VGG-19's features (Johnson et al., 2016).

    Not a module: its network is no part of the model, of its weights or of its package.

    Args:
      checkpoint: a weights file of torchvision's VGG-19.
      spec: of the data, whose range is brought to the 0 to 1 that VGG-19 was trained on.
      weight: of the loss.
    """

    def __init__(self, checkpoint: str, spec: RasterSpec, *, weight: float) -> None:
        from torchvision.models import vgg19

        body: Any = vgg19(weights=None)
        state = read_weights(checkpoint, key="head.adversarial.perceptual_checkpoint")
        loaded = load_weights(body, state, 3)
        report_loaded(
            checkpoint, loaded, len(body.state_dict()), key="head.adversarial.perceptual_checkpoint"
        )
        self.network = body.features[: max(_LAYERS) + 1].eval().requires_grad_(False)
        self.weight = weight
        statistics = spec.statistics
        span = [max(high - low, 1e-12) for low, high in zip(statistics.min, statistics.max, strict=True)]
        # From normalised pixels to 0 to 1, to VGG-19's own normalisation, for the bands it is shown.
        shown = list(range(3)) if spec.in_channels >= 3 else [0, 0, 0]
        gain = [statistics.std[band] / span[band] / _STD[i] for i, band in enumerate(shown)]
        base = [
            ((statistics.mean[band] - statistics.min[band]) / span[band] - _MEAN[i]) / _STD[i]
            for i, band in enumerate(shown)
        ]
        self.shown = shown
        self.gain, self.base = (torch.tensor(x).view(1, 3, 1, 1) for x in (gain, base))

    def __call__(self, found: Tensor, truth: Tensor) -> Tensor:
        """Return the loss of normalised pixels (B, C, H, W)."""
        self.network.to(found.device)
        one, two = self._prepared(found), self._prepared(truth)
        total = found.new_zeros(())
        for number, layer in enumerate(self.network):
            # In place, the activation would change what was compared before it.
            one, two = (torch.relu(x) if isinstance(layer, torch.nn.ReLU) else layer(x) for x in (one, two))
            if number in _LAYERS:
                total = total + _LAYERS[number] * (one - two.detach()).abs().mean()
        return self.weight * total

    def _prepared(self, pixels: Tensor) -> Tensor:
        return pixels[:, self.shown] * self.gain.to(pixels) + self.base.to(pixels)
