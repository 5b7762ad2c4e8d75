"""Tab-separated rows as spreadsheets and scripts both write them: a quote is a letter, unless it frames a whole field.

A field that starts and ends with a quote, with every quote inside doubled, is quoted: tabs inside belong to it, and so do line breaks. Any
other quote is literal. Where a line can be read both ways, the reading that gives the right number of columns wins; where both do, the
file's other quotes tell whether a csv writer wrote it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache

INSIDE = r'[^"]*(?:""[^"]*)*'
FIELD = rf'(?:"{INSIDE}"|[^"\t]*)'
QUOTED = re.compile(rf'"({INSIDE})"(?=\t|$)')
OPEN = re.compile(rf'"{INSIDE}$')
WRITTEN = re.compile(rf"{FIELD}(?:\t{FIELD})*")  # a row as csv writers make it
BEGUN = re.compile(rf'(?:{FIELD}\t)*"{INSIDE}')  # the first line of one that goes on; with a quote in front, the next lines are such ones too
MOST_LINES = 100  # of one quoted field, where no csv writer wrote the file: a lone quote must not swallow it


def table(source: Iterator[str], width: int, again: Callable[[], Iterator[str]]) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, each with the line it starts on. `width` 0: the first row tells.

    `again` gives the same lines from the start: they are looked through once where a line ends inside quotes, so that nothing is held.
    """
    pending = _Lines(source)
    written = cache(lambda: _is_written(again(), width))
    while (text := pending.take()) is not None:
        line = pending.number
        if not text.strip(" "):
            continue
        fields = _fields(text, width)
        if _is_open(text) and (written() or not (_fits(fields, width) and _stands_alone(pending.peek(0), width))):
            fields = _continued(text, pending, width, written()) or fields
        width = width or len(fields)
        yield line, fields


def _is_written(lines: Iterator[str], width: int) -> bool:
    """Whether every quote frames a field or is doubled within one, and every row then has the right number of columns."""
    count, opened = 0, False
    for line in lines:
        text = ('"' if opened else "") + line.rstrip("\r\n")
        count -= opened  # the field that goes on is one
        if WRITTEN.fullmatch(text):
            count += len(_quoted(text))
            blank = not (opened or text.strip(" "))
            if not blank and width and count != width:
                return False
            width = width or (0 if blank else count)
            count, opened = 0, False
        elif BEGUN.fullmatch(text):
            count += len(_quoted(f'{text}"'))
            opened = True
        else:
            return False
    return not opened


class _Lines:
    """Lines without their ends, with a look ahead."""

    def __init__(self, source: Iterator[str]) -> None:
        self._source = source
        self._ahead: deque[str] = deque()
        self.number = 0

    def take(self) -> str | None:
        text = self.peek(0)
        if text is not None:
            self._ahead.popleft()
            self.number += 1
        return text

    def peek(self, index: int) -> str | None:
        while len(self._ahead) <= index:
            line = next(self._source, None)
            if line is None:
                return None
            self._ahead.append(line.rstrip("\r\n"))
        return self._ahead[index]


def _fields(text: str, width: int) -> list[str]:
    """The fields of one line; a tab inside quotes parts them only where the number of columns says so."""
    plain = text.split("\t")
    if '"' not in text:
        return plain
    fields = _quoted(text)
    return fields if _fits(fields, width) else [_bare(field) for field in plain]


def _quoted(text: str) -> list[str]:
    fields, at = [], 0
    while True:
        if found := QUOTED.match(text, at):
            end = found.end()
            fields.append(found[1].replace('""', '"'))
        else:
            tab = text.find("\t", at)
            end = tab if tab >= 0 else len(text)
            fields.append(text[at:end])
        if end == len(text):
            return fields
        at = end + 1


def _bare(field: str) -> str:
    found = QUOTED.fullmatch(field)
    return found[1].replace('""', '"') if found else field


def _fits(fields: list[str], width: int) -> bool:
    return not width or len(fields) == width


def _stands_alone(text: str | None, width: int) -> bool:
    """Whether the next line is a row by itself, so that a quote left open on this one is only a letter."""
    return text is None or (bool(width) and len(_fields(text, width)) == width)


def _is_open(text: str) -> bool:
    """Whether the line ends inside a field that a quote opened."""
    if '"' not in text:
        return False
    starts = [0, *(tab.end() for tab in re.finditer("\t", text))]
    return any(OPEN.match(text, at) and not QUOTED.match(text, at) for at in starts)


def _continued(text: str, pending: _Lines, width: int, written: bool) -> list[str] | None:
    """The row whose quoted field goes on over the next lines, if that makes one of the right width; takes those lines."""
    if written:
        return None if WRITTEN.fullmatch(text) else _closed(text, pending)
    for index in range(MOST_LINES):
        following = pending.peek(index)
        if following is None:
            return None
        text = f"{text}\n{following}"
        fields = _quoted(text)
        if not _is_open(text) and _fits(fields, width):
            for _ in range(index + 1):
                pending.take()
            return fields
    return None


def _closed(text: str, pending: _Lines) -> list[str]:
    """The row up to the line that closes its quotes, which a file has that was looked through."""
    parts = [text]
    while (line := pending.take()) is not None:
        parts.append(line)
        if WRITTEN.fullmatch(f'"{line}'):
            break
    return _quoted("\n".join(parts))
