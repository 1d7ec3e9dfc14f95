"""What an export of chips is asked for."""

from __future__ import annotations

from dataclasses import dataclass

#: Formats of pixels: a class for every pixel of a chip.
PIXEL_FORMATS = ("Classified_Tiles",)
#: Formats of objects: boxes or outlines in a chip.
OBJECT_FORMATS = ("PASCAL_VOC_rectangles", "KITTI_rectangles", "RCNN_Masks", "coco", "yolo")
#: Formats of pictures with a class, or several.
LABEL_FORMATS = ("Labeled_Tiles", "MultiLabeled_Tiles", "Imagenet")
IMAGE_FORMATS = ("Export_Tiles",)
CLOUD_FORMATS = ("pctd",)
FORMATS = (*PIXEL_FORMATS, *OBJECT_FORMATS, *LABEL_FORMATS, *IMAGE_FORMATS, *CLOUD_FORMATS)


@dataclass(frozen=True)
class ChipOptions:
    """How chips are cut and written.

    Attributes:
      format: one of ``FORMATS``.
      tile_px: edge of a chip; None takes each feature's own size, of ``footprints`` alone.
      stride_px: from a chip to the next; None for ``tile_px``, without overlap.
      image_format: ``tiff``, ``png`` or ``jpeg``.
      jpeg_quality: 1 to 100.
      min_overlap: least share of its area that a chip must show of an object that it names.
      max_nodata: largest share of a chip without data.
      keep_empty: keep chips without a label.
      nodata: value of pixels without data; None takes each raster's own.
      map_space: False for oblique imagery.
      tile_m: of clouds: edge of a tile, in their CRS's units.
      tile_points: of clouds: most points of a tile; what is more becomes a further tile.
      val_share: of clouds: share of tiles for ``val``.
      seed: of that choice.
      overwrite: throw away what another export wrote into the folder.
      progress: show a bar.
    """

    format: str
    tile_px: int | None = 256
    stride_px: int | None = None
    image_format: str = "tiff"
    jpeg_quality: int = 90
    min_overlap: float = 0.25
    max_nodata: float = 0.5
    keep_empty: bool = False
    nodata: float | None = None
    map_space: bool = True
    tile_m: float = 50.0
    tile_points: int = 8192
    val_share: float = 0.2
    seed: int = 0
    overwrite: bool = False
    progress: bool = True

    @property
    def ending(self) -> str:
        return {"tiff": ".tif", "png": ".png", "jpeg": ".jpg"}[self.image_format]
