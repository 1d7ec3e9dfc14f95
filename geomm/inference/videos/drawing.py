"""Videos with their objects drawn in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geomm.inference.objects.options import ObjectOptions
from geomm.inference.objects.views import scores_of
from geomm.io.video import Frame, VideoInfo
from geomm.io.video_writer import VideoWriter
from geomm.structures import Objects, RasterSpec
from geomm.visualization.on_pictures import draw_objects


class DrawnVideo:
    """Draws the objects into the frames and writes them.

    Use as a context manager.

    Args:
      path: .mp4 to write.
      info: of the video that the frames are of.
      spec: of the model.
      options: say what is drawn.
    """

    def __init__(self, path: Path, info: VideoInfo, spec: RasterSpec, options: ObjectOptions) -> None:
        self.spec, self.options = spec, options
        self._writer = VideoWriter(path, info)

    def __enter__(self) -> DrawnVideo:
        self._writer.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._writer.__exit__(*error)

    def write(self, frame: Frame, objects: Objects, tracks: NDArray[np.int64]) -> None:
        """Add a frame with its objects and the numbers (N,) of their tracks, 0 where there is none yet."""
        pixels = frame.pixels
        if len(objects):
            pixels = draw_objects(
                pixels,
                objects.boxes,
                [self.spec.classes[label].color for label in objects.labels],
                texts=[self._text(objects, tracks, index) for index in range(len(objects))],
                outlines=self._outlines(objects),
                line_px=self.options.line_px,
            )
        self._writer.write(pixels, frame.pts)

    def _outlines(self, objects: Objects) -> list[Any] | None:
        if objects.masks is None:
            return None
        from geomm.inference.objects.tiles import outlines

        return list(outlines(objects.masks, (0, 0)))

    def _text(self, objects: Objects, tracks: NDArray[np.int64], index: int) -> str:
        parts = []
        if tracks[index]:
            parts.append(f"#{tracks[index]}")
        if self.options.draw_labels:
            parts.append(self.spec.classes[objects.labels[index]].name)
        if self.options.draw_scores:
            parts.append(f"{scores_of(objects)[index]:.0%}")
        return " ".join(parts)
