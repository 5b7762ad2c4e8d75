"""init: a recipe for the data at hand, and what its build will take here."""

from __future__ import annotations

import sys
from pathlib import Path

from edgedistill import estimate
from edgedistill.init import Choice, sentence, write_recipe


def init(place: Path, out: Path | None, task: str | None) -> None:
    """Write the recipe, print its path on stdout and its cost by stage on stderr."""
    print(write_recipe(place, out, task, _tell))


def _tell(choice: Choice) -> None:
    if not choice.costs:
        return
    for stage, cost in choice.costs.items():
        print(f"  {stage:9} {estimate.duration(cost.seconds):>7}  {estimate.memory(cost.bytes):>8}", file=sys.stderr)
    print(f"  together {sentence(choice)}, within a factor of two", file=sys.stderr)
