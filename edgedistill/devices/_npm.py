"""Packages of npm's registry, each pinned by its digest, of each only the files that run here. No package's own scripts are run.

Kept whole in the folder of the tools, as everything that the devices are made of.
"""

from __future__ import annotations

import base64
import hashlib
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from edgedistill.devices import _toolchain
from edgedistill.errors import DeviceError, IntegrityError

INSTALL = "apt-get install nodejs npm"
FETCH_S = 600  # onnxruntime-node is 113 MB: the libraries of six systems
SYSTEM = {"Linux": "linux", "Darwin": "darwin", "Windows": "win32"}.get(platform.system(), "unknown")  # as Node.js calls them
ARCH = {"x86_64": "x64", "AMD64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A release: its digest as npm's registry gives it, and the beginnings of the paths that are kept."""

    version: str
    sha512: str
    kept: tuple[str, ...]


PACKAGES: Mapping[str, Package] = {
    "onnxruntime-common": Package(
        version="1.30.0",
        sha512="7fdVWjAID1dVhH/G8qK3APARunV4VkBFoCQAP7qp4Wkab0mrorvmc+sqiT+mKXOzDqdjN5j+/Z9nb4gzNPWcyA==",
        kept=("package.json", "dist/cjs/"),
    ),
    "onnxruntime-node": Package(
        version="1.30.0",
        sha512="twhs1C2C/BFkz1yc5OY0KIU2GUq6DURO7hD4bx5Q2Qy3nAMJwRXW8xU3NVczE29VA9lolLOYepoD8fjTGOfIqw==",
        kept=("package.json", "dist/", f"bin/napi-v6/{SYSTEM}/{ARCH}/"),
    ),
    "onnxruntime-web": Package(
        version="1.30.0",
        sha512="q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
        kept=("package.json", *(f"dist/ort.{kind}.min.mjs" for kind in ("wasm", "webgpu")), "dist/ort-wasm-simd-threaded."),
    ),
}


def package(name: str, *needs: str) -> Path:
    """The folder of a package, with the packages that it needs beside it.

    Raises DeviceError with the command where npm is missing or fails, IntegrityError when what came is not what was pinned.
    """
    version = PACKAGES[name].version
    place = _toolchain.kept(f"npm-{name}-{version}-{SYSTEM}-{ARCH}", lambda folder: _fetch(folder, (name, *needs)))
    return place / "node_modules" / name


def _fetch(folder: Path, names: Sequence[str]) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise DeviceError(f"npm is not here, which brings {' and '.join(names)}", hint=INSTALL)
    with TemporaryDirectory(dir=folder) as downloads:
        for name in names:
            one = PACKAGES[name]
            archive = _packed(npm, name, one, Path(downloads))
            _unpack(archive, folder / "node_modules" / name, one.kept)


def _packed(npm: str, name: str, one: Package, folder: Path) -> Path:
    """The archive that npm fetched."""
    pinned = f"{name}@{one.version}"
    command = [npm, "pack", "--ignore-scripts", "--pack-destination", str(folder), pinned]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_S, check=False, cwd=folder)
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"{pinned} could not be fetched: nothing in {FETCH_S} s", hint=f"npm pack {pinned}") from error
    if ended.returncode:
        said = [line for line in ended.stderr.splitlines() if line.startswith("npm error")] or ["no output"]
        raise DeviceError(f"{pinned} could not be fetched: {said[0]}", hint=f"npm pack {pinned}")
    archive = folder / f"{name}-{one.version}.tgz"
    with archive.open("rb") as stream:
        found = base64.b64encode(hashlib.file_digest(stream, "sha512").digest()).decode()
    if found != one.sha512:
        raise IntegrityError(f"{pinned} is not the release that was pinned: sha512 {found}", hint="npm config get registry   names who sent it")
    return archive


def _unpack(archive: Path, place: Path, kept: tuple[str, ...]) -> None:
    with tarfile.open(archive) as packed:
        members = [member for member in packed if member.name.removeprefix("package/").startswith(kept) and not member.name.endswith(".map")]
        packed.extractall(place.parent / f"{place.name}.tar", members, filter="data")
    (place.parent / f"{place.name}.tar" / "package").rename(place)
    (place.parent / f"{place.name}.tar").rmdir()
