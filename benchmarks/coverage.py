"""How often the interval that a bench prints holds what many benches agree on, on this machine as it is.

    python benchmarks/coverage.py BUNDLE [--store DIR] [--mode quick] [--repeats 30] [--record FILE] [--read FILE]

Every repeat is one whole `bench`. The truth stands for itself: the median over all turns of all repeats. The aim is 0.9 of the intervals, which
are 99 % ones where the turns are independent; a machine whose load goes on longer than a bench makes them less. Every repeat is kept as a line
of FILE, which `--read` counts again. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill.bundle.reader import open_bundle
from edgedistill.measure import trust
from edgedistill.measure.run import Plan, measure
from edgedistill.progress import Progress, silent

KINDS = ("latency_ms", "cpu_ms")  # what others' programs took is in the first and not in the second
Turns = Mapping[str, list[float]]  # each subject's ms by turn


def repeat(bundle: Path, store: Path, mode: str) -> dict[str, Turns]:
    """One whole bench, as each subject's times by turn, of both kinds."""
    document = measure(open_bundle(bundle), store, Plan(mode=mode), Progress(silent, "coverage"), rows=0)
    return {kind: {name: [one[kind] for one in rows] for name, rows in document["devices"][0]["processes"].items()} for kind in KINDS}


def covered(repeats: list[Turns], ours: str, theirs: str) -> dict[str, Any]:
    """How many repeats' intervals hold the median over all turns of all of them."""
    logs = [np.log(_array(one, ours) / _array(one, theirs)) for one in repeats]
    truth = float(np.median(np.concatenate(logs)))
    found = [trust.interval(one) for one in logs]
    widths = [high - low for low, high, _ in found]
    held = [low <= truth <= high for low, high, _ in found]
    return {
        "ratio": f"{ours} ÷ {theirs}",
        "grand_median": float(np.exp(truth)),
        "coverage": float(np.mean(held)),
        "level": found[0].level,
        "median_width": float(np.expm1(np.median(widths))),
        "repeats": len(repeats),
        "ratios": [float(np.exp(np.median(one))) for one in logs],
    }


def _array(turns: Turns, name: str) -> NDArray[np.float64]:
    return np.asarray(turns[name], float)


def main() -> None:
    """Repeat, or read what was recorded, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--store", type=Path, default=Path("store"))
    parser.add_argument("--mode", default="quick")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--record", type=Path, default=Path("coverage.jsonl"))
    parser.add_argument("--read", type=Path, help="count what was recorded before")
    asked = parser.parse_args()
    if asked.read is None:
        for _ in range(asked.repeats):
            with asked.record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(repeat(asked.bundle, asked.store, asked.mode)) + "\n")
    lines = (asked.read or asked.record).read_text(encoding="utf-8").splitlines()
    repeats: list[dict[str, Turns]] = [json.loads(line) for line in lines]
    baseline, *names = repeats[0]["latency_ms"]
    print(json.dumps({kind: [covered([turns[kind] for turns in repeats], one, baseline) for one in names] for kind in KINDS}, indent=1))


if __name__ == "__main__":
    main()
