"""augment: changed versions of the training examples, for the teacher to label: words left out, exchanged, or put in by a masked model.

Text tasks change the text (of a pair one side or both), taggers the list of words, question answering the question alone, because answers
are characters of its text. Words are what blanks separate; a masked model's are runs of letters. The same seed makes the same rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgedistill import plugins
from edgedistill.cache import RESUME
from edgedistill.data._augment import drawn, exchanged, left_out, replaced
from edgedistill.errors import ConfigError, Fault
from edgedistill.files import PART
from edgedistill.progress import Progress
from edgedistill.spec import Augment, Inputs
from edgedistill.stages import needs_files
from edgedistill.stages._splits import read_sources, read_split, write_split
from edgedistill.tasks._words import joined, spans
from edgedistill.training import models

VERSION = 1  # 1: first
TOOLS = ("torch", "transformers", "tokenizers")
SHARD = 512  # examples whose substitutes are kept together: what a kill can cost
ROLES = ("text", "pair", "words", "question")  # what may be changed, where an example has it
WORDS, ORDER = 0, 1  # streams of random numbers: one says which words are substituted, the other what is left out and exchanged

Candidates = Mapping[str, Mapping[int, Sequence[str]]]  # role → number of a word → what may stand there


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """The training rows are in the input `prepare`, the masked language model in the place `augmenter`."""

    task: str
    augment: Augment
    max_length: int
    seed: int


def requires(params: Params, places: Mapping[str, str]) -> list[Fault]:
    """A task whose examples have words to change, and a masked language model where words are put in."""
    task = plugins.load("tasks", params.task)
    if task.AUTO_CLASS == "AutoModelForMaskedLM":
        return [Fault("augment", f"the task {params.task} hides pieces itself", "leave [augment] out, and give more [transfer] texts")]
    if "image" in task.COLUMNS:
        return [Fault("augment", f"the task {params.task} has no words to change", "leave [augment] out")]
    place = places.get("augmenter", "hub:")
    if not params.augment.substitute or place.startswith("hub:"):
        return []
    faults = models.folder_faults("augment.model", Path(place))
    return faults or _model_faults(Path(place), params.max_length)


def _model_faults(folder: Path, max_length: int) -> list[Fault]:
    config = models.full_config(folder)
    kinds = config.get("architectures") or []
    if kinds and not any("MaskedLM" in kind or "PreTraining" in kind for kind in kinds):
        return [Fault("augment.model", f"{folder} is a {kinds[0]}, not a masked language model", "name one that was saved with its head")]
    long = [Fault("augment.model", fault.what, fault.hint) for fault in models.length_faults(config, max_length, "it")]
    return long + models.text_faults(plugins.load("tasks", "masked-language-modeling"), folder, max_length, "augment.model")


def _augmenter(params: Params, place: str) -> Path:
    """The masked language model's folder. Raises ConfigError where it is of no use: a hub's is here only now."""
    folder = models.resolve(place)
    faults = models.folder_faults("augment.model", folder) or _model_faults(folder, params.max_length)
    if faults:
        raise ConfigError(faults)
    return folder


def run(params: Params, inputs: Inputs, out: Path, progress: Progress) -> dict[str, Any]:
    """Write `augmented.parquet`; what equals an example that is there already, in any split, is left out."""
    task = plugins.load("tasks", params.task)
    prepared = inputs["prepare"].path
    source = read_split(prepared, "train").examples
    held = [read_split(prepared, name).examples for name in ("validation", "test")]
    known = {task.identity(one) for part in (*(split.examples for split in read_sources(prepared).values()), *held) for one in part}
    candidates = _candidates(params, inputs, source, out, progress)
    new: list[dict[str, Any]] = []
    for index, (example, found) in enumerate(zip(source, candidates, strict=True)):
        for copy in range(params.augment.copies):
            one = changed(example, params.augment, found, (params.seed, index, copy))
            if one is not None and (mark := task.identity(one)) not in known:
                known.add(mark)
                new.append(one)
        progress.advance(index + 1, len(source), "rows")
    repeats = params.augment.copies * len(source) - len(new)
    write_split(out, "augmented", new, [None] * len(new))
    progress.note(f"{len(new)} new rows of {len(source)}; left out {repeats} that are no different from others")
    return {"rows": len(new), "repeats": repeats, "substituted": sum(len(words) for found in candidates for words in found.values())}


def ensures(out: Path) -> None:
    """The split is there."""
    needs_files(out, "augmented.parquet")


def changed(example: Mapping[str, Any], augment: Augment, candidates: Candidates, seed: tuple[int, int, int]) -> dict[str, Any] | None:
    """A changed version of an example: first words are substituted, then stretches exchanged, then words left out; None where none is left."""
    random = np.random.default_rng((*seed, ORDER))
    roles = [role for role in ROLES if role in example]
    if len(roles) > 1:  # a pair: the first, the second or both
        roles = [roles[:1], roles[1:], roles][int(random.integers(3))]
    new = {name: value for name, value in example.items() if name not in ("spans", "length")}  # characters of a text that is no longer there
    for role in roles:
        value = _substituted(example[role], role, augment, candidates.get(role, {}), seed)
        words = exchanged(value if role == "words" else value.split(), augment.swap, random)
        words = left_out(words, augment.drop, random)
        if not words:
            return None
        new[role] = words if role == "words" else " ".join(words)
    return new


def _substituted(value: Any, role: str, augment: Augment, candidates: Mapping[int, Sequence[str]], seed: tuple[int, int, int]) -> Any:
    if not candidates:
        return value
    count = len(value) if role == "words" else len(spans(value))
    chosen, random = _chosen(augment.substitute, count, role, seed)
    new = drawn(candidates, chosen, random)
    return [new.get(index, word) for index, word in enumerate(value)] if role == "words" else replaced(value, spans(value), new)


def _chosen(share: float, count: int, role: str, seed: tuple[int, int, int]) -> tuple[list[int], np.random.Generator]:
    """The words of one copy that are to be substituted, each with chance `share`, and the generator that goes on from there."""
    random = np.random.default_rng((*seed, WORDS, ROLES.index(role)))
    return np.flatnonzero(random.random(count) < share).tolist(), random


def _candidates(params: Params, inputs: Inputs, source: Sequence[Mapping[str, Any]], out: Path, progress: Progress) -> list[Candidates]:
    """Each example's candidates, shard by shard: a killed run goes on with the first shard that is missing."""
    if not params.augment.substitute:
        return [{} for _ in source]
    from edgedistill.stages._substitute import Substitutes

    folder = out / RESUME
    folder.mkdir(exist_ok=True)
    model = None
    found: list[Candidates] = []
    for start in range(0, len(source), SHARD):
        shard = folder / f"substitutes-{start // SHARD:05d}.json"
        if not shard.is_file():
            model = model or Substitutes(_augmenter(params, inputs.places["augmenter"]), params.max_length)
            _write(shard, list(_shard(params, source[start : start + SHARD], start, model)))
        progress.advance(min(start + SHARD, len(source)), len(source), "rows", "words from the masked model")
        read = json.loads(shard.read_text(encoding="utf-8"))
        found += [{role: {int(word): names for word, names in words.items()} for role, words in one.items()} for one in read]
    return found


def _shard(params: Params, examples: Sequence[Mapping[str, Any]], start: int, model: Any) -> Iterator[dict[str, dict[int, list[str]]]]:
    from edgedistill.stages._substitute import Asked

    asked, whose = [], []
    for index, example in enumerate(examples):
        for role in (role for role in ROLES if role in example):
            text, places = joined(example[role]) if role == "words" else (example[role], spans(example[role]))
            copies = range(params.augment.copies)
            seeds = [(params.seed, start + index, copy) for copy in copies]
            words = {word for seed in seeds for word in _chosen(params.augment.substitute, len(places), role, seed)[0]}
            asked.append(Asked(text=text, places=places, words=sorted(words)))
            whose.append((index, role))
    found: list[dict[str, dict[int, list[str]]]] = [{} for _ in examples]
    for (index, role), words_found in zip(whose, model.of(asked), strict=True):
        found[index][role] = words_found
    yield from found


def _write(file: Path, document: Any) -> None:
    beside = file.with_name(f".{file.name}{PART}")
    beside.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    beside.replace(file)
