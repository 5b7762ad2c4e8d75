"""The rows a recipe asks for: its columns, its filter, nothing empty."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from edgedistill.data._faults import MOST, Faults
from edgedistill.data._read import read, reader
from edgedistill.data._record import Record, shown
from edgedistill.errors import DataError, Fault, nearest
from edgedistill.spec import Data, Transfer

EMPTY_SHARE = 0.05  # more empty rows than this, and the wrong column was named or an export went wrong
EMPTY_LEAST = 5  # below five, a share says nothing
SEEN = 20


def rows(
    located: Path | str, spec: Data | Transfer, wanted: Mapping[str, str], skipped: list[str] | None = None, optional: Collection[str] = ()
) -> Iterator[tuple[int, dict[str, str], Record]]:
    """Line, value by role, and the whole record of each row; `wanted` gives each role its column.

    Values are stripped of surrounding blanks; offsets into a text count from the record's own value. A column that holds an image has what
    the file says of it, or nothing. Rows whose value is empty in a role that is not `optional` are left out and noted in `skipped`; an
    optional column may be lacking, but not in all rows. Rows come one at a time: nothing is held. Faults are raised as one DataError after
    the last row, at the tenth, or at the first row where a column is missing: a caller that stops early has not checked the file.
    """
    place, unit = shown(located), getattr(reader(located), "UNIT", "row")
    faults, filtered, empty = Faults(located, unit), _Filter(spec.where), _Empty([role for role in wanted if role not in optional])
    needed = {*(wanted[role] for role in empty.roles), *spec.where}
    unseen = set(wanted.values()) - needed
    for index, record in enumerate(read(located, split=spec.split, columns=getattr(spec, "columns", ()))):
        absent = () if needed <= record.values.keys() else _absent(record, [wanted[role] for role in empty.roles], spec.where)
        for column in absent:
            faults.add(record.line, f"no column '{column}'", nearest(column, (*record.values, *record.blobs)))
        if absent and index == 0:
            faults.settle()
        if unseen:
            unseen -= record.values.keys() | record.blobs.keys()
        if absent or not filtered.keeps(record):
            continue
        values = {role: record.values.get(column, "").strip() for role, column in wanted.items()}
        lacking = [] if all(values.values()) else [role for role in empty.roles if not values[role] and not record.blobs.get(wanted[role])]
        if lacking:
            empty.add(record.line)
            if skipped is not None:
                skipped.append(f"{place} {unit} {record.line}: empty {' and '.join(lacking)}")
        else:
            empty.kept += 1
            yield record.line, values, record
    for column in sorted(unseen):
        faults.add(record.line, f"no column '{column}', in this row or any before", nearest(column, (*record.values, *record.blobs)))
    faults.settle()
    if not empty.kept and not empty.count:
        raise DataError(filtered.faults(place))
    empty.settle(place, unit)


def _absent(record: Record, wanted: list[str], where: Mapping[str, str]) -> list[str]:
    """The columns that a row lacks; an image may be a blob only, a filter needs text."""
    held = record.values.keys() | record.blobs.keys()
    roles = [column for column in wanted if column not in held]
    return list(dict.fromkeys([*roles, *(column for column in where if column not in record.values)]))


def labelled(located: Path | str, spec: Data, skipped: list[str] | None = None) -> Iterator[tuple[int, str, str]]:
    """Line, text and label of each row, as `rows` gives them."""
    for line, values, _ in rows(located, spec, {"text": spec.text or "text", "label": spec.label or "label"}, skipped):
        yield line, values["text"], values["label"]


def unlabelled(located: Path | str, spec: Transfer, skipped: list[str] | None = None) -> Iterator[tuple[int, str]]:
    """Line and text of each row, as `rows` gives them."""
    for line, values, _ in rows(located, spec, {"text": spec.text or "text"}, skipped):
        yield line, values["text"]


class _Empty:
    """Counts the rows that lack a value in one of the roles; holds only the first of their lines."""

    def __init__(self, roles: list[str]) -> None:
        self.roles = roles
        self.kept = 0
        self.count = 0
        self._lines: list[int] = []

    def add(self, line: int) -> None:
        self.count += 1
        if len(self._lines) < MOST:
            self._lines.append(line)

    def settle(self, place: str, unit: str) -> None:
        """Raise DataError where there are too many."""
        whole = self.kept + self.count
        if self.kept and (self.count < EMPTY_LEAST or self.count <= EMPTY_SHARE * whole):
            return
        listed = ", ".join(map(str, self._lines)) + (" …" if self.count > MOST else "")
        what = f"{self.count} of {whole} rows have an empty {' or '.join(self.roles)}: {unit}{'s' if self.count > 1 else ''} {listed}"
        raise DataError([Fault(place, what, f"fill them in or take them out; up to {EMPTY_SHARE:.0%} are skipped with a warning")])


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
