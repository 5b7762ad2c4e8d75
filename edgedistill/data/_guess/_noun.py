"""What is known of a file after a look at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ASKED_ONLY = -1_000.0  # the strength of a guess that is made only where a person names its task


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """One task that a file suits, with the column of each role.

    `columns` are names for a file without a header. `classes` counts distinct labels, `majority` is the share of the commonest, `span` the
    lowest and highest of real-valued ones. `twins` names labels that may be one class, which the recipe's line `merge` makes them, `missing`
    those that may be none. `tokens` holds 95 % of the texts where `fits`; `lengths` are evenly spaced quantiles of their tokens, guessed from
    bytes.
    `remarks` say by role why it is this column, `doubts` which others it could be, with what they hold. `also` are the other tasks that the
    file suits. `strength` ranks guesses.
    """

    path: Path
    task: str
    rows: int
    text: str | None = None
    pair: str | None = None
    image: str | None = None
    label: str | None = None
    columns: tuple[str, ...] = ()
    separator: str | None = None
    classes: int = 0
    majority: float = 0.0
    span: tuple[float, float] = (0.0, 0.0)
    twins: str = ""
    merge: str = ""
    missing: str = ""
    tokens: int = 0
    fits: bool = True
    lengths: tuple[int, ...] = ()
    remarks: Mapping[str, str] = field(default_factory=dict)
    doubts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    strength: float = 0.0

    @property
    def roles(self) -> dict[str, str]:
        """The column of each role that has one."""
        named = {"text": self.text, "pair": self.pair, "image": self.image, "label": self.label}
        return {role: column for role, column in named.items() if column is not None}
