"""Fresh processes of every subject in turns, there and back: drift hits all alike. They end when each has had all of its own, or its time is up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgedistill.measure.modes import Mode

Run = Callable[[str, int], dict[str, Any]]  # a subject's result in a turn; raises LateError where its process had none by its deadline
Results = Mapping[str, Sequence[Mapping[str, Any]]]


class BadResultError(Exception):
    """A process that did not end well; `status` is its result's."""

    def __init__(self, status: str, detail: str, hint: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.hint = hint


class LateError(BadResultError):
    """A process that had no result by its deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The results of every subject, as many of each, and by subject why there are fewer runs than the mode asks for."""

    results: Mapping[str, list[dict[str, Any]]]
    cut: Mapping[str, str]


def take(names: Sequence[str], mode: Mode, run: Run) -> Taken:
    """One process of each subject a turn. Raises LateError where a subject has no result at all, BadResultError where one does not end well."""
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    why = ""
    for turn in range(mode.processes):
        if spent := [f"the {name} ran for {spent_s(results[name]):.0f} s" for name in names if spent_s(results[name]) >= mode.most_s]:
            why = f"{spent[0]}, and may for {mode.most_s:.0f} s"
            break
        try:
            for name in names if turn % 2 == 0 else names[::-1]:
                results[name].append(run(name, turn))
        except LateError as late:
            if turn == 0:
                raise
            why = str(late)
            break
    whole = min(map(len, results.values()))
    kept = {name: some[:whole] for name, some in results.items()}
    return Taken(results=kept, cut={name: said for name, some in kept.items() if (said := _cut(some, mode, why))})


def spent_s(results: Sequence[Mapping[str, Any]]) -> float:
    """How long a subject ran, warm-ups included."""
    return float(sum(sum(result["warmups_ms"]) + sum(result["samples_ms"]) for result in results)) / 1e3


def _cut(results: Sequence[Mapping[str, Any]], mode: Mode, why: str) -> str:
    """What is missing of a subject's runs, and why; empty where nothing is."""
    if why:
        return f"after {len(results)} of {mode.processes} processes: {why}"
    runs = sum(len(result["samples_ms"]) for result in results)
    took_s = sum(sum(result["samples_ms"]) for result in results) / 1e3
    if runs and (runs < mode.min_runs or took_s < 0.99 * mode.min_s):
        return f"{runs} runs in {took_s:.1f} s of at least {mode.min_runs} in {mode.min_s:.0f} s, for the mode gives {mode.most_s:.0f} s to a model"
    return ""
