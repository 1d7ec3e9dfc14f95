"""Super-resolution against a discriminator: ESRGAN (Wang et al., 2018)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.logging import MessageHub
from torch import Tensor, nn

from geomm.errors import ConfigError
from geomm.models.maps.perceptual import PerceptualLoss
from geomm.models.maps.super_resolver import SuperResolver
from geomm.registry import MODELS, get
from geomm.structures import RasterSpec

_LOG = logging.getLogger("geomm")
#: What mmagic's VGG discriminator takes, pixels.
_DISCRIMINATOR_PX = 128


@MODELS.register_module()
class AdversarialSuperResolver(SuperResolver):
    """A generator that learns from its pixels, from features, and from a relativistic discriminator.

    Generator and discriminator are updated in the same step by one optimizer: each one's losses reach
    its own parameters alone. So resume, AMP and schedules are those of every other model.

    Args:
      head: as in ``SuperResolver``; ``adversarial`` holds ``discriminator`` (config of a network that
        takes bands and gives logits), ``gan_weight``, ``perceptual_weight``, ``perceptual_checkpoint`` (a
        weights file of torchvision's VGG-19, without which there is no perceptual loss) and ``begin``,
        the share of the steps after which the discriminator joins.
      loss: config of the losses of pixels.
      spec: what the data is.
    """

    def __init__(
        self,
        *,
        head: Mapping[str, Any],
        loss: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
        spec: RasterSpec,
    ) -> None:
        super().__init__(head=head, loss=loss, spec=spec)
        options = head["adversarial"]
        config = dict(options["discriminator"])
        kind: Any = get(MODELS, str(config.pop("type")))
        self.crop_px = _DISCRIMINATOR_PX if kind.__name__ == "ModifiedVGG" else None
        window = spec.window_px * spec.scale
        if self.crop_px is not None and window < self.crop_px:
            raise ConfigError(
                f"dataset.window_px: found {window}, the discriminator looks at {self.crop_px} x "
                f"{self.crop_px}; use {self.crop_px} or more, or head.adversarial.discriminator.type="
                "mmagic.UNetDiscriminatorWithSpectralNorm"
            )
        self.discriminator = kind(in_channels=spec.in_channels, **config)
        self.gan_weight, self.begin = float(options["gan_weight"]), float(options["begin"])
        self.gan_loss = get(MODELS, "mmagic.GANLoss")(gan_type="vanilla")
        self._perceptual = _perceptual(options, spec)

    def loss(self, inputs: Tensor, target: Tensor, target_valid: Tensor) -> dict[str, Tensor]:
        """Return a batch's named losses; what is not valid is the same in both pictures."""
        fake = self.enlarge(inputs)
        weight = target_valid[:, None].to(target.dtype)
        losses: dict[str, Tensor] = self.losses(fake, target, weight=weight)
        fake = torch.where(weight > 0, fake, target)
        if self._perceptual is not None:
            losses["loss_perceptual"] = self._perceptual(fake, target)
        if not self._joined():
            # In the graph with no weight, so that every parameter has a gradient from the first step on.
            losses["loss_discriminator"] = 0.0 * self._judge(target).sum()
            return losses
        with _frozen(self.discriminator):
            judged, truth = self._judge(fake), self._judge(target).detach()
            losses["loss_gan"] = self.gan_weight * self._relative(judged, truth, first_is_real=True)
        losses["loss_discriminator"] = self._relative(
            self._judge(target), self._judge(fake.detach()), first_is_real=True
        )
        return losses

    def _relative(self, first: Tensor, second: Tensor, *, first_is_real: bool) -> Tensor:
        """Return the relativistic average loss (Jolicoeur-Martineau, 2018)."""
        one = self.gan_loss(first - second.mean(), first_is_real, is_disc=True)
        other = self.gan_loss(second - first.mean(), not first_is_real, is_disc=True)
        return (one + other) / 2  # type: ignore[no-any-return]

    def _judge(self, pictures: Tensor) -> Tensor:
        edges = pictures.shape[-2:]
        # Other discriminators halve their input a few times and join the halves again.
        height, width = (self.crop_px or edge // 8 * 8 for edge in edges)
        top, left = (edges[0] - height) // 2, (edges[1] - width) // 2
        cut = pictures[..., top : top + height, left : left + width]
        return self.discriminator(cut)  # type: ignore[no-any-return]

    def _joined(self) -> bool:
        hub = MessageHub.get_current_instance()
        steps, total = hub.get_info("iter"), hub.get_info("max_iters")
        return steps is None or not total or steps >= self.begin * total


def _perceptual(options: Mapping[str, Any], spec: RasterSpec) -> PerceptualLoss | None:
    weight, checkpoint = float(options["perceptual_weight"]), options.get("perceptual_checkpoint")
    if not weight:
        return None
    if not checkpoint:
        _LOG.warning(
            "head.adversarial.perceptual_checkpoint is not given, so there is no perceptual loss; download "
            "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth and name the file"
        )
        return None
    return PerceptualLoss(str(checkpoint), spec, weight=weight)


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Let gradients pass through a network and not reach it."""
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in network.parameters():
            parameter.requires_grad_(True)
