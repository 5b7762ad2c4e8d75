"""Costs as people read them."""

from __future__ import annotations

from collections.abc import Collection

from edgedistill.estimate.cost import Cost

GIB = 2**30


def total(costs: Collection[Cost], *, measured: bool) -> str:
    """The sum of the times and the largest memory, in a sentence."""
    seconds, most = sum(cost.seconds for cost in costs), max((cost.bytes for cost in costs), default=0.0)
    where = "on this machine" if measured else "on a typical machine with as many cores (`plan --deep` measures this one)"
    return f"about {duration(seconds)} {where}, and {memory(most)} of memory at most"


def memory(size: float) -> str:
    """Bytes as GiB."""
    return f"{size / GIB:.1f} GiB"


def duration(seconds: float) -> str:
    """Seconds below two minutes, minutes below two hours, else hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
