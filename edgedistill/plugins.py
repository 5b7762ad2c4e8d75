"""The folder is the list: which losses, tasks, targets … exist, and how to load one by name.

`losses/kl.py` is the loss `kl`; `tasks/text_classification.py` the task `text-classification`; a file that begins with `_` is a tool its
family shares. Python entry points (group `edgedistill.losses`, …) are asked only for a name that the folder does not have.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from edgedistill.errors import ConfigError, nearest

PACKAGE = Path(__file__).parent


def singular(family: str) -> str:
    """One member of a family, in words."""
    return {"losses": "loss"}.get(family, family.removesuffix("s"))


def names(family: str) -> list[str]:
    """The members of a family of modules, as users write them."""
    files = (PACKAGE / family).glob("[!_]*.py")
    return sorted(file.stem.replace("_", "-") for file in files)


def exists(family: str, name: str) -> bool:
    """Whether there is such a member, without importing it."""
    return name in names(family) or bool(entry_points(group=f"edgedistill.{family}", name=name))


def load(family: str, name: str) -> ModuleType:
    """The module behind a name.

    Raises ConfigError naming the known members when there is none.
    """
    if name in names(family):
        return import_module(f"edgedistill.{family}.{name.replace('-', '_')}")
    for entry in entry_points(group=f"edgedistill.{family}", name=name):
        module: ModuleType = entry.load()
        return module
    raise ConfigError(f"unknown {singular(family)} '{name}'", hint=nearest(name, names(family)))


def data_files(folder: str) -> dict[str, Path]:
    """TOML files that ship with edgedistill (`targets`, `recipes`) by stem: inside the installed package, else beside it in a checkout."""
    for root in (PACKAGE / folder, PACKAGE.parent / folder):
        if root.is_dir():
            return {file.stem: file for file in sorted(root.glob("*.toml"))}
    return {}


def data_file(folder: str, name: str) -> Path:
    """One shipped TOML file. Raises ConfigError naming the known ones."""
    known = data_files(folder)
    if name not in known:
        raise ConfigError(f"unknown {singular(folder)} '{name}'", hint=nearest(name, known))
    return known[name]
