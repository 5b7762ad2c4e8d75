"""How fast this machine is: measured once in a process of its own, and kept for this machine and torch in the user's cache folder."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from edgedistill.cache import key_of, write_json
from edgedistill.estimate.body import Body

DEADLINE_S = 120.0
SCHEMA = "edgedistill.speed/1"  # 1: first
REFERENCE = 384  # the width that is measured over lengths of text
WIDEST, NARROWEST = 1536, 192  # beyond them a core's efficiency is taken for what it is there
SHARED = 0.85  # power of the cores that they are faster than one by: memory and what runs on one core are shared (benchmarks/LOG.md)
Kind = Literal["train_s", "run_s"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Seconds for one token in one layer at some widths and lengths, for one weight in one step of the optimiser, and what torch itself holds."""

    points: Sequence[Mapping[str, float]]
    optimizer_s: float
    base_bytes: int
    cores: float = 1.0  # that share the work, where the seconds are those of one

    def seconds(self, body: Body, tokens: int, kind: Kind) -> float:
        """Seconds for one text of so many tokens through all layers, with its gradient (`train_s`) or without (`run_s`)."""
        known: list[tuple[float, float]] = sorted((point["tokens"], point[kind]) for point in self.points if point["width"] == REFERENCE)
        reference = Body(layers=1, width=REFERENCE, intermediate=4 * REFERENCE)
        scale = body.flops(tokens) / reference.flops(tokens) * math.pow(self._wider(kind), math.log2(_clamped(body.width) / REFERENCE))
        return _between(known, tokens) * scale * tokens * body.layers / math.pow(self.cores, SHARED)

    def _wider(self, kind: Kind) -> float:
        """How many times longer an operation takes where the width is doubled: below 1 where wide layers use a core better."""
        wide = next(point for point in self.points if point["width"] != REFERENCE)
        alike = next(point for point in self.points if point["width"] == REFERENCE and point["tokens"] == wide["tokens"])
        one, other = (Body(layers=1, width=int(point["width"]), intermediate=4 * int(point["width"])) for point in (wide, alike))
        return float((wide[kind] / alike[kind]) / (one.flops(int(wide["tokens"])) / other.flops(int(wide["tokens"]))))


def typical() -> Speed:
    """A server's core of 2025 with bfloat16 (AMD Zen 5), as many as this machine has: what is assumed before anything was measured."""
    rows = ((384, 32, 7.2e-5, 2.5e-5), (384, 128, 8.0e-5, 2.7e-5), (384, 256, 1.0e-4, 3.0e-5), (384, 512, 1.2e-4, 3.7e-5), (768, 128, 2.6e-4, 8.3e-5))
    points = [dict(zip(("width", "tokens", "train_s", "run_s"), row, strict=True)) for row in rows]
    return Speed(points=points, optimizer_s=1.4e-9, base_bytes=500_000_000, cores=_cores())


def known() -> Speed | None:
    """What was measured of this machine before, if it was."""
    try:
        document = json.loads(_file().read_text(encoding="utf-8"))
        return _speed(document) if document["schema"] == SCHEMA else None
    except (OSError, ValueError, KeyError, TypeError, PackageNotFoundError):
        return None


def measured() -> Speed | None:
    """As `known`, measured now where it was not: some seconds. None where torch or transformers is not installed, or cannot run here."""
    if (found := known()) is not None:
        return found
    if find_spec("torch") is None or find_spec("transformers") is None or find_spec("accelerate") is None:
        return None
    command = [sys.executable, "-m", "edgedistill.estimate._probe"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE_S)
        document = {"schema": SCHEMA, **json.loads(done.stdout)}
    except (subprocess.SubprocessError, OSError, ValueError):  # killed for memory, too slow, or a torch that does not start: no estimate, no error
        return None
    try:
        _file().parent.mkdir(parents=True, exist_ok=True)
        write_json(_file(), document)
    except OSError:  # a home that cannot be written to: it is measured again next time
        pass
    return _speed(document)


def _speed(document: Mapping[str, Any]) -> Speed:
    return Speed(
        points=tuple(document["points"]),
        optimizer_s=float(document["optimizer_s"]),
        base_bytes=int(document["base_bytes"]),
        cores=_cores() if document["of_one_thread"] else 1,
    )


def _cores() -> int:
    from edgedistill.devices import local  # numpy, which `init` does without

    return local.cores()


def _file() -> Path:
    from edgedistill.devices import local

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    machine = {"cpu": local.cpu_name(), "torch": version("torch")}
    return cache / "edgedistill" / "speed" / f"{key_of(machine)}.json"


def _between(known: Sequence[tuple[float, float]], tokens: int) -> float:
    """The value at a length: on the straight line between its neighbours, and beyond the ends what stands there."""
    at = bisect_left(known, (tokens, 0.0))
    if at in (0, len(known)):
        return known[min(at, len(known) - 1)][1]
    (left, low), (right, high) = known[at - 1], known[at]
    return low + (high - low) * (tokens - left) / (right - left)


def _clamped(width: int) -> float:
    return min(max(width, NARROWEST), WIDEST)
