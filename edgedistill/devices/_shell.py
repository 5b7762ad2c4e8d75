"""A machine that is reached by a shell: one script at a time, with its exit code, its streams and a deadline.

Every script begins with a line of its own, so that a greeting is not taken for an answer, and ends by saying its code in another, so that a
link that breaks is never taken for a script that fails.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Timer
from typing import IO

from edgedistill.errors import DeviceError

SHORT_S = 60.0  # for a script that has next to nothing to do
END_S = 5.0  # for a script whose stdin has ended
FIRST = "edgedistill began"
READY = "ready"  # what a script says that holds something
LAST = "edgedistill ended with"
NO_ROOM = ("No space left on device", "Disk quota exceeded")


@dataclass(frozen=True, slots=True)
class Said:
    """What a script came to."""

    code: int
    out: bytes
    err: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """How scripts get to a machine.

    `argv` is the command here that runs a line of shell there; `reason` tells what the link's last words mean; `home` is the folder there
    that may be ours, in the words of its shell; `shut` ends the link.
    """

    address: str
    home: str
    argv: Callable[[str], Sequence[str]]
    reason: Callable[[str], DeviceError]
    shut: Callable[[], None] = lambda: None

    def run(self, script: str, *words: str, deadline_s: float = SHORT_S, stdin: IO[bytes] | None = None) -> Said:
        """Run a script of POSIX shell with words as $1, $2, … Its stdin ends when this process does.

        Raises DeviceError when the link breaks or nothing is said by the deadline.
        """
        reading, writing = os.pipe()
        try:
            ended = subprocess.run(self._command(script, words), stdin=stdin or reading, capture_output=True, timeout=deadline_s, check=False)
        except subprocess.TimeoutExpired as error:
            raise DeviceError(f"{self.address} said nothing for {deadline_s:.0f} s", hint=self.reason("").hint) from error
        finally:
            os.close(reading)
            os.close(writing)
        return self._said(ended.stdout, ended.stderr)

    def check(self, script: str, *words: str, deadline_s: float = SHORT_S, stdin: IO[bytes] | None = None) -> bytes:
        """What a script wrote. Raises DeviceError with its last line when it fails, too."""
        said = self.run(script, *words, deadline_s=deadline_s, stdin=stdin)
        if said.code:
            raise self.refusal(said.err)
        return said.out

    def refusal(self, err: str) -> DeviceError:
        """The machine is there and does not do it: no room, no permission."""
        if any(words in err for words in NO_ROOM):
            return DeviceError(f"{self.address} has no room left: {last_line(err)}", hint="free some space on the device, or send a smaller model")
        return DeviceError(f"{self.address} refuses: {last_line(err)}", hint=self.reason("").hint)

    def busy(self, waited_s: float) -> DeviceError:
        """Another client has the machine."""
        return DeviceError(f"{self.address} is busy for more than {waited_s:.0f} s", hint="another run has it: wait until that has ended")

    @contextmanager
    def holding(self, script: str, *words: str, deadline_s: float) -> Iterator[None]:
        """While a script runs that says `ready` when it is, and ends with its stdin. Raises DeviceError when it does not say so in time."""
        pipe = subprocess.PIPE
        with subprocess.Popen(self._command(script, words), stdin=pipe, stdout=pipe, stderr=pipe) as process:
            try:
                self._await_ready(process, deadline_s)
                yield
            finally:
                _end(process)

    def _await_ready(self, process: subprocess.Popen[bytes], deadline_s: float) -> None:
        assert process.stdout
        clock = Timer(deadline_s, process.kill)
        clock.start()
        try:
            ready = any(line.strip() == READY.encode() for line in process.stdout)
        finally:
            clock.cancel()
        if not ready:
            out, err = process.communicate()
            raise self.busy(deadline_s) if process.returncode == -signal.SIGKILL else self.refusal(self._said(out, err).err)

    def _command(self, script: str, words: Sequence[str]) -> Sequence[str]:
        told = f'echo "{FIRST}"; ( {script}\n); echo "{LAST} $?" >&2'
        return self.argv(shlex.join(["sh", "-c", told, "sh", *words]))

    def _said(self, out: bytes, err: bytes) -> Said:
        """Raises DeviceError when the script did not come to its end."""
        before, _, code = err.decode(errors="replace").rpartition(LAST)
        if not re.fullmatch(r" \d+\s*", code):
            raise self.reason(err.decode(errors="replace"))
        return Said(int(code), out.partition(f"{FIRST}\n".encode())[2], before.strip())


def last_line(text: str) -> str:
    """The last line of what was said."""
    return (text.strip().splitlines() or ["no output"])[-1].strip()


def known(words: str, table: Mapping[str, tuple[str, str]]) -> tuple[str, str] | None:
    """What is wrong and the next command, from a table by what the words say; `{0}`, `{1}` are its groups."""
    for pattern, told in table.items():
        if found := re.search(pattern, words):
            what, hint = (part.format(*(group or "" for group in found.groups())) for part in told)
            return what, hint
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.communicate(timeout=END_S)  # closes its stdin
    except (subprocess.TimeoutExpired, ValueError):  # it hangs, or was heard to its end before
        process.kill()
        process.wait()
