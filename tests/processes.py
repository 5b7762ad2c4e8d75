"""Which processes a piece of work started, and whether they are still there. Linux."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")


def watched(work: Callable[[], Found], folder: Path, look: Callable[[Mapping[int, str]], object] = bool) -> tuple[Found, set[int]]:
    """What `work` gives, and the processes that named its folder or were in such a one's group while it ran.

    `look` sees their command lines several times a second.
    """
    found: list[Found] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    seen: set[int] = set()
    while thread.is_alive():
        commands = {pid: command(pid) for pid in pids()}
        groups = {group(pid) for pid, words in commands.items() if str(folder) in words} - {os.getpgrp(), 0}
        named = {pid: words for pid, words in commands.items() if group(pid) in groups or (str(folder) in words and pid != os.getpid())}
        look(named)
        seen |= set(named)
        thread.join(0.2)
    return found[0], seen


def pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:  # it ended meanwhile
        return ""


def group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return 0


def threads(pid: int) -> list[str]:
    """The names of a process's threads."""
    try:
        return [task.read_text(encoding="utf-8").strip() for task in Path(f"/proc/{pid}/task").glob("*/comm")]
    except OSError:
        return []


def alive(pid: int) -> bool:
    """Whether there is a process that is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
