"""How many cores a process of ours may really use: those that it may run on, and the time that its control groups leave it on them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

GROUPS = "sys/fs/cgroup"


def usable(root: Path = Path("/")) -> int:
    """The cores of this process's affinity, and no more than its quota of CPU time comes to, rounded up."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([here, *(math.ceil(quota) for quota in quotas(root))]))


def quotas(root: Path) -> Iterator[float]:
    """What every control group around this process leaves it, in cores. Nothing where there is none, or it has no limit.

    Version 2 writes `MAX PERIOD` into cpu.max, version 1 a file for each; a container may see its own group as the root.
    """
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for mount in ("", "unified") if not controllers else (controllers, "cpu"):
            for group in _upwards(path):
                yield from _quota(root / GROUPS / mount / group)


def _upwards(path: str) -> Iterator[str]:
    """A group and those that it is in, down to the root."""
    parts = [part for part in path.split("/") if part and part != ".."]
    yield from ("/".join(parts[:depth]) for depth in range(len(parts), -1, -1))


def _quota(group: Path) -> Iterator[float]:
    words = [word for line in _lines(group / "cpu.max")[:1] for word in line.split()]
    words = words or [word for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us") for word in _lines(group / name)[:1]]
    if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]):  # `max` and -1: no limit
        yield int(words[0]) / int(words[1])


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
