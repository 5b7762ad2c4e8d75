"""Comma and tab separated files, read strictly: a row that does not fit its header is a fault, never a guess."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from threading import Lock

from edgedistill.data import _tsv
from edgedistill.data._faults import Faults
from edgedistill.data._record import Record
from edgedistill.data._text import lines

EXTENSIONS = (".csv", ".tsv")
UNIT = "line"
DELIMITERS = ",;\t|"
EXCEL = re.compile("sep=(.)", re.IGNORECASE)  # a first line that only Excel reads
LONGEST = 1 << 26  # characters of a field: whole books fit, and a quote that is never closed does not fill the memory with the rest of a file
MANY_LINES = 100  # of one row: more of them look like a quote that was not closed
_limit = Lock()


def records(path: Path, split: str, columns: tuple[str, ...] = ()) -> Iterator[Record]:
    """Each row below the header, or every row where `columns` stands for the header that the file lacks.

    A file is one split, whatever `split` is. Raises DataError with lines, up to ten at once.
    """
    faults = Faults(path)
    table = _table(path, faults, len(columns))
    header = list(columns) or _header(table, faults)
    wanted = f"`columns` names {len(header)}" if columns else f"the header has {len(header)}"
    for index, (line, fields) in enumerate(table):
        if columns and index == 0 and [field.strip() for field in fields] == header:
            faults.add(line, "the first line is the names in `columns`, not a row", "take `columns` out of the recipe: this file has a header")
            faults.settle()
        if len(fields) == len(header):
            yield Record(line, dict(zip(header, fields, strict=True)))
        else:
            faults.add(line, f"{len(fields)} columns where {wanted}", _swallowing(fields) or "quote a field that holds the delimiter or a line break")
    faults.settle()


def first_row(path: Path) -> list[str]:
    """The fields of the first line that is not blank, whether they name the columns or not."""
    _, fields = next(_table(path, Faults(path), 0), (1, []))
    return fields


def _table(path: Path, faults: Faults, width: int) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, each with the line it starts on."""
    source = lines(path, faults)
    if ".tsv" in (suffix.lower() for suffix in path.suffixes[-2:]):
        return _tsv.table(source, width, lambda: lines(path, Faults(path)))
    return _strict(source, faults, width)


def _strict(source: Iterator[str], faults: Faults, width: int) -> Iterator[tuple[int, list[str]]]:
    head = []
    for first in source:
        head.append(first)
        if first.strip():
            break
    first = head[-1] if head else ""
    told = EXCEL.fullmatch(first.strip())
    if told:
        head[-1] = "\n"
    reader = csv.reader(chain(head, source), delimiter=told[1] if told else _delimiter(first, width), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = _next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            faults.add(line, f"broken row: {error}", _remedy(str(error), reader.line_num - line))
            continue
        if len(fields) > 1 or "".join(fields).strip():
            yield line, fields


def _next(reader: Iterator[list[str]]) -> list[str]:
    """The next row. csv has one limit for a whole process, 131,072 characters of a field: it is ours only for as long as this takes."""
    with _limit:
        theirs = csv.field_size_limit(LONGEST)
        try:
            return next(reader)
        finally:
            csv.field_size_limit(theirs)


def _header(table: Iterator[tuple[int, list[str]]], faults: Faults) -> list[str]:
    line, fields = next(table, (1, []))
    header = [field.strip() for field in fields]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        faults.add(line, f"the header names a column twice: {', '.join(map(repr, twice))}", "the first line must name every column once")
    if twice or not header:
        faults.settle()
    if any("\ufffd" in name for name in header):
        faults.settle()  # undecodable names would only lead to a misleading 'missing column'
    return header


def _delimiter(first: str, width: int) -> str:
    """What parts the first line: into `width` columns where that is known, else into the most."""
    bare = re.sub(r'"[^"]*(?:""[^"]*)*"', "", first)
    fitting = [delimiter for delimiter in DELIMITERS if bare.count(delimiter) + 1 == width]
    return fitting[0] if fitting else max(DELIMITERS, key=bare.count)


def _swallowing(fields: list[str]) -> str:
    """What a row of very many lines is likely to be."""
    count = sum(field.count("\n") for field in fields)
    return _far(count) if count > MANY_LINES else ""


def _far(count: int) -> str:
    return f"a quote that opens in this row is answered {count} lines further down: the one that should close it may be missing"


def _remedy(error: str, count: int) -> str:
    """What to do about a row that was given up after `count` more lines."""
    if "field larger" in error and not count:
        return "a text of one line that long is no row: cut it up"
    if "field larger" in error or "unexpected end" in error:
        return "a quote that opens here is never closed"
    if count > MANY_LINES:
        return _far(count)
    if "new-line character" in error:
        return "a carriage return outside quotes; old Mac line ends become new ones with: tr '\\r' '\\n' < FILE > FIXED"
    return 'inside a quoted field a quote is written twice: ""'
