"""The folder that chips are written to, and what became of an export."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from geomm.chips.options import ChipOptions
from geomm.errors import DataError
from geomm.inference.work import file_stamps, fingerprint, open_work, read_mark

#: What an export keeps of its state, below its folder.
_WORK = ".geomm_chips"
#: What an export writes below its folder.
_WRITTEN = (
    "images", "images2", "labels", "train", "val", "annotations.json", "data.yaml", "map.txt", "stats.txt",
    "esri_model_definition.emd", "esri_accumulated_stats.json",
)  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
      folder: of the chips.
      chips: how many.
      counts: objects, or chips, that show each class, by its name.
      left_out: candidates that were left out, by why.
    """

    folder: Path
    chips: int
    counts: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)


def prepare_folder(
    folder: Path, dataset: Mapping[str, Any], files: Sequence[str], options: ChipOptions
) -> Path:
    """Return the folder in which finished parts are kept, those of the same export still there.

    Args:
      folder: of the chips.
      dataset: config of what is cut.
      files: that the chips follow from.
      options: how they are cut.

    Raises:
      DataError: the output holds files of another export, or of anyone else.
    """
    plan = {key: value for key, value in asdict(options).items() if key not in ("progress", "overwrite")}
    mark = fingerprint(dict(dataset), plan, file_stamps(files))
    work = folder / _WORK
    there = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    ours = work.is_dir()
    same = read_mark(work) == mark
    if there and not ours:
        raise DataError(
            f"output: {folder} holds other files ({', '.join(sorted(there)[:4])}); give a new folder"
        )
    if ours and not same:
        if not options.overwrite:
            raise DataError(
                f"output: {folder} holds chips of other data or options; give a new folder, or overwrite=true"
            )
        for name in _WRITTEN:
            path = folder / name
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    open_work(work, mark, resume=same)
    return work
