"""Rows made into what a task wants of them, with the row named where that fails."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from edgedistill.data._faults import Faults
from edgedistill.data._images import checked_images
from edgedistill.data._read import reader
from edgedistill.data._rows import rows
from edgedistill.errors import ColumnError
from edgedistill.spec import Data, Transfer

Made = TypeVar("Made")


def made(
    located: Path | str,
    spec: Data | Transfer,
    wanted: Mapping[str, str],
    make: Callable[[int, Mapping[str, Any]], Iterable[Made]],
    skipped: list[str] | None = None,
    optional: Collection[str] = (),
    raw: Collection[str] = (),
) -> Iterator[Made]:
    """What `make(line, values by role)` gives for each row; a ValueError of its is a fault with the row. An image comes as its bytes.

    The roles in `raw` keep the blanks around them, because something counts their characters.

    Raises DataError as `rows` does, and with up to ten rows that nothing could be made of; at a ColumnError at once.
    """
    faults = Faults(located, getattr(reader(located), "UNIT", "row"))
    for line, values in _values(located, spec, wanted, skipped, optional, raw):
        try:
            yield from make(line, values)
        except ColumnError as error:
            faults.add(line, str(error), error.hint)
            faults.settle()
        except (ValueError, TypeError, KeyError) as error:  # the last two: JSON of another shape than the task's
            faults.add(line, str(error) if isinstance(error, ValueError) else f"not what the task reads: {type(error).__name__}: {error}")
    faults.settle()


def _values(
    located: Path | str, spec: Data | Transfer, wanted: Mapping[str, str], skipped: list[str] | None, optional: Collection[str], raw: Collection[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    if "image" in wanted:
        for line, values, image in checked_images(located, spec, wanted, skipped, optional):
            yield line, {**values, "image": image}
    else:
        for line, values, record in rows(located, spec, wanted, skipped, optional):
            yield line, {**values, **{role: record.values[wanted[role]] for role in raw if role in values}}
