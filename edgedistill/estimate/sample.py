"""How many texts a recipe's sources have and how long they are, from a look at the files. Tokens are guessed from bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from edgedistill import data, plugins
from edgedistill.errors import ConfigError
from edgedistill.estimate.cost import Texts
from edgedistill.spec import Data, Recipe, Transfer
from edgedistill.stages import prepare

LOOKED_AT = 100_000  # rows of a file; of a larger one the rest counts as none, and the estimate is too low
BYTES_A_TOKEN = 4  # English words, three-byte scripts
MARKS = 2  # tokens that frame a text
WORD_TOKENS = 1.3  # pieces of an English word
TEXTS = ("text", "pair")


def labelled(recipe: Recipe, places: Mapping[str, str]) -> tuple[Texts, Texts, Texts]:
    """The training, validation and test rows. Raises ConfigError where the source cannot be read without a download."""
    task, spec = plugins.load("tasks", recipe.task), recipe.data
    lengths = [*_lengths(places["data"], spec, prepare.roles(task, spec))]
    whole = Texts(rows=min(len(lengths), spec.rows or len(lengths)), lengths=data.quantiles(lengths))
    held = {name: _held(getattr(spec, name), places.get(name), spec, task, whole.rows) for name in ("test", "validation")}
    drawn = sum(count for name, count in held.items() if not isinstance(getattr(spec, name), str))
    return whole.part(whole.rows - drawn), whole.part(held["validation"]), whole.part(held["test"])


def transfers(recipe: Recipe, places: Mapping[str, str]) -> Texts:
    """All transfer sets together, each row as often as it is seen in an epoch."""
    task = plugins.load("tasks", recipe.task)
    rows, lengths = 0.0, []
    for index, spec in enumerate(recipe.transfers):
        found = [*_lengths(places[f"transfer {index}"], spec, prepare.unlabelled_roles(task, spec, recipe.data))]
        if spec.sentences:  # a document is cut into sentences: how many is not known, how long roughly
            found = [round(WORD_TOKENS * (spec.min_words + spec.max_words) / 2)] * spec.rows
        rows += min(len(found), spec.rows) * spec.weight
        lengths += found
    return Texts(rows=rows, lengths=data.quantiles(lengths))


def _held(size: int | float | str, place: str | None, spec: Data, task: Any, rows: float) -> float:
    if isinstance(size, str):
        return float(sum(1 for _ in _lengths(place or "", spec, prepare.roles(task, spec))))
    return size if isinstance(size, int) else size * rows


def _lengths(place: str, spec: Data | Transfer, roles: Mapping[str, str]) -> Iterator[int]:
    if place.startswith("hub:"):
        raise ConfigError(f"{place} is not at hand")
    task_columns = [role for role in TEXTS if role in roles]
    for _, values, _ in islice(data.rows(Path(place), spec, roles, [], tuple(roles)), LOOKED_AT):
        size = sum(len(values.get(role, "").encode("utf-8", "replace")) for role in task_columns)
        yield size // BYTES_A_TOKEN + MARKS
