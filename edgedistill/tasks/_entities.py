"""Entities in BIO tags, as conlleval counts them: a chunk begins at `B-`, or at an `I-` whose type the tag before did not have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Entity = tuple[str, int, int]  # type, first word, one past the last


def is_bio(names: Sequence[str]) -> bool:
    """Whether these tags are `O`, `B-…` and `I-…`."""
    return all(name == "O" or name[:2] in ("B-", "I-") for name in names) and any(name != "O" for name in names)


def entities(tags: Sequence[str]) -> set[Entity]:
    """The chunks of a sentence."""
    found, kind, start = set(), "", 0
    for index, tag in enumerate([*tags, "O"]):
        mark, _, name = tag.partition("-")
        goes_on = mark == "I" and name == kind and kind != ""
        if kind and not goes_on:
            found.add((kind, start, index))
            kind = ""
        if tag != "O" and not goes_on:
            kind, start = name, index
    return found


def check_spans(spans: Sequence[Sequence[Any]], length: int) -> None:
    """Raise ValueError when a span does not start before its end, or is not inside a text of `length` characters."""
    for start, end, kind in spans:
        if not all(isinstance(place, int) and not isinstance(place, bool) for place in (start, end)):
            raise ValueError(f"the span {start!r} to {end!r} ({kind}) has no whole numbers: characters are counted from 0")
        if start < 0 or end > length:
            raise ValueError(f"the span {start} to {end} ({kind}) is outside the text of {length} characters")
        if start >= end:
            raise ValueError(f"the span {start} to {end} ({kind}) does not start before its end")


def tags_of_spans(words: Sequence[tuple[int, int]], spans: Sequence[Sequence[Any]]) -> list[str]:
    """BIO tags of words by labelled spans [start, end, type] in characters; a word that a span cuts is its whole, and where two spans meet
    in a word it is the first one's.

    Raises ValueError when a span meets no word or two overlap.
    """
    tags, reached = ["O"] * len(words), 0
    for start, end, kind in sorted(spans, key=lambda span: span[0]):
        held = [index for index, (first, last) in enumerate(words) if first < end and last > start]
        if not held:
            raise ValueError(f"the span {start} to {end} ({kind}) holds no word")
        if start < reached:
            raise ValueError(f"the span {start} to {end} ({kind}) overlaps another")
        free, reached = [index for index in held if tags[index] == "O"], end
        for index in free:
            tags[index] = f"{'B' if index == free[0] else 'I'}-{kind}"
    return tags
