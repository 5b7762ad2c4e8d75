"""Everything that can go wrong, as one tree, each branch with its exit code.

EdgedistillError            1   a bug of ours
├── ConfigError             2   usage, recipe, target: every fault at once
│   └── DataError           2   the user's rows: file, row and column named
├── StageError              3   a step could not do its work
│   └── WriteError          3   no room for a file, or a limit on it: nothing is wrong with what was asked
├── GateError               4   a quality or budget gate does not hold; the artefacts are kept
├── RegressionError         5   worse than the baseline
├── IntegrityError          6   a digest differs, or a path is unsafe
└── DeviceError             7   the device or provider is not there
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: where it is, what it is, and what to do next."""

    where: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        return f"{line}\n    hint: {self.hint}" if self.hint else line


class ColumnError(ValueError):
    """What is wrong with one value of a row is wrong with its whole column: it is said once, with `hint`, not row by row."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.hint = hint


class EdgedistillError(Exception):
    """The root; catching it catches everything that edgedistill raises on purpose."""

    exit_code = 1

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint

    def __str__(self) -> str:
        what = super().__str__()
        return f"{what}\nhint: {self.hint}" if self.hint else what


class ConfigError(EdgedistillError):
    """The request is wrong; `faults` holds all that is wrong with it, not only the first."""

    exit_code = 2

    def __init__(self, faults: Iterable[Fault] | str, hint: str = "") -> None:
        self.faults = (Fault("", faults, hint),) if isinstance(faults, str) else tuple(faults)
        count = len(self.faults)
        if count == 1:
            only = self.faults[0]
            super().__init__(f"{only.where}: {only.what}" if only.where else only.what, only.hint)
        else:
            listed = "\n".join(f"  - {fault}" for fault in self.faults)
            super().__init__(f"{count} faults\n{listed}")


class DataError(ConfigError):
    """The user's data cannot be used as it is."""


class StageError(EdgedistillError):
    """A step of the pipeline failed; what earlier steps made is kept."""

    exit_code = 3


class WriteError(StageError):
    """A file could not be written; what is finished is kept, and the same command goes on from there."""


class GateError(EdgedistillError):
    """A quality or budget gate does not hold; the bundle was made and is kept."""

    exit_code = 4


class RegressionError(EdgedistillError):
    """The result is worse than its baseline."""

    exit_code = 5


class IntegrityError(EdgedistillError):
    """A file is not what its digest says, or a path leaves its folder."""

    exit_code = 6


class DeviceError(EdgedistillError):
    """The device or provider is not there, or another one did the work."""

    exit_code = 7


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the closest known one, then all of them."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    listed = "known: " + ", ".join(names) if names else "none is known here"
    return f"did you mean '{close[0]}'? ({listed})" if close else listed
