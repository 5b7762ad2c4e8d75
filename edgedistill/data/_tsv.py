"""Tab-separated rows as spreadsheets and scripts both write them: a quote is a letter, unless it frames a whole field.

A field that starts and ends with a quote, with every quote inside doubled, is quoted: tabs inside belong to it, and so do line breaks. Any
other quote is literal. Where a line can be read both ways, the reading that gives the right number of columns wins.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

QUOTED = re.compile(r'"((?:[^"]|"")*)"(?=\t|$)')
OPEN = re.compile(r'"(?:[^"]|"")*$')
MOST_LINES = 100  # of one quoted field: a lone quote must not swallow the file


def table(source: Iterator[str], width: int) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, each with the line it starts on. `width` 0: the first row tells."""
    pending = _Lines(source)
    while (text := pending.take()) is not None:
        line = pending.number
        if not text.strip(" "):
            continue
        fields = _fields(text, width)
        if _is_open(text) and not (_fits(fields, width) and _stands_alone(pending.peek(0), width)):
            fields = _continued(text, pending, width) or fields
        width = width or len(fields)
        yield line, fields


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


def _continued(text: str, pending: _Lines, width: int) -> list[str] | None:
    """The row whose quoted field goes on over the next lines, if that makes one of the right width; takes those lines."""
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
