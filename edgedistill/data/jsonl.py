"""JSON: one object a line, or (in a .json file) one list of objects, read piece by piece."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from edgedistill.characters import HALF, WHOLE, is_halved
from edgedistill.data._faults import Faults
from edgedistill.data._record import Record, strings
from edgedistill.data._text import lines

EXTENSIONS = (".jsonl", ".ndjson", ".json")
UNIT = "line"
BLOCK = 1 << 16
NEAR = 12  # no JSON token that is cut off at a block's end reports its error further from that end, strings apart


def records(path: Path, split: str) -> Iterator[Record]:
    """Each object. A file is one split, whatever `split` is. Raises DataError with lines, up to ten at once."""
    faults = Faults(path)
    found = _listed if _is_list(path) else _lined
    for line, row, raw in found(path, faults):
        if not isinstance(row, dict):
            faults.add(line, f"a JSON {_kind(row)} where an object is wanted", 'like {"text": "…", "label": "…"}')
        elif ("\\ud" in raw or "\\uD" in raw) and is_halved(row):
            faults.add(line, HALF, WHOLE)
        else:
            yield Record(line, strings(row, {}))
    faults.settle()


def _is_list(path: Path) -> bool:
    if ".json" not in (suffix.lower() for suffix in path.suffixes[-2:]):
        return False
    with_text = (piece for piece in lines(path, Faults(path), BLOCK) if piece.strip())
    return next(with_text, "").lstrip().startswith("[")


def _lined(path: Path, faults: Faults) -> Iterator[tuple[int, object, str]]:
    for number, line in enumerate(lines(path, faults), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.rstrip())
        except (ValueError, RecursionError) as error:  # RecursionError: brackets nested a thousand deep
            what = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
            faults.add(number, f"broken JSON: {what}", "one whole object a line; a .json file may hold one list of objects")
            continue
        yield number, row, line


def _listed(path: Path, faults: Faults) -> Iterator[tuple[int, object, str]]:
    """The elements of one list, holding no more than a block and the element at its end. A broken element ends the reading."""
    decoder = json.JSONDecoder()
    text, at, line, opened = "", 0, 1, False
    for block in chain(_blocks(path, faults), [None]):
        text, at = text[at:] + (block or ""), 0
        while True:
            start = _skip(text, at)
            separator = text[start : start + 1]
            if not separator or (separator == "]" and opened):
                break
            begin = _skip(text, start + 1)
            try:
                if separator != ("," if opened else "["):
                    raise json.JSONDecodeError("Expecting ',' delimiter", text, start)
                if not opened and text[begin : begin + 1] == "]":
                    break
                row, end = decoder.raw_decode(text, begin)
            except (ValueError, RecursionError) as error:
                if block is not None and _is_cut(error, len(text)):
                    break
                _broken(line, text, at, error, faults)
            line += text.count("\n", at, begin)
            yield line, row, text[begin:end]
            line += text.count("\n", begin, end)
            at, opened = end, True
    _check_end(text[at:], line, faults)


def _check_end(rest: str, line: int, faults: Faults) -> None:
    """What is left behind the last element must be the bracket that closes the list."""
    bare = "".join(rest.split())
    if bare in ("]", "[]"):
        return
    closing = rest.find("]")
    place = _skip(rest, closing + 1) if closing >= 0 else len(rest.rstrip())
    what = "text after the list's end" if closing >= 0 else "the list is never closed"
    faults.add(line + rest.count("\n", 0, place), f"broken JSON: {what}")


def _blocks(path: Path, faults: Faults) -> Iterator[str]:
    pieces: list[str] = []
    size = 0
    for piece in lines(path, faults, BLOCK):
        pieces.append(piece)
        size += len(piece)
        if size >= BLOCK:
            yield "".join(pieces)
            pieces, size = [], 0
    yield "".join(pieces)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _is_cut(error: Exception, length: int) -> bool:
    """Whether more text may still mend this error."""
    return isinstance(error, json.JSONDecodeError) and (error.msg.startswith("Unterminated string") or error.pos >= length - NEAR)


def _broken(line: int, text: str, at: int, error: Exception, faults: Faults) -> None:
    place = error.pos if isinstance(error, json.JSONDecodeError) else at
    message = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    faults.add(line + text.count("\n", at, place), f"broken JSON: {message}")
    faults.settle()


def _kind(value: object) -> str:
    kinds = {list: "list", str: "string", bool: "boolean", int: "number", float: "number"}
    return kinds.get(type(value), "null")
