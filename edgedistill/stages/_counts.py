"""Instructions on an emulated CPU: what the search takes for latency where no machine of the target's kind is here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgedistill import search
from edgedistill.cache import digest_file
from edgedistill.devices import local, qemu
from edgedistill.errors import DeviceError, StageError
from edgedistill.progress import Progress

ROWS = 8  # a count repeats to 0.01 %: what differs is the inputs' lengths


def clock(cpu: str, feeds: Sequence[search.Feeds], progress: Progress) -> search.Clock:
    """Counts the instructions of files on an emulated CPU, two or more at once; tells nothing, but warns, where a process fails."""

    def read(files: Sequence[Path]) -> list[search.Pace]:
        same = {digest_file(file): file for file in files}  # fp32 may be both the base and a candidate
        counted: dict[str, list[dict[str, int]]] = {}
        try:
            qemu.ready(cpu)
            runs = local.side_by_side(lambda file: qemu.counts(cpu, file, feeds), same.values())
            for done, (digest, found) in enumerate(zip(same, runs, strict=True), 1):
                counted[digest] = found
                progress.advance(done, len(same), "files counted", cpu)
        except (DeviceError, StageError) as error:
            progress.warn(f"instructions on {cpu} are unmeasured, and the profile's order decides: {error}")
            return []
        base = qemu.mean(counted[digest_file(files[0])])
        return [_pace(cpu, counted[digest_file(file)], base) for file in files]

    return read


def _pace(cpu: str, runs: Sequence[dict[str, int]], fp32: dict[str, int]) -> search.Pace:
    facts = {"instructions": {"cpu": cpu, "rows": len(runs), "classes": qemu.mean(runs), "fp32": fp32}}
    return search.Pace(samples=np.array([[sum(run.values()) for run in runs]], np.float64), latency="emulated", facts=facts)
