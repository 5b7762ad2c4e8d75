"""Comma and tab separated files, read strictly: a row that does not fit its header is a fault, never a guess."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from edgedistill.data._faults import Faults
from edgedistill.data._record import Record
from edgedistill.data._text import lines

EXTENSIONS = (".csv", ".tsv")
UNIT = "line"
DELIMITERS = ",;\t|"


def records(path: Path, split: str) -> Iterator[Record]:
    """Each row below the header. A file is one split, whatever `split` is. Raises DataError with lines, up to ten at once."""
    faults = Faults(path)
    table = _table(path, faults)
    header = _header(table, faults)
    for line, fields in table:
        if len(fields) == len(header):
            yield Record(line, dict(zip(header, fields, strict=True)))
        else:
            faults.add(line, f"{len(fields)} columns where the header has {len(header)}", "quote a field that holds the delimiter or a line break")
    faults.settle()


def _table(path: Path, faults: Faults) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, each with the line it starts on."""
    source = lines(path, faults)
    blank = []
    for first in source:
        blank.append(first)
        if first.strip():
            break
    tabs = ".tsv" in (suffix.lower() for suffix in path.suffixes[-2:])
    reader = csv.reader(chain(blank, source), delimiter="\t" if tabs else _delimiter(blank[-1] if blank else ""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            faults.add(line, f"broken row: {error}", _remedy(str(error)))
            continue
        if len(fields) > 1 or "".join(fields).strip():
            yield line, fields


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


def _delimiter(header: str) -> str:
    bare = re.sub(r'"(?:[^"]|"")*"', "", header)
    return max(DELIMITERS, key=bare.count)


def _remedy(error: str) -> str:
    if "field larger" in error or "unexpected end" in error:
        return "a quote that opens here is never closed"
    if "new-line character" in error:
        return "a carriage return outside quotes; old Mac line ends become new ones with: tr '\\r' '\\n' < FILE > FIXED"
    return 'inside a quoted field a quote is written twice: ""'
