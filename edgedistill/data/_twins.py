"""Labels that are written differently and may be one class, and labels that may be no label at all; with the recipe's line that merges them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation

from edgedistill.wording import table

MOST = 5  # sets of twins that are named
DIGITS = 25  # a longer number is a name: exact arithmetic ends at 28
BLANKS = re.compile(r"[\s_-]+")
WRITTEN = ("nan", "NaN", "<NA>", "null", "NULL", "None")  # as programs write a value that is not there; words such as `none` may be classes


def twins(counts: Mapping[str, int]) -> str:
    """The labels that may be one class, each with its rows, in words; nothing where there are none."""
    found = [" and ".join(f"{label!r} ({_rows(counts[label])})" for label in same) for same in _sets(counts)]
    more = f"; and {len(found) - MOST} more such" if len(found) > MOST else ""
    return f"{'; '.join(found[:MOST])} may be one class{more}" if found else ""


def remedy(counts: Mapping[str, int], merge: Mapping[str, str] | None = None) -> str:
    """The line under [data] that counts each of these labels as the commonest of its like, beside what is merged; nothing where there are none."""
    pairs = {label: same[0] for same in _sets(counts) for label in same[1:]}
    kept = {label: pairs.get(meant, meant) for label, meant in (merge or {}).items()}
    return f"merge = {table({**kept, **pairs})}" if pairs else ""


def missing(counts: Mapping[str, int]) -> str:
    """The labels that a program writes where there is none, each with its rows, in words; nothing where there are none."""
    found = [f"{label!r} ({_rows(counts[label])})" for label in sorted(counts) if label in WRITTEN]
    return f"{' and '.join(found)} may stand for no label" if found else ""


def same_as(label: str, known: Iterable[str], merge: Mapping[str, str]) -> str:
    """What to do where a label may be another spelling of a known one; nothing where there is none."""
    other = next((one for one in known if one != label and _form(one) == _form(label)), None)
    return "" if other is None else f"if it means {other!r}, under [data] in the recipe: merge = {table({**merge, label: other})}"


def _sets(counts: Mapping[str, int]) -> list[list[str]]:
    """Sets of labels of one form, the commonest of each first."""
    alike: dict[str, list[str]] = {}
    for label in sorted(counts, key=lambda label: (-counts[label], label)):
        alike.setdefault(_form(label), []).append(label)
    return sorted((same for same in alike.values() if len(same) > 1), key=lambda same: same[0])


def _form(label: str) -> str:
    """What is left of a label without how it is written: capitals, blanks and dashes, quotes, a list around it, the look of a number."""
    text = unicodedata.normalize("NFKC", _bare(label)).strip()
    try:
        number = Decimal(text if len(text) <= DIGITS else "nan")
    except InvalidOperation:
        number = Decimal("nan")
    if number.is_finite():
        return f"number {(number + 0).normalize()}"  # of 0 there are two
    folded = text.casefold()
    return f"word {BLANKS.sub(' ', folded).strip() or folded}"


def _bare(label: str) -> str:
    """A label without the list, or the quotes, that it alone is in: ["pos"] and 'pos' are pos."""
    text = label.strip()
    if len(text) > 1 and (text[0], text[-1]) in (("[", "]"), ("(", ")"), ('"', '"'), ("'", "'")):
        inner = text[1:-1].rstrip(",") if text[0] == "(" else text[1:-1]
        alone = not any(mark in inner.strip("\"' ") for mark in ",[]()\"'")
        return _bare(inner) if alone and inner.strip() else text
    return text


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
