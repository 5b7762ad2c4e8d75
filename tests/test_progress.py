"""What a log shows: lines on stderr, few enough to read, and nothing on stdout."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from edgedistill import progress
from edgedistill.progress import LINE_EVERY_S, Event, Pace, Progress, both, drawn, plain_lines, silent


class Clock:
    """A clock that a test moves by hand."""

    def __init__(self) -> None:
        self.now = 5000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    hand = Clock()
    monkeypatch.setattr(progress, "time", hand)
    return hand


def advance(done: int, total: int = 100, stage: str = "distil", note: str = "") -> Event:
    return Event(kind="advance", stage=stage, done=done, total=total, unit="steps", note=note)


def test_lines_begin_warn_note_and_end_when_a_stage_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    events: list[Event] = []
    stage = Progress(events.append, "teach")
    stage.begin("round 1")
    stage.warn("3 rows are empty")
    stage.note("22 M parameters")
    stage.end()
    for event in events:
        plain_lines(event, {})
    out, err = capsys.readouterr()
    assert err.splitlines() == ["▸ teach: round 1", "warning: teach: 3 rows are empty", "  teach: 22 M parameters", "✓ teach"]
    assert out == ""


def test_line_shows_share_unit_and_note_when_it_advances(capsys: pytest.CaptureFixture[str]) -> None:
    plain_lines(advance(25, 200, note="loss 0.5"), {})
    plain_lines(advance(2, 3, stage="label"), {})
    assert capsys.readouterr().err.splitlines() == ["distil: 25/200 steps (12 %) loss 0.5", "label: 2/3 steps (67 %)"]


def test_lines_are_throttled_when_a_stage_advances_fast(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    last: dict[str, Pace] = {}
    for done in range(1, 1001):  # 100 seconds, an event each 0.1 s: one line at once, one each 10 s, and the last
        plain_lines(advance(done, 1000), last)
        clock.now += 0.1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("distil: 1/1000 ")
    assert lines[1].endswith(" s left")
    assert lines[-1] == "distil: 1000/1000 steps (100 %)"
    assert 10 <= len(lines) <= 12


@pytest.mark.parametrize(("waited_s", "count"), [(LINE_EVERY_S - 0.01, 1), (LINE_EVERY_S, 2)])
def test_second_line_waits_for_its_time_when_the_first_is_out(clock: Clock, capsys: pytest.CaptureFixture[str], waited_s: float, count: int) -> None:
    last: dict[str, Pace] = {}
    plain_lines(advance(1), last)
    clock.now += waited_s
    plain_lines(advance(2), last)
    assert len(capsys.readouterr().err.splitlines()) == count


def test_stages_are_throttled_apart_when_two_advance(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    last: dict[str, Pace] = {}
    for stage in ("teach", "label", "teach", "label"):
        plain_lines(advance(1, stage=stage), last)
    assert capsys.readouterr().err.splitlines() == ["teach: 1/100 steps (1 %)", "label: 1/100 steps (1 %)"]


def test_warnings_are_never_throttled_when_they_come_together(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    last: dict[str, Pace] = {}
    for number in range(5):
        plain_lines(Event(kind="warn", stage="check", text=f"warning {number}"), last)
    assert len(capsys.readouterr().err.splitlines()) == 5


def test_line_shows_the_time_left_when_a_pace_is_known(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    paces: dict[str, Pace] = {}
    for done, waited_s in ((100, 0), (150, 10), (160, 110), (200, 0)):  # 50 steps in 10 s leave 50 · 10/50 s; 60 in 120 s leave 40 · 2 s
        clock.now += waited_s
        plain_lines(advance(done, 200), paces)
    plain_lines(Event(kind="begin", stage="distil"), paces)
    plain_lines(advance(0, 1000), paces)
    clock.now += 60
    plain_lines(advance(100, 1000, note="loss 0.5000 · val 0.8100 · 70 rows/s"), paces)  # 900 more at 100 a minute
    lines = capsys.readouterr().err.splitlines()
    assert lines[:4] == [
        "distil: 100/200 steps (50 %)",
        "distil: 150/200 steps (75 %) · 10 s left",
        "distil: 160/200 steps (80 %) · 80 s left",
        "distil: 200/200 steps (100 %)",
    ]
    assert lines[5:] == ["distil: 0/1000 steps (0 %)", "distil: 100/1000 steps (10 %) loss 0.5000 · val 0.8100 · 70 rows/s · 9 min left"]


def test_measures_are_not_drawn_and_both_listeners_hear_when_told(capsys: pytest.CaptureFixture[str]) -> None:
    first: list[Event] = []
    second: list[Event] = []
    Progress(both(first.append, second.append), "student").part("bottom").measure(20, {"loss": 0.5})
    assert first == second == [Event(kind="measure", stage="student bottom", step=20, values={"loss": 0.5})]
    plain_lines(first[0], {})
    assert capsys.readouterr().err == ""


def test_silent_says_nothing_when_told(capsys: pytest.CaptureFixture[str]) -> None:
    silent(Event(kind="warn", stage="x", text="y"))
    assert capsys.readouterr() == ("", "")


def test_events_carry_the_stage_when_a_stage_tells() -> None:
    events: list[Event] = []
    Progress(events.append, "label").advance(3, 9, "rows", "fast")
    assert events == [Event(kind="advance", stage="label", done=3, total=9, unit="rows", note="fast")]


def test_drawn_is_plain_lines_when_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with drawn() as tell:
        stage = Progress(tell, "pack")
        stage.begin()
        stage.advance(1, 2, "files")
        stage.advance(2, 2, "files")
        stage.end("[bold]bundle[/]")
    out, err = capsys.readouterr()
    assert err.splitlines() == ["▸ pack", "pack: 1/2 files (50 %)", "pack: 2/2 files (100 %)", "✓ pack: [bold]bundle[/]"]
    assert out == ""


def test_drawn_leaves_stdout_alone_when_stderr_is_a_terminal() -> None:
    script = """
import time
from edgedistill.progress import Progress, drawn
with drawn() as tell:
    stage = Progress(tell, "distil")
    stage.begin("round 1")
    for step in range(3):
        stage.advance(step, 3, "steps", f"loss {step} · val 0.8100 · 70 rows/s")
        stage.measure(step, {"loss": 1.0})
        time.sleep(0.6)  # the bars are drawn ten times a second, the time left once there is a pace
    stage.warn("[red] is text")
    stage.end("done here")
print("the answer")
"""
    keyboard, screen = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    ran = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=screen, env=environment, timeout=60, check=True)
    os.close(screen)
    shown = _read_all(keyboard)
    assert ran.stdout == b"the answer\n"
    for words in ("distil: round 1", "distil: [red] is text", "distil: done here", "loss 1 · val 0.8100 · 70 rows/s", "left", "0:00:01", "\x1b["):
        assert words in shown


def _read_all(terminal: int) -> str:
    chunks = []
    try:
        while chunk := os.read(terminal, 4096):
            chunks.append(chunk)
    except OSError:  # Linux answers EIO once the other end is closed and all is read
        pass
    os.close(terminal)
    return b"".join(chunks).decode()
