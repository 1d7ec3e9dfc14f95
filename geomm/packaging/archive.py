"""Reading and writing the zip itself, trusting nothing that is in it."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from geomm.errors import PackageError, did_you_mean

EMD, WEIGHTS, CONFIG = "model.emd", "weights.safetensors", "config.yaml"
#: Where a model's own files lie, beside its weights.
FILES = "model/"
#: Members without which a package cannot be used.
REQUIRED = (EMD, WEIGHTS, CONFIG)
#: SHA-256 of every other member, as ``sha256sum -c`` reads them.
SUMS = "SHA256SUMS"
#: 2 has checksums, and every common key in the model definition.
FORMAT = 2
#: Text members beyond this size are no package of ours.
_MOST_TEXT_BYTES = 64 * 2**20
_EPOCH = (1980, 1, 1, 0, 0, 0)
#: What ``zipfile`` raises of a damaged zip: RuntimeError for an encrypted one, ValueError for a name's bytes.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True)
class Archive:
    """The checked members of a package.

    Attributes:
      path: the file it was read from.
      emd: the Esri model definition, geomm's own part under ``geomm``.
      config: the resolved run.
      weights: safetensors bytes.
      files: what else the model brings, by name.
      sizes: bytes of every member, by name.
      found_format: of the package as it lies there; what is here is of ``FORMAT``.
    """

    path: Path
    emd: dict[str, Any]
    config: dict[str, Any]
    weights: bytes
    files: Mapping[str, bytes] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    found_format: int = FORMAT

    def read(self, name: str) -> bytes:
        """Return a member.

        Raises:
          PackageError: there is none of that name, or it is damaged.
        """
        try:
            if self.path.is_dir():
                return (self.path / name).read_bytes()
            with zipfile.ZipFile(self.path) as archive:
                return archive.read(name)
        except (KeyError, FileNotFoundError) as error:
            raise PackageError(f"{self.path} has no {name}") from error
        except _UNREADABLE as error:
            raise PackageError(
                f"{self.path}: {name} cannot be read ({_reason(error)}); copy the package again"
            ) from error

    def read_text(self, name: str) -> str:
        """Return a member as text.

        Raises:
          PackageError: there is none of that name, or it is damaged or no text.
        """
        return _text(self.path, self.read, name)

    @property
    def own(self) -> dict[str, Any]:
        """Geomm's part of the model definition: format, task, spec."""
        return dict(self.emd["geomm"])


def write_archive(path: Path, members: Mapping[str, bytes]) -> Path:
    """Write members to a zip that is the same for the same content; it appears when complete."""
    temporary = path.with_name(f".{path.name}.part")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            # Weights hardly shrink, and uncompressed they load faster.
            info.compress_type = zipfile.ZIP_STORED if name == WEIGHTS else zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)
    os.replace(temporary, path)
    return path


def checksums(members: Mapping[str, bytes]) -> bytes:
    """Return the lines of ``SUMS`` for some members."""
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in members.items()]
    return "".join(lines).encode()


def open_archive(path: str | Path) -> Archive:
    """Read and check a package.

    Raises:
      PackageError: no file, no zip, a damaged or foreign one, a member that leaves the zip, a
        pickle in place of the weights, or a newer format.
    """
    file = Path(path)
    if file.is_dir():
        return _open_folder(file)
    if not file.is_file():
        names = [p.name for p in file.parent.glob("*.dlpk")] if file.parent.is_dir() else []
        near = did_you_mean(file.name, names) if names else "its folder has no package (*.dlpk)"
        raise PackageError(f"no model package at {file}; {near}")
    try:
        with zipfile.ZipFile(file) as archive:
            _check_members(file, archive)
            damaged = archive.testzip()
            if damaged is not None:
                raise PackageError(f"{file}: member {damaged} is damaged; copy the package again")
            emd = _json(file, archive.read)
            sizes = {item.filename: item.file_size for item in archive.infolist() if not item.is_dir()}
            return _archive(file, emd, archive.read, sizes)
    except _UNREADABLE as error:
        raise PackageError(
            f"{file} is not a readable model package ({_reason(error)}); expected the model.dlpk that "
            "training wrote"
        ) from error


