"""Words and the pieces that a tokenizer makes of them, by character offsets: the same for every kind of tokenizer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

WORD = re.compile(r"\w+|[^\w\s]")
Span = tuple[int, int]


def spans(text: str) -> list[Span]:
    """Where the words of a text are: runs of letters and digits, and every other mark by itself."""
    return [match.span() for match in WORD.finditer(text)]


def joined(words: Sequence[str]) -> tuple[str, list[Span]]:
    """Words with blanks between them, and where each is."""
    found, at = [], 0
    for word in words:
        found.append((at, at + len(word)))
        at += len(word) + 1
    return " ".join(words), found


def pieces_of(words: Sequence[Span], offsets: Sequence[Span], inside: Sequence[bool]) -> list[Span | None]:
    """The first and last piece of each word, None where it has none, or where the first or the last piece that is there cuts it.

    `offsets` are the pieces' places in the text, in order; `inside` says which of them are of this text (special tokens are not).
    """
    pieces = [(index, start, end) for index, ((start, end), mine) in enumerate(zip(offsets, inside, strict=True)) if mine and end > start]
    found: list[Span | None] = []
    at = 0
    for start, end in words:
        while at < len(pieces) and pieces[at][2] <= start:
            at += 1
        last = at
        while last < len(pieces) and pieces[last][1] < end:
            last += 1
        whole = last > at and (at > 0 or pieces[at][1] <= start) and (last < len(pieces) or pieces[last - 1][2] >= end)
        found.append((pieces[at][0], pieces[last - 1][0]) if whole else None)
    return found


def inside(encoding: Any, sequence: int) -> list[bool]:
    """Which pieces of an encoding are of its first (0) or second (1) text."""
    return [number == sequence for number in encoding.sequence_ids]
