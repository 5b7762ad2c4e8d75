"""Plain text, one text a line: rows without labels, or parted into named columns at tabs or the first blanks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgedistill.data._faults import Faults
from edgedistill.data._record import Record
from edgedistill.data._text import lines

EXTENSIONS = (".txt",)
UNIT = "line"


def records(path: Path, split: str, columns: tuple[str, ...] = ()) -> Iterator[Record]:
    """Each line that is not blank, as column `text`, or in as many parts as `columns` has names.

    Parts end at tabs where the first line has just enough of them, else at the first blanks: the last part is the rest, which may be empty.
    A file is one split, whatever `split` is.
    """
    faults = Faults(path)
    names = columns or ("text",)
    tabs = None
    for number, line in enumerate(lines(path, faults), start=1):
        text = line.rstrip("\r\n")
        if not text.strip():
            continue
        if tabs is None:
            tabs = text.count("\t") + 1 == len(names) > 1
        parts = _parts(text, len(names), tabs)
        if len(parts) == len(names):
            yield Record(number, dict(zip(names, parts, strict=True)))
        else:
            what = f"{len(parts)} parts where `columns` names {len(names)}"
            faults.add(number, what, f"parts are separated by {'tabs, as on the first line' if tabs else 'blanks'}")
    faults.settle()


def _parts(text: str, count: int, tabs: bool) -> list[str]:
    if tabs:
        return text.split("\t")
    if count == 1:
        return [text]
    parts = text.split(None, count - 1)
    return [*parts, ""] if len(parts) == count - 1 else parts
