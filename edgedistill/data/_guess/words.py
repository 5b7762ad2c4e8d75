"""Words with a tag each, or texts with labelled spans: token-classification."""

from __future__ import annotations

from collections import Counter
from typing import Any

from edgedistill.data._guess._names import TAGS, WORDS, hint
from edgedistill.data._guess._noun import Guess
from edgedistill.data._guess._table import CLASSES, Column, Table
from edgedistill.data._guess._texts import LONGEST, length, texts
from edgedistill.data._guess.classes import spelled

TASK = "token-classification"
MOST = 4  # columns that are told
SURE = 300.0  # lists of words beside lists of tags are nothing else


def guesses(table: Table) -> list[Guess]:
    """Lists of words beside lists of as many tags; else a text beside spans of its characters."""
    nested = {column.name: table.parts(column.name) for column in table.columns.values() if column.filled and not column.flat}
    return _lists(table, nested) or _spans(table, nested)


def _lists(table: Table, nested: dict[str, list[Any]]) -> list[Guess]:
    lists = {name: parts for name, parts in nested.items() if parts and _are_words(parts)}
    words = sorted((name for name in lists if not _all_numbers(lists[name])), key=lambda name: -hint(name, WORDS))
    if not words:
        return []
    sizes = [len(part) for part in lists[words[0]]]
    tags = [name for name, parts in nested.items() if name != words[0] and parts and _are_tags(parts, sizes)]
    tags = [name for name in tags if hint(name, TAGS) or not _all_numbers(nested[name])]  # numbers are tags where they are called so
    tags.sort(key=lambda name: (-hint(name, TAGS), len(_distinct(nested[name]))))
    if not tags:
        return []
    remark = f"a list of tags, {len(_distinct(nested[tags[0]])):,} distinct ones in the first rows"
    others = tuple(f"{name} ({len(_distinct(nested[name])):,} tags)" for name in tags[1:MOST])
    counts = Counter(str(tag) for part in nested[tags[0]] for tag in set(part))
    return [spelled(_guess(table, table.columns[words[0]], tags[0], "a list of words", remark, others, SURE), counts)]


def _spans(table: Table, nested: dict[str, list[Any]]) -> list[Guess]:
    found = texts(table.columns.values())
    spans = sorted((name for name, parts in nested.items() if _are_spans(parts)), key=lambda name: -hint(name, TAGS))
    if not found or not spans:
        return []
    kinds = {str(span[2]) for part in nested[spans[0]] for span in part}
    remark = f"[start, end, type] in characters of the text, {len(kinds):,} types in the first rows"
    return [_guess(table, found[0], spans[0], LONGEST, remark, tuple(spans[1:]), hint(spans[0], TAGS) / 2)]


def _guess(table: Table, text: Column, label: str, about_text: str, about_label: str, others: tuple[str, ...], strength: float) -> Guess:
    tokens, fits = length(text)
    return Guess(
        path=table.path,
        task=TASK,
        rows=table.rows,
        text=text.name,
        label=label,
        tokens=tokens,
        fits=fits,
        remarks={"text": about_text, "label": about_label},
        doubts={"label": others},
        strength=strength,
    )


def _are_words(parts: list[Any]) -> bool:
    return any(parts) and all(isinstance(word, str) and word.strip() for part in parts for word in part)


def _are_tags(parts: list[Any], sizes: list[int]) -> bool:
    """Whether these are as many as the words in every row, and few distinct ones that come again."""
    if [len(part) for part in parts] != sizes or not all(isinstance(tag, str | int) for part in parts for tag in part):
        return False
    distinct = len(_distinct(parts))
    return 2 <= distinct <= min(CLASSES, sum(sizes) / 2)


def _are_spans(parts: list[Any]) -> bool:
    spans = [span for part in parts for span in part]
    return bool(spans) and all(isinstance(span, list) and [type(one) for one in span] == [int, int, str] for span in spans)


def _all_numbers(parts: list[Any]) -> bool:
    return all(str(word).isdecimal() for part in parts for word in part)


def _distinct(parts: list[Any]) -> set[str]:
    return {str(tag) for part in parts for tag in part}
