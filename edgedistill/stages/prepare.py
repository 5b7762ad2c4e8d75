"""prepare: read the rows, drop repeats, split them, and draw the transfer and calibration examples."""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from edgedistill import plugins
from edgedistill.data import made
from edgedistill.data._sentences import sentences
from edgedistill.data._twins import missing, remedy, same_as, twins
from edgedistill.errors import DataError, Fault, nearest
from edgedistill.progress import Progress
from edgedistill.spec import Data, Inputs, Transfer
from edgedistill.stages import needs_files
from edgedistill.stages._draw import Row, check_strata, draw, unique
from edgedistill.stages._labels import Reader, classes, counted
from edgedistill.stages._splits import SPLITS, write_split
from edgedistill.tasks._classes import unknown

VERSION = 4  # 4: examples of every task
TOOLS = ("scikit-learn",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """Which rows. Sources are in the places `data`, `test`, `validation`, `transfer 0` …; their content is in the key."""

    task: str
    data: Data
    transfers: tuple[Transfer, ...]
    seed: int


def requires(params: Params, places: Mapping[str, str]) -> list[Fault]:
    """Sources were resolved by the plan; the rows are judged when they are read."""
    return []


def run(params: Params, inputs: Inputs, out: Path, progress: Progress) -> dict[str, Any]:
    """Write the five splits and the class names."""
    task = plugins.load("tasks", params.task)
    skipped: list[str] = []
    reader = Reader(task, params.data)
    rows, dropped = unique(task, _labelled(task, params.data, inputs.places["data"], reader, skipped))
    progress.note(f"{len(rows)} labelled rows; dropped {dropped['repeats']} repeats and {dropped['contradictions']} that contradict each other")
    if params.data.rows and params.data.rows < len(rows):
        rows = [rows[index] for index in np.random.default_rng(params.seed).permutation(len(rows))[: params.data.rows]]
        progress.note(f"{len(rows)} of them drawn")
    parts = _split(task, params, inputs.places, rows, reader, skipped)
    reader.settle()
    counts = counted(row.target for part in parts.values() for row in part) if task.CLASSES else {}
    line = _warn_of_spellings(params.data, counts, progress)
    labels = task.names(row.target for name in _naming(task, params.data, parts) for row in parts[name])
    found = classes(labels, params.data.names, line)
    numbers = {name: [_number(task, row, found.labels, name, params.data) for row in part] for name, part in parts.items()}
    known = {task.identity(row.example) for part in parts.values() for row in part}
    transfer, frequency = _transfers(task, params, inputs.places, known, skipped, progress)
    for message in skipped[:5]:
        progress.warn(f"skipped {message}")
    if len(skipped) > 5:
        progress.warn(f"skipped {len(skipped)} rows in all; the receipt lists them")
    for name, part in parts.items():
        write_split(out, name, [row.example for row in part], numbers[name])
    write_split(out, "transfer", transfer, [None] * len(transfer), frequency)
    _calibration(params, [row.example for row in parts["train"]] + transfer, out)
    (out / "labels.json").write_text(json.dumps(found.names, ensure_ascii=False) + "\n", encoding="utf-8")
    sizes = {name: len(part) for name, part in parts.items()} | {"transfer": len(transfer)}
    spellings = found.spellings(params.data.merge)
    facts = {"rows": sizes, "classes": _counts(task, parts, found.called), **dropped, "skipped": skipped}
    facts |= {"labels": found.labels} if found.labels != found.names else {}  # what the data calls them
    return facts | ({"spellings": spellings} if spellings else {})


def ensures(out: Path) -> None:
    """All splits are there."""
    needs_files(out, "labels.json", *(f"{name}.parquet" for name in SPLITS))


def _warn_of_spellings(spec: Data, counts: Mapping[str, int], progress: Progress) -> str:
    """Name labels that may be one class, or none; the recipe's line that would merge them."""
    line = remedy(counts, spec.merge)
    if line:
        progress.warn(f"{twins(counts)}; to make them one, under [data] in the recipe: {line}")
    if lacking := missing(counts):
        progress.warn(f"{lacking}; if so, empty those cells of the file: rows without a label are left out")
    return line


def _counts(task: Any, parts: Mapping[str, Sequence[Row]], called: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """How many rows of each split have each class, where a row has one."""
    strata = {name: Counter(task.stratum(row.target) for row in part) for name, part in parts.items()} if task.CLASSES else {}
    return {name: {called.get(label, label): count for label, count in part.items()} for name, part in strata.items() if None not in part}


def _located(place: str) -> Path | str:
    return place if place.startswith("hub:") else Path(place)


def roles(task: Any, spec: Data) -> dict[str, str]:
    """The column of each role of a labelled row: what the recipe names, else what the task's files usually call it."""
    named = {role: column for role in ("text", "pair", "image", "label") if (column := getattr(spec, role))}
    return {**task.COLUMNS, **named}


def unlabelled_roles(task: Any, spec: Transfer, data: Data) -> dict[str, str]:
    """The column of each role of a row without a label; a pair's second text is where the labelled rows have it, or where the recipe says."""
    named = {role: column for role in ("text", "pair", "image") if (column := getattr(spec, role))}
    paired = {"pair": data.pair} if data.pair and "pair" in task.UNLABELLED else {}
    return {**{role: column for role, column in task.UNLABELLED.items() if column}, **paired, **named}


def _labelled(task: Any, spec: Data, place: str, reader: Reader, skipped: list[str]) -> Iterator[Row]:
    def make(line: int, values: Mapping[str, Any]) -> Iterator[Row]:
        example = task.example(values)
        yield Row(line=line, example=example, target=reader.target(values.get("label", ""), example))

    return made(_located(place), spec, roles(task, spec), make, skipped, task.OPTIONAL, task.RAW)


def _split(task: Any, params: Params, places: Mapping[str, str], rows: list[Row], reader: Reader, skipped: list[str]) -> dict[str, list[Row]]:
    """Train, validation and test: files of their own where the recipe names them, else a draw. No example is in two of them."""
    check_strata(task, params.data, rows)
    total = len(rows)
    parts: dict[str, list[Row]] = {}
    for name in ("test", "validation"):
        size = getattr(params.data, name)
        if isinstance(size, str):
            parts[name], _ = unique(task, _labelled(task, params.data, places[name], reader, skipped))
            held = {task.identity(row.example) for row in parts[name]}
            rows = [row for row in rows if task.identity(row.example) not in held]
        else:
            wanted = size if isinstance(size, int) else max(1, round(size * total))  # a share of all rows, not of what the test split left
            rows, parts[name] = draw(task, params.data, name, rows, wanted, params.seed)
    tested = {task.identity(row.example) for row in parts["test"]}
    parts["validation"] = [row for row in parts["validation"] if task.identity(row.example) not in tested]
    if not rows:
        raise DataError(f"{params.data.source}: no training row is left after the test and validation rows are taken", hint="make them smaller")
    return {"train": rows} | parts


def _naming(task: Any, spec: Data, parts: Mapping[str, Sequence[Row]]) -> list[str]:
    """The splits whose labels are classes: those drawn from one file too, where a draw cannot give every split every label."""
    rare = any(task.stratum(row.target) is None for row in parts["train"][:1])
    return ["train", *(name for name in ("test", "validation") if rare and not isinstance(getattr(spec, name), str))]


def _number(task: Any, row: Row, names: Sequence[str], split: str, spec: Data) -> Any:
    try:
        return task.number(row.target, names)
    except ValueError:
        where = f"data.{split} ({getattr(spec, split, spec.source)}) line {row.line}"
        name, what = unknown(row.target, row.example, names)
        hint = same_as(name, names, spec.merge) or nearest(name, names)
        raise DataError([Fault(where, f"{what} is not in the training rows", hint)]) from None


def _transfers(
    task: Any, params: Params, places: Mapping[str, str], known: set[str], skipped: list[str], progress: Progress
) -> tuple[list[dict[str, Any]], list[float]]:
    """The examples of every transfer set, each set a seeded draw, and how often each is seen."""
    examples: list[dict[str, Any]] = []
    frequency: list[float] = []
    for index, spec in enumerate(params.transfers):
        drawn = _transfer(task, params, spec, places[f"transfer {index}"], known, skipped)
        if not drawn:
            what = f"no new example of {spec.min_words} to {spec.max_words} words in {spec.source}"
            raise DataError([Fault(f"transfer {index}" if index else "transfer", what)])
        if len(drawn) < spec.rows:
            progress.note(f"the transfer set has {len(drawn)} examples; {spec.rows} were asked for")
        known |= {task.identity(one) for one in drawn}
        examples += drawn
        frequency += [spec.weight] * len(drawn)
    return examples, frequency


def _transfer(task: Any, params: Params, spec: Transfer, place: str, known: set[str], skipped: list[str]) -> list[dict[str, Any]]:
    """New examples with the smallest keyed hashes: the file is a stream, and memory holds only what is kept."""
    secret = str(params.seed).encode()
    new: dict[bytes, dict[str, Any]] = {}
    for batch in _batches(_examples(task, params, spec, place, skipped), 4 * max(spec.rows, 1000)):
        ranked = ((blake2b(key.encode(), digest_size=16, key=secret).digest(), one) for one in batch if (key := task.identity(one)) not in known)
        merged = {**new, **dict(ranked)}
        new = {rank: merged[rank] for rank in heapq.nsmallest(spec.rows, merged)}
    return list(new.values())


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    yield batch


def _examples(task: Any, params: Params, spec: Transfer, place: str, skipped: list[str]) -> Iterator[dict[str, Any]]:
    def make(line: int, values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        for text in _cut(values.get("text"), spec):
            yield task.example(values if text is None else {**values, "text": text})

    return made(_located(place), spec, unlabelled_roles(task, spec, params.data), make, skipped, (), () if spec.sentences else task.RAW)


def _cut(text: str | None, spec: Transfer) -> Iterator[str | None]:
    if text is None:
        yield None
    elif spec.sentences:
        yield from sentences(text, spec.min_words, spec.max_words)
    elif spec.min_words <= len(text.split()) <= spec.max_words:
        yield text


def _calibration(params: Params, pool: Sequence[dict[str, Any]], out: Path) -> None:
    drawn = np.random.default_rng(params.seed).permutation(len(pool))[: params.data.calibration]
    write_split(out, "calibration", [pool[index] for index in drawn], [None] * len(drawn))
