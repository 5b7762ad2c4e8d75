"""Use a bundle: answers for what a user asks, and its score on labelled rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgedistill import data
from edgedistill.bundle.lineage import teacher_files
from edgedistill.bundle.reader import Bundle, Said, say
from edgedistill.characters import HALF, WHOLE, argument, is_halved
from edgedistill.errors import ConfigError, Fault, nearest
from edgedistill.spec import Data
from edgedistill.tasks._classes import unknown

EVAL_SCHEMA = "edgedistill.eval/1"
PREDICT_SCHEMA = "edgedistill.predict/1"
MOST = 10  # skipped rows that are named
FROM_FILE = "a file can be recoded: iconv -f latin1 -t utf-8 FILE | edgedistill predict BUNDLE"
PAIR = '{"text": "…", "pair": "…"}'


def predict(bundle: Bundle, asked: Sequence[str]) -> list[dict[str, Any]]:
    """The task's answer to each thing that was asked. Raises ConfigError naming what the task cannot take."""
    task = bundle.task
    check, spelled = _with_encoder(bundle)
    texts, examples, faults = [], [], []
    for number, given in enumerate(asked, 1):
        try:
            texts.append(given if "image" in task.UNLABELLED else argument(given))  # a path may be any bytes
            examples.append(_example(bundle, texts[-1]))
            check(examples[-1])
        except (ValueError, RecursionError) as error:  # the second: brackets nested a thousand deep
            hint = FROM_FILE if "not UTF-8" in str(error) else "" if _reads_pairs(bundle) else f"like {task.SHOWN}"
            faults.append(Fault(f"input {number}", str(error), hint))
    if faults:
        raise ConfigError(faults[:10])
    said = say(bundle, examples)
    answers = task.answers(said.outputs, said.rows, said.examples, bundle.labels)
    return [{"text": text, **spelled(answer)} for text, answer in zip(texts, answers, strict=True)]


def _example(bundle: Bundle, text: str) -> Any:
    """What the task makes of one input. Raises ValueError saying what it cannot take."""
    values = bundle.task.asked(text)
    if is_halved(values):
        raise ValueError(f"{HALF}; {WHOLE}")
    if _reads_pairs(bundle) and not values.get("pair"):
        raise ValueError(f"this bundle reads pairs, like {PAIR}")
    return bundle.task.example(values)


def _with_encoder(bundle: Bundle) -> tuple[Callable[[Any], None], Callable[[dict[str, Any]], dict[str, Any]]]:
    """The task's `check` and `spelled` with the bundle's encoder and length; neutral ones where the task has none."""
    task = bundle.task
    if not hasattr(task, "spelled"):
        return lambda example: None, lambda answer: answer
    encoder, max_length = task.load(bundle.path), bundle.manifest["encoder"]["max_length"]
    return lambda example: task.check(encoder, example, max_length), lambda answer: task.spelled(encoder, answer)


def _reads_pairs(bundle: Bundle) -> bool:
    """Whether every input has two texts; an embedder's pairs are two inputs."""
    return "pair" in bundle.manifest["columns"] and "pair" in bundle.task.UNLABELLED


def evaluate(bundle: Bundle, spec: Data, store: Path, seen: Callable[[int, int], None], warn: Callable[[str], None]) -> dict[str, Any]:
    """The bundle's score on a data file, and the teacher's where its ONNX is in the store. Columns that `spec` leaves out are the recipe's.

    Rows that cannot be scored, because a value is empty or an image unreadable, are named to `warn`: the first ten, and how many more.
    Raises DataError when a label is none of the bundle's classes.
    """
    skipped: list[str] = []
    examples, targets = _labelled(bundle, spec, skipped)
    for message in skipped[:MOST]:
        warn(f"skipped {message}")
    if len(skipped) > MOST:
        warn(f"skipped {len(skipped) - MOST} more rows")
    teacher = teacher_files(bundle, store)
    return {
        "schema": EVAL_SCHEMA,
        "bundle": str(bundle.path),
        "metric": bundle.manifest["metric"],
        "score": _score(bundle, say(bundle, examples, seen=seen), targets),
        "n": len(examples),
        "teacher": _score(bundle, say(bundle, examples, teacher, seen=seen), targets) if teacher else None,
        "skipped": len(skipped),
    }


def _labelled(bundle: Bundle, spec: Data, skipped: list[str]) -> tuple[list[Mapping[str, Any]], list[Any]]:
    task, located = bundle.task, data.locate(spec.source, Path.cwd())
    columns = {role: getattr(spec, role) or column for role, column in bundle.manifest["columns"].items()}
    spellings = bundle.manifest.get("spellings", {})  # bundles of before have none
    spec = replace(spec, separator=bundle.manifest["separator"], label=columns.get("label"))

    def make(line: int, values: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], Any]]:
        example = task.example(values)
        target = task.target(values.get("label", ""), example, spec)
        target = task.respelled(target, spellings) if spellings else target
        try:
            yield example, task.number(target, bundle.labels)
        except ValueError:
            name, what = unknown(target, example, bundle.labels)
            raise ValueError(f"{what} is no class of the bundle; {nearest(name, bundle.labels)}") from None

    rows = list(data.made(located, spec, columns, make, skipped, task.OPTIONAL, task.RAW))
    return [example for example, _ in rows], [target for _, target in rows]


def _score(bundle: Bundle, said: Said, targets: Sequence[Any]) -> float:
    task = bundle.task
    return float(task.total(task.evidence(said.outputs, said.rows, said.examples, targets, bundle.labels)))
