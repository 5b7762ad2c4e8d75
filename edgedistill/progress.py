"""Progress is an event: stages emit, the face chosen here draws — bars on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

LINE_EVERY_S = 10.0  # a plain log gets a line this often at most: CI logs stay readable


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something happened in a stage. `done` of `total` is in `unit`; `note` is a short live reading such as a loss.

    A `measure` holds numbers by name, taken at a step of a training; lines and bars leave it out.
    """

    kind: Literal["begin", "advance", "measure", "note", "warn", "end"]
    stage: str
    text: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
    note: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    step: int = 0


Tell = Callable[[Event], None]


def silent(event: Event) -> None:
    """A listener that draws nothing."""


def both(first: Tell, second: Tell) -> Tell:
    """One listener that lets two hear."""

    def tell(event: Event) -> None:
        first(event)
        second(event)

    return tell


@dataclass(slots=True)
class Pace:
    """How fast a stage gets on: where it was when it was first heard of, and when it last got a line."""

    since_s: float
    begun_at: int
    line_s: float = -math.inf

    def left(self, event: Event, now: float) -> str:
        """How long the rest takes at this pace, in words; nothing where there is no pace yet, or nothing left."""
        done = event.done - self.begun_at
        if done <= 0 or event.done >= event.total or now <= self.since_s:
            return ""
        left_s = (now - self.since_s) / done * (event.total - event.done)
        return f" · {left_s:.0f} s left" if left_s < 90 else f" · {left_s / 60:.0f} min left"


def plain_lines(event: Event, paces: dict[str, Pace]) -> None:
    """Draw one event as a line of text; progress at most every `LINE_EVERY_S` seconds and at the end."""
    if event.kind == "measure":
        return
    now = time.monotonic()
    if event.kind == "advance":
        pace = paces.setdefault(event.stage, Pace(since_s=now, begun_at=event.done))
        if event.done < event.total and now - pace.line_s < LINE_EVERY_S:
            return
        pace.line_s = now
        share = 100 * event.done / max(event.total, 1)
        _line(f"{event.stage}: {event.done}/{event.total} {event.unit} ({share:.0f} %) {event.note}".rstrip() + pace.left(event, now))
    else:
        if event.kind in ("begin", "end"):
            paces.pop(event.stage, None)  # another training of the same stage has a pace of its own
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
        paces: dict[str, Pace] = {}
        yield lambda event: plain_lines(event, paces)


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
            if event.kind == "measure":
                return
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

    def part(self, name: str) -> Progress:
        """The progress of one of several trainings inside the stage."""
        return Progress(self._tell, f"{self.stage} {name}")

    def measure(self, step: int, values: Mapping[str, float]) -> None:
        """Report numbers by name, taken at a step."""
        self._tell(Event(kind="measure", stage=self.stage, step=step, values=dict(values)))

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
