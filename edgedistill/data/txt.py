"""Plain text, one text a line: rows without labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgedistill.data._faults import Faults
from edgedistill.data._record import Record
from edgedistill.data._text import lines

EXTENSIONS = (".txt",)
UNIT = "line"


def records(path: Path, split: str) -> Iterator[Record]:
    """Each line that is not blank, as column `text`. A file is one split, whatever `split` is."""
    faults = Faults(path)
    for number, line in enumerate(lines(path, faults), start=1):
        if line.strip():
            yield Record(number, {"text": line.rstrip("\r\n")})
    faults.settle()
