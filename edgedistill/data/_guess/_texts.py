"""Which column is the text, which two are a pair, and how long texts are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from edgedistill.data._guess._names import TEXTS, hint, paired
from edgedistill.data._guess._table import Column, Table

LENGTHS = (32, 64, 128, 256)  # tokens that a text may be cut to
MARKS = 2  # tokens that frame a text, and one more for each further text
QUANTILES = 20
ALIKE = 3  # times longer that one side of an unnamed pair may be than the other
LONGEST = "the column with the longest texts"


def texts(columns: Iterable[Column]) -> list[Column]:
    """Columns that may be the text, best first: prose before keys, then the longer; a telling name counts double."""
    flat = [column for column in columns if column.flat and not column.numbers and not column.pictures]
    return sorted(flat, key=lambda column: (column.prose, column.mean * (2 if hint(column.name, TEXTS) else 1)), reverse=True)


def pair(table: Table) -> tuple[Column, Column] | None:
    """The two texts of each row, in the file's order, where the names say so or (without names) two columns of prose are alike."""
    flat = [column for column in table.columns.values() if column.flat and not column.numbers and column.filled >= 0.95 * table.rows]
    if table.names:
        prose = [column for column in flat if column.prose]
        if len(prose) != 2 or max(one.mean for one in prose) > ALIKE * min(one.mean for one in prose):
            return None
        return prose[0], prose[1]
    prose = [column for column in flat if column.prose]
    return next(((one, other) for one in prose for other in prose if paired(one.name, other.name)), None)


def other_texts(found: Sequence[Column]) -> tuple[str, ...]:
    """Columns that could be the text instead of the first of these."""
    return tuple(column.name for column in found[1:] if column.prose and column.mean > found[0].mean / 3)


def quantiles(lengths: Iterable[int]) -> tuple[int, ...]:
    """The middles of `QUANTILES` equal parts of the sorted lengths, at least 1 each; nothing of nothing."""
    ordered = sorted(lengths)
    return tuple(max(1, ordered[(2 * part + 1) * len(ordered) // (2 * QUANTILES)]) for part in range(QUANTILES)) if ordered else ()


def sizes(*columns: Column) -> list[int]:
    """Tokens of the columns together, by row, shortest first."""
    marks = MARKS + len(columns) - 1
    return sorted(sum(row) + marks for row in zip_longest(*(column.tokens for column in columns), fillvalue=0) if any(row))


def length(*columns: Column, limits: Sequence[int] = LENGTHS) -> tuple[int, bool]:
    """The smallest length that holds the columns together in 95 % of the rows, and whether it does: none may."""
    ordered = sizes(*columns)
    most = ordered[min(len(ordered) - 1, -(-95 * len(ordered) // 100) - 1)] if ordered else 0
    fitting = [limit for limit in limits if most <= limit]
    return (fitting[0], True) if fitting else (limits[-1], False)
