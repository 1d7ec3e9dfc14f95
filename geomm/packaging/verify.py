"""Whether a package is whole: its members, checksums, descriptions and weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from geomm.errors import GeommError, PackageError
from geomm.packaging.archive import SUMS, Archive, open_archive
from geomm.packaging.emd import COMMON
from geomm.packaging.show import read_tensors
from geomm.structures import WithFiles

_CARD, _METRICS, _MLM = "README.md", "metrics.json", "mlm.json"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
      name: of it.
      problem: what is wrong, None where nothing is.
      said: what was found where nothing is wrong.
    """

    name: str
    problem: str | None
    said: str = ""

    def __str__(self) -> str:
        return f"{'ok  ' if self.problem is None else 'FAIL'}  {self.name:<12}{self.problem or self.said}"


def verify_package(path: str | Path) -> list[Check]:
    """Check a package in all its parts; a part that is wrong does not end the others.

    Raises:
      PackageError: it cannot be opened at all.
    """
    archive = open_archive(path)
    looks: dict[str, Callable[[Archive], str]] = {
        "members": _members,
        "checksums": _checksums,
        "model.emd": _definition,
        "mlm.json": _item,
        "weights": _weights,
        "model": _model,
    }
    return list(_look(archive, looks))


def _look(archive: Archive, looks: dict[str, Callable[[Archive], str]]) -> Iterator[Check]:
    changed = False
    for name, look in looks.items():
        if name == "model" and changed:
            yield Check(name, "not built, as it is not what was saved")
            continue
        try:
            yield Check(name, None, look(archive))
        except GeommError as error:
            changed |= name == "checksums"
            yield Check(name, str(error))


def _members(archive: Archive) -> str:
    lacking = [name for name in (_CARD, _METRICS, _MLM) if name not in archive.sizes]
    if lacking:
        raise PackageError(f"missing {', '.join(lacking)}; save the model again")
    return f"{len(archive.sizes)}, {sum(archive.sizes.values()):,} bytes, none damaged"


def _checksums(archive: Archive) -> str:
    if SUMS not in archive.sizes:
        if archive.found_format > 1:
            raise PackageError(f"missing {SUMS}; copy the package again")
        return f"none: packages of format {archive.found_format} had none"
    listed: dict[str, str] = {}
    for line in archive.read_text(SUMS).splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    there = set(archive.sizes) - {SUMS}
    known = sorted(there & set(listed))
    wrong = [name for name in known if hashlib.sha256(archive.read(name)).hexdigest() != listed[name]]
    for what, names in (
        ("changed since it was saved", wrong),
        ("added since it was saved", sorted(there - set(listed))),
        ("taken out since it was saved", sorted(set(listed) - there)),
    ):
        if names:
            raise PackageError(f"{', '.join(names)}: {what}; copy the package again")
    return f"{len(listed)} of SHA-256 are right"


def _definition(archive: Archive) -> str:
    lacking = [key for key in COMMON if key not in archive.emd]
    if lacking and archive.found_format > 1:
        raise PackageError(f"no {', '.join(lacking)}; save the model again")
    for key in ("ModelFile", "InferenceFunction"):
        name = archive.emd.get(key)
        if name is not None and name not in archive.sizes:
            raise PackageError(f"{key} names {name!r}, which is not in the package")
    return f"{archive.emd.get('ModelType')}, {len(archive.emd.get('Classes') or [])} classes"


def _item(archive: Archive) -> str:
    """Check what the extension's schema asks for, as far as loading needs no schema."""
    try:
        item = json.loads(archive.read_text(_MLM))
        properties, assets = item["properties"], item["assets"]
        lacking = [
            key
            for key in ("mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output")
            if key not in properties
        ]
        if lacking and archive.found_format > 1:
            raise PackageError(f"no {', '.join(lacking)}; save the model again")
        arrays = [part["input"] for part in properties.get("mlm:input", [])]
        arrays += [part["result"] for part in properties.get("mlm:output", [])]
        for array in arrays:
            if len(array["shape"]) != len(array["dim_order"]):
                raise PackageError(f"shape {array['shape']} has other dimensions than {array['dim_order']}")
        for asset in assets.values():
            name = str(PurePosixPath(asset["href"]))
            if name not in archive.sizes:
                raise PackageError(f"names {asset['href']!r}, which is not in the package")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PackageError(f"is no STAC item of a model ({type(error).__name__}: {error})") from error
    return f"{', '.join(properties.get('mlm:tasks', []))}; {len(arrays)} arrays described"


def _weights(archive: Archive) -> str:
    tensors = read_tensors(archive.weights)
    return f"{len(tensors)} arrays"


def _model(archive: Archive) -> str:
    """Build the model, and compare each array with what it asks for."""
    import torch

    from geomm.packaging.package import build_model, load_archive

    empty = build_model(archive)[2]
    wanted: dict[str, Any] = {name: tuple(value.shape) for name, value in empty.state_dict().items()}
    there = {name: item.shape for name, item in read_tensors(archive.weights).items()}
    # Some models know their shapes only from the files beside the weights.
    for name in [] if isinstance(empty, WithFiles) else sorted(set(wanted) | set(there)):
        if wanted.get(name) != there.get(name):
            found, asked = there.get(name, "nothing"), wanted.get(name, "nothing")
            raise PackageError(f"{name}: the weights hold {found}, the model of its config has {asked}")
    model = load_archive(archive).model
    bad = [
        name
        for name, value in model.state_dict().items()
        if value.is_floating_point() and not torch.isfinite(value).all()
    ]
    if bad:
        raise PackageError(f"{bad[0]} holds values that are no numbers; train again")
    count = sum(value.numel() for value in model.state_dict().values())
    return f"builds and loads: {type(model).__name__}, {count:,} numbers"
