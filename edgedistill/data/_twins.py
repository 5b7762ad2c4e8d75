"""Labels that differ only in capitals: classes of their own, and often by mistake."""

from __future__ import annotations

from collections.abc import Iterable

MOST = 5  # sets of twins that are named


def twins(names: Iterable[str]) -> str:
    """The labels that differ only in capitals, in words; nothing where there are none."""
    alike: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        alike.setdefault(name.casefold(), []).append(name)
    found = [" and ".join(map(repr, same)) for same in alike.values() if len(same) > 1]
    more = f"; and {len(found) - MOST} more such" if len(found) > MOST else ""
    return "; ".join(found[:MOST]) + more
