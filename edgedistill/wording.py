"""Numbers as people read them, rounded to what they carry, sizes with their unit; and words as TOML has them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from math import floor, isfinite, log10
from typing import Any

NOT_AVAILABLE = "n/a"
KILO, MEGA = 1_000, 1_000_000
LITTLE = 0.5  # of the weights: a scheme that quantises less says so
NAMED = 3  # operators in a sentence


def significant(value: float, digits: int = 3) -> str:
    """A number rounded to significant digits, never in exponent notation: 1234.5 → '1,234', 0.09123 → '0.0912'."""
    if not isfinite(value):
        return NOT_AVAILABLE
    rounded = float(f"{value:.{digits - 1}e}")
    magnitude = floor(log10(abs(rounded))) if rounded else 0
    return f"{value:,.{max(0, digits - 1 - magnitude)}f}"


def megabytes(size: float, digits: int = 3) -> str:
    """Bytes as MB of 10⁶ bytes, the unit of budgets; what is below a tenth of one as kB or B."""
    if size < KILO:
        return f"{size:.0f} B"
    return f"{significant(size / MEGA, digits)} MB" if size >= MEGA / 10 else f"{significant(size / KILO, digits)} kB"


def named(scheme: str, facts: Mapping[str, Any]) -> str:
    """A scheme as tables name it: fp32 that was cast says from what."""
    return f"{scheme} (cast from {facts['cast_from']})" if facts.get("cast_from") else scheme


def left_in_float(scheme: str, facts: Mapping[str, Any]) -> str:
    """That a scheme quantised less than half of the weights, and where the rest is; empty where it did not, or where nobody counted."""
    weights = facts.get("weights", {"bytes": {}})
    total, kept = sum(weights["bytes"].values()), sum(weights["bytes"].get(kind, 0) for kind in ("fp32", "fp64"))
    if scheme == "fp32" or not total or kept <= LITTLE * total:
        return ""
    small = " and ".join(kind for kind in weights["bytes"] if kind not in ("fp32", "fp64")) or "smaller numbers"
    places = [f"{one['node']} ({one['operator']}, {megabytes(one['bytes'])})" for one in weights["left"]]
    more = len(places) - NAMED + weights["left_more"]
    behind = f" and {more} more" if more > 0 else ""
    return f"{1 - kept / total:.1%} of the weights' bytes are {small}; the rest stays float in {', '.join(places[:NAMED])}{behind}"


def quoted(value: str) -> str:
    """A TOML basic string; JSON's escapes are TOML's, but for the delete character that JSON leaves bare."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def array(values: Iterable[str]) -> str:
    """A TOML array of strings."""
    return f"[{', '.join(map(quoted, values))}]"


def table(pairs: Mapping[str, str]) -> str:
    """A TOML table of strings on one line."""
    return f"{{ {', '.join(f'{quoted(key)} = {quoted(value)}' for key, value in pairs.items())} }}"
