"""The model bundle: weights and payload in one folder, loaded without running code.

``bundle/weights.safetensors`` holds the tensors, ``bundle/bundle.json`` the
schema version, the payload, and checksums of both.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ptycho_dist.atomic import sync
from ptycho_dist.errors import BundleError
from ptycho_dist.run_folder import held_by
from ptycho_dist.version import package_version

SCHEMA_VERSION = 1
WEIGHTS_NAME = "weights.safetensors"
INFO_NAME = "bundle.json"
PRETRAINED = Path(__file__).parent / "pretrained"
"""The bundle that ships with the package."""
BUNDLE_FOLDER = "bundle"
_REQUIRED = {
    "schema_version": int,
    "package_version": str,
    "payload": dict,
    "payload_sha256": str,
    "weights_sha256": str,
    "weights_bytes": int,
    "complex": list,
}


@dataclass(frozen=True)
class BundleInfo:
    """What a bundle says of itself, weights unread.

    Parameters
    ----------
    path
        The bundle folder.
    payload_dict
        Settings of the training, nested plain values.
    weights_checksum
        SHA-256 (hex) of the weights file.
    package_version
        Version of this package that wrote it.
    complex_names
        Tensors that are complex, and are stored as pairs of reals.
    """

    path: Path
    payload_dict: dict[str, Any]
    weights_checksum: str
    package_version: str
    complex_names: tuple[str, ...]

    @property
    def holds_probe(self) -> bool:
        """Whether the weights hold the probe of a scan; not after a training on many scans."""
        return bool(self.payload_dict.get("holds_probe", True))

    @property
    def fits_any_size(self) -> bool:
        """Whether the network was trained for frames of several sizes, doses and numbers of modes."""
        return bool(self.payload_dict.get("fits_any_size", False))


@dataclass(frozen=True)
class Bundle:
    """Weights (on the CPU) and payload of a trained model."""

    state: dict[str, Tensor]
    payload_dict: dict[str, Any]
    weights_checksum: str


def save_bundle(path: Path, state: Mapping[str, Tensor], payload_dict: Mapping[str, Any]) -> Path:
    """Write a bundle folder; a bundle already there is replaced when the new one is complete.

    Parameters
    ----------
    path
        The bundle folder.
    state
        Tensors by name, of any dtype safetensors knows, or complex64/complex128.
    payload_dict
        Settings as nested plain values (JSON).

    Raises
    ------
    BundleError
        If the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            _write_contents(folder, state, payload_dict)
            _replace_folder(folder, path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        msg = f"bundle {path} cannot be written: {error.strerror}. Check the folder and its free space."
        raise BundleError(msg) from error
    return path


def _write_contents(folder: Path, state: Mapping[str, Tensor], payload_dict: Mapping[str, Any]) -> None:
    weights = safetensors.torch.save({name: _storable(tensor) for name, tensor in state.items()})
    info = {
        "schema_version": SCHEMA_VERSION,
        "package_version": package_version(),
        "payload": dict(payload_dict),
        "payload_sha256": _payload_checksum(payload_dict),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "weights_bytes": len(weights),
        "complex": sorted(name for name, tensor in state.items() if tensor.is_complex()),
    }
    folder.chmod(0o755)
    _write_synced(folder / WEIGHTS_NAME, weights)
    _write_synced(folder / INFO_NAME, json.dumps(info, indent=1, sort_keys=True).encode())
    sync(folder)


def _storable(tensor: Tensor) -> Tensor:
    real = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    return real.detach().cpu().contiguous().clone()


def _write_synced(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    sync(path)


def _replace_folder(new: Path, path: Path) -> None:
    """Rename ``new`` to ``path``; what was there stays until the new one is complete."""
    if path.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
        path.rename(old / path.name)
        new.rename(path)
        shutil.rmtree(old)
    else:
        new.rename(path)
    sync(path.parent)


def find_bundle(path: Path) -> Path:
    """Find the bundle folder: ``path`` itself, or ``path/bundle``.

    Raises
    ------
    BundleError
        If neither is a bundle.
    """
    folder = path.parent if path.is_file() else path
    for candidate in (folder, folder / BUNDLE_FOLDER):
        if (candidate / INFO_NAME).is_file():
            return candidate
    nothing = f"has no {INFO_NAME}, nor has its folder {BUNDLE_FOLDER}/; it is a folder"
    found = f"{nothing} {held_by(folder)}" if folder.is_dir() else "is not there"
    msg = f"bundle {path} {found}; expected the folder of a run that trained, or its {BUNDLE_FOLDER}. Check the path."
    raise BundleError(msg)


def read_bundle_info(path: Path) -> BundleInfo:
    """Read what a bundle says of itself, without its weights.

    Raises
    ------
    BundleError
        If it is missing, damaged, incomplete, or newer than this program.
    """
    raw = _read_json(path)
    _check_version(path, raw)
    for key, kind in _REQUIRED.items():
        if not isinstance(raw.get(key), kind):
            _refuse(path, f"{INFO_NAME} has {key} = {raw.get(key)!r}; expected a {kind.__name__}")
    if _payload_checksum(raw["payload"]) != raw["payload_sha256"]:
        _refuse(path, f"the settings in {INFO_NAME} do not match their checksum")
    weights = path / WEIGHTS_NAME
    if not weights.is_file():
        _refuse(path, f"{WEIGHTS_NAME} is missing")
    size = weights.stat().st_size
    if size != raw["weights_bytes"]:
        _refuse(path, f"{WEIGHTS_NAME} has {size} bytes; expected {raw['weights_bytes']}")
    return BundleInfo(
        path=path,
        payload_dict=raw["payload"],
        weights_checksum=raw["weights_sha256"],
        package_version=raw["package_version"],
        complex_names=tuple(raw["complex"]),
    )


def load_bundle(path: Path) -> Bundle:
    """Read weights and payload, to the CPU. Executes nothing from the bundle.

    Raises
    ------
    BundleError
        If the bundle is missing, damaged, incomplete, or newer than this program.
    """
    info = read_bundle_info(path)
    try:
        content = (path / WEIGHTS_NAME).read_bytes()
    except OSError as error:
        _refuse(path, f"{WEIGHTS_NAME} cannot be read ({error.strerror})", error)
    if hashlib.sha256(content).hexdigest() != info.weights_checksum:
        _refuse(path, f"{WEIGHTS_NAME} does not match its checksum")
    try:
        state = safetensors.torch.load(content)
    except SafetensorError as error:
        _refuse(path, f"{WEIGHTS_NAME} is not a safetensors file ({error})", error)
    for name in info.complex_names:
        if name not in state or state[name].shape[-1:] != (2,):
            _refuse(path, f"complex tensor {name!r} is not stored as pairs")
        state[name] = torch.view_as_complex(state[name])
    return Bundle(state, info.payload_dict, info.weights_checksum)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads((path / INFO_NAME).read_text(encoding="utf-8"))
    except OSError as error:
        _refuse(path, f"{INFO_NAME} cannot be read ({error.strerror})", error)
    except ValueError as error:
        _refuse(path, f"{INFO_NAME} is not JSON ({error})", error)
    if not isinstance(raw, dict):
        _refuse(path, f"{INFO_NAME} holds a {type(raw).__name__}; expected an object")
    return raw


def _check_version(path: Path, raw: Mapping[str, Any]) -> None:
    schema = raw.get("schema_version")
    if isinstance(schema, int) and schema > SCHEMA_VERSION:
        msg = (
            f"bundle {path} has schema version {schema}, written by ptycho-dist {raw.get('package_version')}; this "
            f"program reads versions up to {SCHEMA_VERSION}. Install that version or newer."
        )
        raise BundleError(msg)


def _payload_checksum(payload: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(payload, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        msg = f"bundle settings cannot be written as JSON ({error}); expected plain values. Pass payload.to_dict()."
        raise BundleError(msg) from error
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse(path: Path, found: str, cause: BaseException | None = None) -> NoReturn:
    msg = f"bundle {path}: {found}. Copy the bundle again from its source, or train again."
    raise BundleError(msg) from cause
