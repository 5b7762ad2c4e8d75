"""Progress is an event: stages emit, the face chosen here draws — bars on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

LINE_EVERY_S = 10.0  # a plain log gets a line this often at most: CI logs stay readable


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something happened in a stage. `done` of `total` is in `unit`; `note` is a short live reading such as a loss."""

    kind: Literal["begin", "advance", "note", "warn", "end"]
    stage: str
    text: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
    note: str = ""


Tell = Callable[[Event], None]


def silent(event: Event) -> None:
    """A listener that draws nothing."""


def plain_lines(event: Event, last: dict[str, float]) -> None:
    """Draw one event as a line of text; progress at most every `LINE_EVERY_S` seconds and at the end."""
    now = time.monotonic()
    if event.kind == "advance":
        due = event.done >= event.total or now - last.get(event.stage, -LINE_EVERY_S) >= LINE_EVERY_S
        if not due:
            return
        last[event.stage] = now
        share = 100 * event.done / max(event.total, 1)
        _line(f"{event.stage}: {event.done}/{event.total} {event.unit} ({share:.0f} %) {event.note}".rstrip())
    else:
        mark = {"begin": "▸ ", "end": "✓ ", "warn": "warning: ", "note": "  "}[event.kind]
        _line(f"{mark}{event.stage}: {event.text}" if event.text else f"{mark}{event.stage}")


def _line(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def drawn() -> Iterator[Tell]:
    """The listener that fits where stderr goes: rich bars on a terminal, else plain lines."""
    if sys.stderr.isatty():
        with _bars() as tell:
            yield tell
    else:
        last: dict[str, float] = {}
        yield lambda event: plain_lines(event, last)


@contextmanager
def _bars() -> Iterator[Tell]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.text import Text

    console = Console(stderr=True)
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[unit]}")]
    columns += [TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), TextColumn("[dim]{task.fields[note]}")]
    with Progress(*columns, console=console, transient=True) as bars:
        rows: dict[str, Any] = {}

        def tell(event: Event) -> None:
            if event.kind == "advance":
                if event.stage not in rows:
                    rows[event.stage] = bars.add_task(event.stage, total=event.total, unit=event.unit, note="")
                bars.update(rows[event.stage], completed=event.done, total=event.total, note=event.note)
                return
            if event.kind == "end" and event.stage in rows:
                bars.remove_task(rows.pop(event.stage))
            mark, style = {"begin": ("▸ ", "bold"), "end": ("✓ ", "green"), "warn": ("warning: ", "yellow"), "note": ("  ", "")}[event.kind]
            line = Text.assemble((mark, style), f"{event.stage}: {event.text}" if event.text else event.stage)
            console.print(line, highlight=False)  # one print: the bars below erase a line that is not ended

        yield tell


class Progress:
    """What a stage holds: its own name on every event."""

    def __init__(self, tell: Tell, stage: str) -> None:
        self._tell = tell
        self.stage = stage

    def advance(self, done: int, total: int, unit: str, note: str = "") -> None:
        """Report `done` of `total` `unit`s."""
        self._tell(Event(kind="advance", stage=self.stage, done=done, total=total, unit=unit, note=note))

    def note(self, text: str) -> None:
        """Say something worth reading."""
        self._tell(Event(kind="note", stage=self.stage, text=text))

    def warn(self, text: str) -> None:
        """Say something that the user should act on."""
        self._tell(Event(kind="warn", stage=self.stage, text=text))

    def begin(self, text: str = "") -> None:
        """The stage starts."""
        self._tell(Event(kind="begin", stage=self.stage, text=text))

    def end(self, text: str = "") -> None:
        """The stage is done."""
        self._tell(Event(kind="end", stage=self.stage, text=text))
