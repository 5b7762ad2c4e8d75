"""The rows a recipe asks for: its columns, its filter, nothing empty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from edgedistill.data._faults import MOST, Faults
from edgedistill.data._read import read, reader
from edgedistill.data._record import Record, shown
from edgedistill.errors import DataError, Fault, nearest
from edgedistill.spec import Data, Transfer

EMPTY_SHARE = 0.05  # more empty rows than this, and the wrong column was named or an export went wrong
EMPTY_LEAST = 5  # below five, a share says nothing
SEEN = 20


def labelled(located: Path | str, spec: Data, skipped: list[str] | None = None) -> Iterator[tuple[int, str, str]]:
    """Line, text and label of each row, stripped of surrounding blanks.

    Rows with an empty text or label are left out and noted in `skipped`. Faults are raised as one DataError after the last row, at the
    tenth, or at the first row where the whole column is missing: a caller that stops early has not checked the file.
    """
    wanted = {"text": spec.text, "label": spec.label}
    for line, (text, label) in _rows(located, spec, wanted, skipped if skipped is not None else []):
        yield line, text, label


def unlabelled(located: Path | str, spec: Transfer, skipped: list[str] | None = None) -> Iterator[tuple[int, str]]:
    """Line and text of each row, as `labelled` gives them."""
    for line, (text,) in _rows(located, spec, {"text": spec.text}, skipped if skipped is not None else []):
        yield line, text


def _rows(located: Path | str, spec: Data | Transfer, wanted: Mapping[str, str], skipped: list[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    unit = getattr(reader(located), "UNIT", "row")
    faults = Faults(located, unit)
    filtered = _Filter(spec.where)
    empty: list[int] = []
    kept = 0
    for index, record in enumerate(read(located, split=spec.split)):
        absent = dict.fromkeys(column for column in (*wanted.values(), *spec.where) if column not in record.values)
        for column in absent:
            faults.add(record.line, f"no column '{column}'", nearest(column, record.values))
        if absent and index == 0:
            faults.settle()
        if absent or not filtered.keeps(record):
            continue
        values = tuple(record.values[column].strip() for column in wanted.values())
        if all(values):
            kept += 1
            yield record.line, values
            continue
        empty.append(record.line)
        lacking = " and ".join(role for role, value in zip(wanted, values, strict=True) if not value)
        skipped.append(f"{shown(located)} {unit} {record.line}: empty {lacking}")
    faults.settle()
    if not kept and not empty:
        raise DataError(filtered.faults(shown(located)))
    if not kept or (len(empty) >= EMPTY_LEAST and len(empty) > EMPTY_SHARE * (kept + len(empty))):
        raise DataError([_too_empty(shown(located), unit, list(wanted), empty, kept)])


def _too_empty(place: str, unit: str, roles: list[str], empty: list[int], kept: int) -> Fault:
    listed = ", ".join(map(str, empty[:MOST])) + (" …" if len(empty) > MOST else "")
    what = f"{len(empty)} of {kept + len(empty)} rows have an empty {' or '.join(roles)}: {unit}{'s' if len(empty) > 1 else ''} {listed}"
    return Fault(place, what, f"fill them in or take them out; up to {EMPTY_SHARE:.0%} are skipped with a warning")


class _Filter:
    """`where`: rows whose columns hold these values; remembers some of what the columns held, for the case that no row does."""

    def __init__(self, where: Mapping[str, str]) -> None:
        self._where = where
        self._seen: dict[str, dict[str, None]] = {column: {} for column in where}

    def keeps(self, record: Record) -> bool:
        for column, wanted in self._where.items():
            value = record.values[column]
            if len(self._seen[column]) < SEEN or value == wanted:
                self._seen[column][value] = None
        return all(record.values[column] == wanted for column, wanted in self._where.items())

    def faults(self, place: str) -> list[Fault]:
        unseen = [(column, wanted) for column, wanted in self._where.items() if wanted not in self._seen[column]]
        if not unseen:
            both = " and ".join(f"{column} = '{wanted}'" for column, wanted in self._where.items())
            return [Fault(place, f"no row has {both}", "each of these occurs, but never in one row")]
        return [Fault(place, f"no row has {column} = '{wanted}'", nearest(wanted, self._seen[column])) for column, wanted in unseen]
