"""A Linux machine behind a shell as a device: the C runner and all that a job needs are carried over, run, and the result is brought back.

HOME/lock          held by one client at a time, and let go by the device when that client dies
HOME/blobs/SHA256  what was carried over: only what was not there, complete by its digest before it has that name
HOME/runs/TOKEN/   the files of a run by their names; gone after it

`close` takes the whole folder away, unless another client is at work: then that one does.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from edgedistill import graphs
from edgedistill.cache import digest_file
from edgedistill.devices import Ended, _child, _runner, _system, _toolchain
from edgedistill.devices._shell import NO_ROOM, READY, SHORT_S, Shell
from edgedistill.errors import DeviceError

QUEUE_S = 3600.0  # the longest that a run waits for those before it
GRACE_S = 20.0  # so much longer than its deadline may a run take to say that it was late
SLOW = 100e3  # bytes a second that a link carries at least
PULL_S = 600.0
LATE = 142  # what a program's end by SIGALRM is called

LOCK = 'command exec 9>>"$1/lock" && flock $2 9 9>&9 && [ "$1/lock" -ef /proc/self/fd/9 ]'  # no: the folder was taken away meanwhile
HOLD = f"""
umask 077
for try in 1 2 3 4 5; do mkdir -p "$1" || exit; {LOCK} && break; [ $try != 5 ] || exit 1; done
mkdir -p "$1/blobs" "$1/runs" && rm -rf "$1"/runs/* "$1"/blobs/*.part && echo {READY} && timeout -s KILL $3 cat >/dev/null 9>&-
exit"""  # not the last command: a shell would become that one, and let go
LIST = 'cd "$1/blobs" && { [ -z "$(ls)" ] || stat -c "%s %n" *; }'
PUSH = """
cd "$1/blobs" && cat >"$2.part" || { rm -f "$2.part"; exit 1; }
digest=$(sha256sum "$2.part") && [ "${digest%% *}" = "$2" ] || { rm -f "$2.part"; echo "$2 arrived damaged" >&2; exit 1; }
chmod 755 "$2.part" && mv "$2.part" "$2" """
PLACE = """
run=$1/runs/$2 blobs=$1/blobs; shift 2
while [ $# -gt 0 ]; do mkdir -p "$(dirname "$run/$2")" && ln -s "$blobs/$1" "$run/$2" || exit; shift 2; done"""
RUN = """
cd "$1" || exit; deadline=$2; shift 2
watch() { trap 'kill $!; exit' TERM; "$@" <&3 & wait $!; kill -ALRM $job; }
exec 3<&0
"$@" </dev/null >&2 3<&- & job=$!
watch sleep $deadline >/dev/null 2>&1 & late=$!
watch cat >/dev/null 2>&1 & alone=$!
wait $job; code=$?
kill $late $alone
[ $code != 0 ] || sha256sum result.json $([ ! -e answers ] || echo answers) || code=$?
exit $code"""
CLOSE = f"""[ -d "$1" ] || exit 0; {LOCK} && rm -rf "$1" """


@dataclass(frozen=True, slots=True)
class Remote:
    """A machine with a shell; `home` is our folder on it."""

    shell: Shell
    system: _system.System
    home: str

    @property
    def address(self) -> str:
        """As it is written on the command line."""
        return self.shell.address

    def facts(self) -> dict[str, Any]:
        """What the device is, as it said when it was found."""
        return {"device": self.address, **self.system.facts(), "provenance": "measured"}

    def conditions(self) -> dict[str, Any]:
        """How busy and how warm it is now, as far as it can be read."""
        return _system.conditions(self.shell.check(_system.CONDITIONS).decode(errors="replace"))

    def run(self, job: Mapping[str, Any], deadline_s: float) -> Ended:
        """Run a job in the runner over there, when the runs before it have ended. The deadline is the runner's alone.

        What a run that raises leaves there goes with the next one, or with `close`.
        """
        model = Path(job["model"]).resolve()
        if not model.is_file():
            return _child.crashed(2, f"{model} is not there")
        with tempfile.TemporaryDirectory(prefix="edgedistill-") as folder, self._turn(deadline_s):
            job_file = Path(folder) / "job"
            warm = _runner.Warm() if job["min_runs"] or job["min_s"] else _runner.NOT
            job_file.write_bytes(_runner.packed(job, model=f"model/{model.name}", warm=warm, marked=False))
            program, before = self._program()
            command = [*before, "./runner", "./libonnxruntime.so", "job", "result.json", *(["answers"] if job.get("answers") else [])]
            parts = {f"model/{name}": file for name, file in graphs.parts(model).items()}
            place = self._place({**program, **parts, "job": job_file})
            ended = self._run(place, command, deadline_s)
            self.shell.check('rm -rf "$1"', place)
            return ended

    def close(self) -> None:
        """Take our folder away. A device that is gone keeps it, and the next client's close finds it."""
        with suppress(DeviceError):
            self.shell.run(CLOSE, self.home, "-n", deadline_s=GRACE_S)
        self.shell.shut()

    @contextmanager
    def _turn(self, deadline_s: float) -> Iterator[None]:
        locks = _toolchain.tools_folder() / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        most = str(math.ceil(deadline_s + QUEUE_S))  # then the device lets go, whatever became of the client
        try:
            with (
                FileLock(locks / sha256(self.address.encode()).hexdigest(), timeout=QUEUE_S),
                self.shell.holding(HOLD, self.home, "-x", most, deadline_s=QUEUE_S),
            ):
                yield
        except Timeout as error:
            raise DeviceError(
                f"{self.address} is busy for more than {QUEUE_S:.0f} s", hint="another run has it: wait until that has ended"
            ) from error

    def _program(self) -> tuple[dict[str, Path], list[str]]:
        """The runner, ONNX Runtime and, where the machine has no glibc that they can use, one of ours with the words that call its loader."""
        arch = self.system.arch
        program = {"runner": _toolchain.runner(arch), "libonnxruntime.so": _toolchain.library(arch)}
        if self.system.runs(program.values()):
            return program, []
        glibc = _toolchain.glibc(arch)
        return {**program, **glibc}, [f"./{next(iter(glibc))}", "--library-path", "."]

    def _place(self, files: Mapping[str, Path]) -> str:
        """A folder there with these files by their names. Only what is not there is carried over."""
        digests = {name: digest_file(file) for name, file in files.items()}
        listed = self.shell.check(LIST, self.home).decode().splitlines()
        there = {name: int(size) for size, _, name in (line.partition(" ") for line in listed)}
        for digest, file in {digests[name]: file for name, file in files.items()}.items():
            size = file.stat().st_size
            if there.get(digest) != size:
                with file.open("rb") as stream:
                    self.shell.check(PUSH, self.home, digest, deadline_s=SHORT_S + size / SLOW, stdin=stream)
        token = uuid4().hex
        self.shell.check(PLACE, self.home, token, *(word for name, digest in digests.items() for word in (digest, name)))
        return f"{self.home}/runs/{token}"

    def _run(self, place: str, command: Sequence[str], deadline_s: float) -> Ended:
        most = math.ceil(deadline_s)
        said = self.shell.run(RUN, place, str(most), *command, deadline_s=most + GRACE_S)
        if said.code == LATE:
            return _child.late(deadline_s)
        if any(words in said.err for words in NO_ROOM):
            raise self.shell.refusal(said.err)
        if said.code:
            return _runner.blamed(_child.crashed(128 - said.code if said.code > 128 else said.code, said.err))  # a shell adds 128 to a signal
        digests = dict(line.split()[::-1] for line in said.out.decode().splitlines())
        result = json.loads(self._pull(place, "result.json", digests))
        return Ended(result=result, answers=_runner.unpacked(self._pull(place, "answers", digests)) if "answers" in command else [])

    def _pull(self, place: str, name: str, digests: Mapping[str, str]) -> bytes:
        content = self.shell.check('cat "$1"', f"{place}/{name}", deadline_s=PULL_S)
        if sha256(content).hexdigest() != digests.get(name):
            raise DeviceError(f"{self.address}: {name} came back damaged", hint="run it again")
        return content


def found(shell: Shell) -> Remote:
    """The machine behind a shell. Raises DeviceError when it is none that the runner is made for."""
    return Remote(shell, *_system.look(shell))
