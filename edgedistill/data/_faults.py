"""Gathers what is wrong with the rows of a file, so that the user sees ten faults at once, not one a run."""

from __future__ import annotations

from pathlib import Path

from edgedistill.data._record import shown
from edgedistill.errors import DataError, Fault

MOST = 10  # ten show the pattern; the eleventh hides it


class Faults:
    """The faults of one place. `add` raises DataError when there are ten, `settle` when there is any."""

    def __init__(self, located: Path | str, unit: str = "line") -> None:
        self._place = shown(located)
        self._unit = unit
        self._faults: list[Fault] = []

    def add(self, number: int, what: str, hint: str = "") -> None:
        """Note one fault at a line or row."""
        self._faults.append(Fault(f"{self._place} {self._unit} {number}", what, hint))
        if len(self._faults) >= MOST:
            raise DataError(self._faults)

    def settle(self) -> None:
        """Raise what was gathered."""
        if self._faults:
            raise DataError(self._faults)
