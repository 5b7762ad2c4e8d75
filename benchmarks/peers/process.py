"""Processes of other Pythons: commands with a log, and agents that run one model and wait while others run."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

AGENT = Path(__file__).resolve().parent / "agent.py"
QUIET = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "ORT_DISABLE_TELEMETRY": "1", "CI": "true"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A model that can be run: by which Python, in which engine, and what it is."""

    python: Path
    engine: str
    model: Path
    scheme: str
    bytes: int
    versions: Mapping[str, str]


class Agent:
    """A process that runs one model in its own Python, and waits while others run."""

    def __init__(self, subject: Subject, job: Mapping[str, Any], beside: Path, threads: int) -> None:
        file, self._log = beside.with_suffix(".job.json"), beside.with_suffix(".log")
        file.write_text(json.dumps({"engine": subject.engine, "model": str(subject.model), "threads": threads, **job}), encoding="utf-8")
        self._command = [str(subject.python), "-I", str(AGENT), str(file)]
        self._threads = threads

    def __enter__(self) -> Agent:
        settings = {**os.environ, **QUIET, "OMP_NUM_THREADS": str(self._threads)}
        with self._log.open("w", encoding="utf-8") as log:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=log, text=True, env=settings, cwd=self._log.parent)
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(BrokenPipeError):
            self._process.communicate()  # closes its stdin, which ends it

    def hear(self) -> dict[str, Any]:
        """Its next line. Raises CalledProcessError when it ended instead."""
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise subprocess.CalledProcessError(self._process.wait(), self._command, output=_end(self._log))
        found: dict[str, Any] = json.loads(line)
        return found

    def ask(self) -> dict[str, Any]:
        """One pass over the rows."""
        with suppress(BrokenPipeError):  # it ended: hearing nothing from it says so
            if self._process.stdin:
                self._process.stdin.write("\n")
                self._process.stdin.flush()
        return self.hear()


def call(command: list[str], log: Path) -> None:
    """Run a command with everything it says in a file. Raises CalledProcessError with the file's end."""
    with log.open("w", encoding="utf-8") as stream:
        done = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, env={**os.environ, **QUIET}, cwd=log.parent, check=False)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command, output=_end(log))


def reason(error: subprocess.CalledProcessError) -> str:
    """Who failed, and the last line that it said, without this machine's folders: an exception's, or pip's."""
    said = [line.strip() for line in str(error.output or "").splitlines() if line.strip()]
    who = next((Path(part).name for part in error.cmd if part.endswith(".py")), "pip")
    last = re.sub(r"(?<!\S)/(?:[^/\s]+/)+", "", said[-1])[:300] if said else f"exit {error.returncode}"
    return f"{who}: {last}"


def _end(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-4000:]
