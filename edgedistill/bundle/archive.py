"""A bundle that is still packed: what it is, and the command that unpacks it. Nothing is unpacked here: an archive may be hostile."""

from __future__ import annotations

import tarfile
import zipfile
from itertools import islice
from pathlib import Path, PurePosixPath

from edgedistill.errors import ConfigError

LOOKED_AT = 1000  # entries of a tar file, which has no list of them


def refuse_packed(path: Path) -> None:
    """Raises ConfigError for an archive that holds a bundle: it has to be unpacked."""
    if not path.is_file():
        return
    module, names = ("zipfile", _zipped(path)) if zipfile.is_zipfile(path) else ("tarfile", _tarred(path))
    if any(PurePosixPath(name).name == "manifest.json" for name in names):
        folder = path.with_name(path.name.removesuffix("".join(path.suffixes)) or "bundle")
        unpack = f"python -m {module} -e {path} {folder}"
        raise ConfigError(f"{path} is a packed bundle: it has to be unpacked first", hint=f"{unpack}   then name the folder with manifest.json")


def _zipped(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return []


def _tarred(path: Path) -> list[str]:
    """The first names; nothing where it is no tar file, compressed or not."""
    try:
        with tarfile.open(path) as archive:
            return [entry.name for entry in islice(archive, LOOKED_AT)]
    except (tarfile.TarError, OSError, EOFError):
        return []
