"""prepare: read the rows, drop repeats, split them, and draw the transfer and calibration texts."""

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

from edgedistill.data import labelled, unlabelled
from edgedistill.data._sentences import sentences
from edgedistill.errors import DataError, Fault
from edgedistill.progress import Progress
from edgedistill.spec import Data, Inputs, Transfer
from edgedistill.stages import needs_files
from edgedistill.stages._splits import NO_LABEL, SPLITS, write_split

VERSION = 3  # 3: shares are of all rows
TOOLS = ("scikit-learn",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """Which rows. Sources are in the places `data`, `test`, `validation`, `transfer`; their content is in the key."""

    data: Data
    transfer: Transfer | None
    seed: int


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled text, and where it stood."""

    line: int
    text: str
    label: str


def requires(params: Params, places: Mapping[str, str]) -> list[Fault]:
    """Sources were resolved by the plan; the rows are judged when they are read."""
    return []


def run(params: Params, inputs: Inputs, out: Path, progress: Progress) -> dict[str, Any]:
    """Write the five splits and the class names."""
    skipped: list[str] = []
    rows, dropped = _unique(_read(params.data, inputs.places["data"], skipped))
    progress.note(f"{len(rows)} labelled rows; dropped {dropped['repeats']} repeats and {dropped['contradictions']} that contradict each other")
    parts = _split(params, inputs.places, rows, skipped)
    names = sorted({row.label for row in parts["train"]}, key=_natural)
    _check_classes(params.data, parts, names)
    known = {_normal(row.text) for part in parts.values() for row in part}
    transfer = _transfer(params, inputs.places, known, skipped, progress)
    for message in skipped[:5]:
        progress.warn(f"skipped {message}")
    if len(skipped) > 5:
        progress.warn(f"skipped {len(skipped)} rows in all; the receipt lists them")
    _write(out, params, parts, transfer, names)
    counts = {name: dict(Counter(row.label for row in part)) for name, part in parts.items()}
    return {
        "rows": {name: len(part) for name, part in parts.items()} | {"transfer": len(transfer)},
        "classes": counts,
        **dropped,
        "skipped": skipped,
    }


def ensures(out: Path) -> None:
    """All splits are there."""
    needs_files(out, "labels.json", *(f"{name}.parquet" for name in SPLITS))


def _read(spec: Data, place: str, skipped: list[str]) -> Iterator[Row]:
    yield from (Row(*row) for row in labelled(_located(place), spec, skipped))


def _located(place: str) -> Path | str:
    return place if place.startswith("hub:") else Path(place)


def _normal(text: str) -> str:
    """What counts as the same text: case and spacing do not matter."""
    return " ".join(text.casefold().split())


def _unique(rows: Iterable[Row]) -> tuple[list[Row], dict[str, int]]:
    """The first row of each text; a text under two labels is dropped whole, because nobody knows which is right. And how many went why."""
    first: dict[str, Row] = {}
    count: Counter[str] = Counter()
    torn: set[str] = set()
    for row in rows:
        key = _normal(row.text)
        count[key] += 1
        if first.setdefault(key, row).label != row.label:
            torn.add(key)
    kept = [row for key, row in first.items() if key not in torn]
    contradictions = sum(count[key] for key in torn)
    return kept, {"repeats": count.total() - contradictions - len(kept), "contradictions": contradictions}


def _natural(label: str) -> tuple[int, float, str]:
    """Numbers in their order, then words."""
    try:
        return (0, float(label), label)
    except ValueError:
        return (1, 0.0, label)


def _split(params: Params, places: Mapping[str, str], rows: list[Row], skipped: list[str]) -> dict[str, list[Row]]:
    """Train, validation and test: files of their own where the recipe names them, else a stratified draw. No text is in two of them."""
    _check_strata(params.data, rows)
    total = len(rows)
    parts: dict[str, list[Row]] = {}
    for name in ("test", "validation"):
        size = getattr(params.data, name)
        if isinstance(size, str):
            parts[name], _ = _unique(_read(params.data, places[name], skipped))
            held = {_normal(row.text) for row in parts[name]}
            rows = [row for row in rows if _normal(row.text) not in held]
        else:
            wanted = size if isinstance(size, int) else max(1, round(size * total))  # a share of all rows, not of what the test split left
            rows, parts[name] = _draw(params.data, name, rows, wanted, params.seed)
    if not rows:
        raise DataError(f"{params.data.source}: no training row is left after the test and validation rows are taken", hint="make them smaller")
    return {"train": rows} | parts


def _draw(spec: Data, name: str, rows: Sequence[Row], size: int, seed: int) -> tuple[list[Row], list[Row]]:
    from sklearn.model_selection import train_test_split

    try:
        kept, drawn = train_test_split(list(rows), test_size=size, random_state=seed, stratify=[row.label for row in rows])
    except ValueError as error:
        raise DataError([Fault(f"data.{name}", f"{size} cannot be drawn from the {len(rows)} rows of {spec.source}: {error}")]) from error
    return kept, drawn


def _check_strata(spec: Data, rows: Sequence[Row]) -> None:
    counts = Counter(row.label for row in rows)
    if len(counts) < 2:
        found = f"all {len(rows)} rows have the label '{next(iter(counts))}'" if counts else "there is no row"
        raise DataError([Fault(spec.source, f"{found} in column '{spec.label}'; a classifier needs two classes")])
    needed = 1 + sum(not isinstance(size, str) for size in (spec.test, spec.validation))
    rare = [label for label, count in counts.items() if count < needed][:10]
    lines = {row.label: row.line for row in rows if row.label in rare}
    if rare:
        what = "{} row(s) in class '{}', the last in line {}: every class needs at least {} (one for each split)"
        raise DataError(
            Fault(spec.source, what.format(counts[label], label, lines[label], needed), "add rows, or leave that class out of the file")
            for label in rare
        )


def _check_classes(spec: Data, parts: Mapping[str, Sequence[Row]], names: Sequence[str]) -> None:
    known = set(names)
    strange = [(name, row) for name in ("test", "validation") for row in parts[name] if row.label not in known]
    if strange:
        raise DataError(
            Fault(f"data.{name} ({getattr(spec, name)}) line {row.line}", f"label '{row.label}' is not in the training rows")
            for name, row in strange[:10]
        )


def _transfer(params: Params, places: Mapping[str, str], known: set[str], skipped: list[str], progress: Progress) -> list[str]:
    """A seeded draw of new texts: those with the smallest keyed hashes, so that memory holds only what is kept."""
    spec = params.transfer
    if spec is None:
        return []
    found = unlabelled(_located(places["transfer"]), spec, skipped)
    cut = (piece for _, text in found for piece in (sentences(text, spec.min_words, spec.max_words) if spec.sentences else _whole(text, spec)))
    secret = str(params.seed).encode()
    new: dict[bytes, str] = {}
    ranked = ((blake2b(_normal(text).encode(), digest_size=16, key=secret).digest(), text) for text in cut if _normal(text) not in known)
    for rank, text in heapq.nsmallest(2 * spec.rows, ranked):  # twice: repeats rank equally and go
        new.setdefault(rank, text)
    drawn = [new[rank] for rank in sorted(new)[: spec.rows]]
    if not drawn:
        raise DataError([Fault("transfer", f"no new text of {spec.min_words} to {spec.max_words} words in {spec.source}")])
    if len(drawn) < spec.rows:
        progress.note(f"the transfer set has {len(drawn)} texts; {spec.rows} were asked for")
    return drawn


def _whole(text: str, spec: Transfer) -> Iterator[str]:
    if spec.min_words <= len(text.split()) <= spec.max_words:
        yield text


def _write(out: Path, params: Params, parts: Mapping[str, Sequence[Row]], transfer: Sequence[str], names: Sequence[str]) -> None:
    number = {name: index for index, name in enumerate(names)}
    for name, part in parts.items():
        write_split(out, name, [row.text for row in part], [number[row.label] for row in part])
    write_split(out, "transfer", transfer, [NO_LABEL] * len(transfer))
    pool = [row.text for row in parts["train"]] + list(transfer)
    drawn = np.random.default_rng(params.seed).permutation(len(pool))[: params.data.calibration]
    write_split(out, "calibration", [pool[index] for index in drawn], [NO_LABEL] * len(drawn))
    (out / "labels.json").write_text(json.dumps(list(names), ensure_ascii=False) + "\n", encoding="utf-8")
