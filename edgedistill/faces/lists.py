"""tasks, losses, students, devices, recipes, cache ls and verify: what there is."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgedistill import plugins
from edgedistill.cache import Store
from edgedistill.errors import ConfigError, IntegrityError
from edgedistill.faces import print_json
from edgedistill.wording import megabytes


def show(family: str, words: Sequence[str], *, as_json: bool) -> None:
    """List a family, or show one member: `show NAME`, or just `NAME`."""
    wanted = [word for word in words if word != "show"]
    if len(wanted) > 1 or (words and not wanted):
        raise ConfigError(f"edgedistill {family} {' '.join(words)}: expected `show NAME`")
    if wanted:
        _show_one(family, wanted[0], as_json)
    else:
        _list_all(family, as_json)


def _list_all(family: str, as_json: bool) -> None:
    rows = {name: _summary(family, name) for name in _names(family)}
    if as_json:
        print_json({"schema": f"edgedistill.{family}/1", family: rows})
        return
    width = max(map(len, rows))
    for name, summary in rows.items():
        print(f"{name:{width}}  {summary}")


def _names(family: str) -> list[str]:
    return list(plugins.data_files(family)) if family == "recipes" else plugins.names(family)


def _summary(family: str, name: str) -> str:
    if family == "recipes":
        return plugins.data_file("recipes", name).read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
    return _docstring(family, name).splitlines()[0]


def _docstring(family: str, name: str) -> str:
    """A module's docstring, read without importing it: a loss would bring torch."""
    file = plugins.PACKAGE / family / f"{name.replace('-', '_')}.py"
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or name


def _show_one(family: str, name: str, as_json: bool) -> None:
    if family == "recipes":
        text = plugins.data_file("recipes", name).read_text(encoding="utf-8")
        document: dict[str, Any] = {"schema": "edgedistill.recipe/1", **tomllib.loads(text)}
    else:
        if name not in plugins.names(family):
            plugins.load(family, name)
        text = _docstring(family, name) + (_reading(name) if family == "tasks" else "")
        document = {"schema": f"edgedistill.{plugins.singular(family)}/1", "name": name, "text": text}
    if as_json:
        print_json(document)
    else:
        print(text)


def _reading(name: str) -> str:
    """What a task reads where the recipe names no column, and what `predict` is given."""
    task = plugins.load("tasks", name)
    columns = ", ".join(f'{role} = "{column}"' for role, column in task.COLUMNS.items())
    better = "more" if task.HIGHER else "less"
    return f"\n\ncolumns   {columns}\nscore     {task.METRIC}; {better} is better\npredict   edgedistill predict BUNDLE {task.SHOWN}"


def cache_list(store_dir: Path, *, as_json: bool) -> None:
    """Print every finished step with its size and age."""
    rows = [
        {
            "stage": one.stage,
            "key": one.key,
            "bytes": sum(int(file["bytes"]) for file in one.receipt["files"].values()),
            "created": one.receipt["created"],
        }
        for one in Store(store_dir).entries()
    ]
    if as_json:
        print_json({"schema": "edgedistill.cache/1", "entries": rows})
        return
    for row in rows:
        print(f"{row['created']}  {row['stage']:9} {str(row['key'])[:12]}  {megabytes(int(str(row['bytes']))):>9}")
    print(f"{len(rows)} steps, {megabytes(sum(int(str(row['bytes'])) for row in rows))} in {store_dir}")


def cache_verify(store_dir: Path) -> None:
    """Check the store; raises IntegrityError that names what differs."""
    store = Store(store_dir)
    faults = store.verify()
    if faults:
        raise IntegrityError("\n".join(faults), hint="remove the named step's folder; the next build makes it again")
    print(f"ok: {len(list(store.entries()))} steps are what their receipts say")