def read_config(path: str | Path) -> dict[str, Any]:
    """Read the config of the run that a package came from, and nothing else of it.

    Raises:
      PackageError: there is no such package, or no config in it.
    """
    file = Path(path)
    try:
        if file.is_dir():
            return _yaml(file, lambda name: (file / name).read_bytes())
        with zipfile.ZipFile(file) as archive:
            return _yaml(file, archive.read)
    except (KeyError, *_UNREADABLE) as error:
        raise PackageError(f"{file} is not a readable model package ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())


def _open_folder(folder: Path) -> Archive:
    """Read a package that was unpacked, as ArcGIS does before it calls the raster function."""
    sizes = {p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*") if p.is_file()}
    _check_required(folder, list(sizes))

    def read(name: str) -> bytes:
        return (folder / name).read_bytes()

    return _archive(folder, _json(folder, read), read, sizes)


def _archive(
    file: Path, emd: dict[str, Any], read: Callable[[str], bytes], sizes: Mapping[str, int]
) -> Archive:
    found = _check_format(file, emd)
    files = {name[len(FILES) :]: read(name) for name in sizes if name.startswith(FILES)}
    upgraded = {**emd, "geomm": {**emd["geomm"], "format": FORMAT}}
    return Archive(file, upgraded, _yaml(file, read), read(WEIGHTS), files, sizes, found)


def _check_members(file: Path, archive: zipfile.ZipFile) -> None:
    names = archive.namelist()
    for info in archive.infolist():
        if not info.filename.startswith((WEIGHTS, FILES)) and info.file_size > _MOST_TEXT_BYTES:
            raise PackageError(f"{file}: {info.filename} is implausibly large")
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in name:
            raise PackageError(f"{file}: member {name!r} points outside the package; do not use it")
    _check_required(file, names)


def _check_required(file: Path, names: Sequence[str]) -> None:
    missing = [name for name in REQUIRED if name not in names]
    if not missing:
        return
    pickles = [name for name in names if name.endswith((".pth", ".pt", ".pkl", ".pickle", ".bin"))]
    if pickles:
        raise PackageError(
            f"{file} holds its weights as a pickle ({pickles[0]}), which can run code when loaded; "
            "geomm loads safetensors only: save the model with geomm again"
        )
    if any(name.endswith(".emd") for name in names):
        raise PackageError(
            f"{file} was not written by geomm (missing {', '.join(missing)}); packages of arcgis.learn "
            "hold code of their own and cannot be loaded: train again with geomm"
        )
    raise PackageError(f"{file} is not a model package: missing {', '.join(missing)}")


def _text(file: Path, read: Callable[[str], bytes], name: str) -> str:
    try:
        return read(name).decode("utf-8")
    except UnicodeDecodeError as error:
        raise PackageError(f"{file}: {name} is not text; copy the package again") from error


def _json(file: Path, read: Callable[[str], bytes]) -> dict[str, Any]:
    try:
        data = json.loads(_text(file, read, EMD))
    except json.JSONDecodeError as error:
        raise PackageError(f"{file}: {EMD} is not JSON ({error})") from error
    if not isinstance(data, dict) or not isinstance(data.get("geomm"), dict):
        raise PackageError(f"{file}: {EMD} is not geomm's; expected a package that geomm wrote")
    return data


def _yaml(file: Path, read: Callable[[str], bytes]) -> dict[str, Any]:
    import yaml

    try:
        data = yaml.safe_load(_text(file, read, CONFIG))
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise PackageError(f"{file}: {CONFIG} is not plain YAML ({reason})") from error
    if not isinstance(data, dict):
        raise PackageError(f"{file}: {CONFIG} holds no run")
    return data


def _check_format(file: Path, emd: Mapping[str, Any]) -> int:
    """Return a package's format, of which every one up to ``FORMAT`` is read.

    Format 1 differs in what is beside the model alone: it has no checksums, its definition lacks keys, and a
    spec of its time may lack what was added since, which then has its default.
    """
    found = emd["geomm"].get("format")
    if not isinstance(found, int) or found < 1:
        raise PackageError(f"{file}: unknown package format {found!r}")
    if found > FORMAT:
        raise PackageError(
            f"{file}: package format {found} is newer than this geomm reads ({FORMAT}); "
            "upgrade with pip install --upgrade geomm"
        )
    return found
