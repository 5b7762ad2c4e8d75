"""A folder with one folder of images for each class."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from edgedistill.characters import is_halved
from edgedistill.data._faults import Faults
from edgedistill.data._record import Record, shown
from edgedistill.data.saved import is_saved
from edgedistill.errors import ConfigError, nearest

EXTENSIONS = ()  # a folder has none
UNIT = "image"
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def recognises(path: Path) -> bool:
    """Whether this is a folder whose folders, or the folders in these (one for each split), hold images."""
    if not path.is_dir() or is_saved(path):
        return False
    return any(_is_image(file) for inner in _folders(path) for file in chain(inner.iterdir(), *(deep.iterdir() for deep in _folders(inner))))


def records(path: Path, split: str) -> Iterator[Record]:
    """Each image in the order of its name: `label` is the class's folder, `path` the file from there, and `image` its bytes.

    Where the folder has a folder for each split, with the classes below, `split` chooses. Raises DataError, up to ten faults at once.
    """
    root = _root(path, split)
    faults = Faults(root, UNIT)
    number = 0
    for file in sorted(root.iterdir()):
        if _is_image(file):
            faults.add(number, f"{file.name} is in no class", "every image goes into the folder of its class")
    for folder in _folders(root):
        if is_halved(folder.name):
            faults.add(number, f"the class folder {folder.name!r} has a name that is not UTF-8", "its name is the class: mv it to one in UTF-8")
            continue
        files = sorted(file for file in folder.rglob("*") if _is_image(file))
        if not files:
            faults.add(number, f"the class folder '{folder.name}' holds no image", f"take it away, or fill it: {', '.join(SUFFIXES)}")
        for file in files:
            number += 1
            name = file.relative_to(root).as_posix()
            try:
                yield Record(number, {"label": folder.name, "path": name}, {"image": file.read_bytes()})
            except OSError as error:
                faults.add(number, f"{name} cannot be read: {error}")
    faults.settle()


def _root(path: Path, split: str) -> Path:
    """The folder that holds the classes."""
    if any(_is_image(file) for inner in _folders(path) for file in inner.iterdir()):
        return path
    splits = [inner.name for inner in _folders(path)]
    if split not in splits:
        raise ConfigError(f"{shown(path)}: no split '{split}' among its folders", hint=nearest(split, splits))
    return path / split


def _folders(path: Path) -> list[Path]:
    return sorted(inner for inner in path.iterdir() if inner.is_dir() and not inner.name.startswith((".", "__")))


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
