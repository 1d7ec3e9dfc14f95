"""A source without samples: what a package needs to know when its weights come ready-made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from geomm.errors import ConfigError
from geomm.registry import DATASETS
from geomm.structures import BandStatistics, RasterSample, RasterSpec, make_classes

#: The classes of COCO (Lin et al., 2014) in the order of published weights.
COCO_CLASSES = (
    "person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant stop_sign "
    "parking_meter bench bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella handbag "
    "tie suitcase frisbee skis snowboard sports_ball kite baseball_bat baseball_glove skateboard surfboard "
    "tennis_racket bottle wine_glass cup fork knife spoon bowl banana apple sandwich orange broccoli carrot "
    "hot_dog pizza donut cake chair couch potted_plant bed dining_table toilet tv laptop mouse remote "
    "keyboard cell_phone microwave oven toaster sink refrigerator book clock vase scissors teddy_bear "
    "hair_drier toothbrush"
).split()


@DATASETS.register_module()
class NoData:
    """No samples, for weights that are used as they are.

    Args:
      classes: ``coco``, or the names that the weights tell apart, in their order.
      mean: of each band, as the weights were trained with.
      std: likewise.
      window_px: edge of the pictures of their training.
      augment: not used.
      seed: not used.
      target: not used.

    Raises:
      ConfigError: no class, or not as many means as deviations.
    """

    def __init__(
        self,
        *,
        classes: str | Sequence[str] = "coco",
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (255.0, 255.0, 255.0),
        window_px: int = 608,
        augment: object = None,
        seed: int = 0,
        target: object = None,
    ) -> None:
        if isinstance(classes, str) and classes != "coco":
            raise ConfigError(f"dataset.classes: found {classes!r}, expected coco or [name, …]")
        names = COCO_CLASSES if isinstance(classes, str) else [str(name) for name in classes]
        if not names:
            raise ConfigError("dataset.classes: found no name, expected coco or [name, …]")
        if len(mean) != len(std) or not mean:
            raise ConfigError(
                f"dataset.std: found {len(std)} numbers and {len(mean)} in dataset.mean, expected one a band"
            )
        count = len(mean)
        self.spec = RasterSpec(
            bands=tuple(range(1, count + 1)),
            band_names=("red", "green", "blue")
            if count == 3
            else tuple(f"band_{i + 1}" for i in range(count)),
            dtype="uint8",
            statistics=BandStatistics(
                min=(0.0,) * count,
                max=(255.0,) * count,
                mean=tuple(float(value) for value in mean),
                std=tuple(float(value) for value in std),
                count=0,
            ),
            classes=make_classes([name.replace("_", " ") for name in names]),
            window_px=int(window_px),
            map_space=False,
        )

    def prepare(self, cache: Path) -> RasterSpec:
        """Return what the model is to know; nothing is read."""
        return self.spec

    def split(self, name: str) -> list[RasterSample]:
        """Return no samples."""
        return []
