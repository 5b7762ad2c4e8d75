"""Numbers as people read them, rounded to what they carry, sizes with their unit; and words as TOML has them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from math import floor, isfinite, log10

NOT_AVAILABLE = "n/a"
KILO, MEGA = 1_000, 1_000_000


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


def quoted(value: str) -> str:
    """A TOML basic string; JSON's escapes are TOML's, but for the delete character that JSON leaves bare."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def array(values: Iterable[str]) -> str:
    """A TOML array of strings."""
    return f"[{', '.join(map(quoted, values))}]"


def table(pairs: Mapping[str, str]) -> str:
    """A TOML table of strings on one line."""
    return f"{{ {', '.join(f'{quoted(key)} = {quoted(value)}' for key, value in pairs.items())} }}"
