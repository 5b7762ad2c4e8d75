"""The guess: what each kind makes of a file, and the strongest of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edgedistill.data._guess import classes, numbers, pictures, plain, questions, words
from edgedistill.data._guess._header import provisional
from edgedistill.data._guess._noun import ASKED_ONLY, Guess
from edgedistill.data._guess._table import Column, Table, survey
from edgedistill.data._guess._texts import quantiles, sizes, texts
from edgedistill.data._record import shown
from edgedistill.errors import ConfigError, Fault

KINDS = (classes, numbers, words, questions, pictures, plain)
TOLD = 20  # columns that a refusal lists
LABELS = {
    "multi-label-classification": "labels",
    "text-regression": "score",
    "sentence-embedding": "score",
    "token-classification": "tags",
    "question-answering": "answers",
}


def guess(path: Path, task: str | None = None) -> Guess:
    """Read the file and choose, among the guesses for `task` where it is given.

    Raises ConfigError with what was seen where the file suits no task, or not this one.
    """
    table = survey(path, provisional(path))
    found = sorted((one for kind in KINDS for one in kind.guesses(table)), key=lambda one: -one.strength)
    wanted = [one for one in found if (one.strength > ASKED_ONLY if task is None else one.task == task)]
    if not wanted:
        raise _refusal(table, task, [one.task for one in found])
    chosen = wanted[0]
    also = tuple(dict.fromkeys(one.task for one in found if one.task != chosen.task))
    columns = [table.columns[name] for name in (chosen.text, chosen.pair) if name is not None]
    return _named(replace(chosen, also=also, lengths=quantiles(sizes(*columns)) if columns else ()), table)


def _refusal(table: Table, task: str | None, suits: Sequence[str]) -> ConfigError:
    place = shown(table.path)
    if task is not None and suits:
        return ConfigError(f"{place}: its columns do not suit {task}", hint=f"they suit {', '.join(suits)}: name one with --task, or none")
    lacking = "label (few distinct values, each in several rows)" if texts(table.columns.values()) else "text"
    hint = f"for its texts alone: edgedistill init {place} --task {plain.TASK}" if plain.TASK in suits else ""
    faults = [Fault(place, f"no column can be the {lacking}", hint), *(Fault("saw", str(column)) for column in table.columns.values())]
    return ConfigError(faults[:TOLD])


def _named(found: Guess, table: Table) -> Guess:
    """The guess with sensible names in place of the provisional ones."""
    if not table.names:
        return found
    given = {column: _name(role, found) for role, column in found.roles.items()}
    key = next((name for name, column in table.columns.items() if name not in given and _is_key(column, table.rows)), None)
    names = {name: given.get(name) or ("id" if name == key else name.replace(" ", "")) for name in table.names}
    return replace(
        found,
        columns=tuple(names.values()),
        text=found.text and names[found.text],
        pair=found.pair and names[found.pair],
        image=found.image and names[found.image],
        label=found.label and names[found.label],
        doubts={role: tuple(_renamed(other, names) for other in others) for role, others in found.doubts.items()},
    )


def _name(role: str, found: Guess) -> str:
    if role == "label":
        return LABELS.get(found.task, "label")
    sides = {"text": "sentence1", "pair": "sentence2"} if found.pair else {}
    return sides.get(role, role)


def _is_key(column: Column, rows: int) -> bool:
    return not column.prose and column.filled == rows and (column.many or len(column.values) == rows)


def _renamed(other: str, names: Mapping[str, str]) -> str:
    """A column's new name in a remark such as `column 12 (3 values)`."""
    column = next((name for name in names if other == name or other.startswith(f"{name} (")), None)
    return names[column] + other.removeprefix(column) if column else other
