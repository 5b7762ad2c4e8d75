"""The command line in forks of a process that has its libraries loaded: an exit code, both streams and a deadline for some hundredths of a second.

python tests/forked.py   reads jobs as JSON lines, {"words": […], "cwd": "…"}, and answers each with one; a file `stdin` in that folder is the input.
What a good input would lead to is left out: a build ends after `prepare`, a quantisation after the look at the file.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from edgedistill import cli

DEADLINE_S = 20.0
BYTES = 2**26  # of a file that a command writes
LIBRARIES = ("onnx", "onnxruntime", "pyarrow.parquet", "scipy.stats", "sklearn.model_selection", "tokenizers", "edgedistill.stages.prepare")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended; a negative code is the signal that did it."""

    code: int
    out: str
    err: str
    seconds: float


class Forks:
    """The process that forks, from here."""

    def __init__(self) -> None:
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # threads do not survive a fork
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env={**os.environ, **one, "CUDA_VISIBLE_DEVICES": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, words: list[str], cwd: Path) -> Ended:
        """Run `edgedistill WORDS` in a folder; a file `stdin` there is what it reads."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"words": words, "cwd": str(cwd)}), file=self._process.stdin, flush=True)
        return Ended(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End it."""
        self._process.communicate()


@contextlib.contextmanager
def forks() -> Iterator[Forks]:
    """A process that forks, for as long as it is needed."""
    made = Forks()
    try:
        yield made
    finally:
        made.close()


def serve() -> None:
    """Answer jobs until there are no more."""
    for name in LIBRARIES:
        import_module(name)
    _shorten()
    _warm()
    for line in sys.stdin:
        job = json.loads(line)
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / name for name in ("out", "err")]
            started = time.monotonic()
            code = _ended(_forked(job, files))
            said = [file.read_bytes().decode("utf-8", "replace") for file in files]
            print(json.dumps({"code": code, "out": said[0], "err": said[1], "seconds": time.monotonic() - started}), flush=True)


def _warm() -> None:
    """Load and compile what most commands need, once for all forks, and touch it no more."""
    from edgedistill import config, plugins

    for file in sorted((plugins.PACKAGE / "faces").glob("[a-z]*.py")):
        import_module(f"edgedistill.faces.{file.stem}")
    for family in ("stages", "tasks", "data"):
        for name in plugins.names(family):
            with contextlib.suppress(ImportError):
                plugins.load(family, name)
    config.load_target("linux-x64")
    config.load_recipe("default", ())
    gc.freeze()


def _shorten() -> None:
    """Leave out what follows on a good input."""
    from edgedistill.foreign import run
    from edgedistill.pipeline import _walk

    walk, require = _walk._walk, _walk.require

    def prepare_alone(step: Any, *others: Any) -> Any:
        if step.stage != "prepare":
            raise SystemExit(0)
        return walk(step, *others)

    _walk._walk = prepare_alone
    _walk.require = lambda recipe, plans, store, **_: require(recipe, plans, store, deep=False)
    run.guard.run = _looked  # type: ignore[assignment]
    run.LOOK_S = 15.0


def _looked(work: str, job: Mapping[str, Any], limits: Any, hear: Any = None) -> dict[str, Any]:
    """`guard.run` with a fork in the place of a new process."""
    from dataclasses import asdict

    from edgedistill.foreign import child, guard

    if work != "look":
        raise SystemExit(0)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("job.json", "result.json")]
        files[0].write_text(json.dumps({"work": work, "limits": asdict(limits), **job}), encoding="utf-8")
        pid = os.fork()
        if not pid:
            _leave(lambda: child.main(*map(str, files)), Path(folder) / "out", Path(folder) / "err")
        code = _ended(pid)
        if code or not files[1].is_file():
            raise guard.DiedError(f"{work}: the guarded process {guard._end(code, False, limits)}", {})
        return guard._answer(json.loads(files[1].read_text(encoding="utf-8")))


def _forked(job: Mapping[str, Any], files: list[Path]) -> int:
    pid = os.fork()
    if pid:
        return pid

    def command() -> None:
        os.setsid()
        os.chdir(job["cwd"])
        os.dup2(os.open("stdin" if Path("stdin").exists() else os.devnull, os.O_RDONLY), 0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (BYTES, BYTES))
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  the process's own
        sys.argv = ["edgedistill", *job["words"]]
        cli.main()

    _leave(command, *files)


def _leave(call: Callable[[], None], out: Path, err: Path) -> NoReturn:
    """Make a call as a process's whole life."""
    for number, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    code = 0
    try:
        call()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _ended(pid: int) -> int:
    """A child's exit code; it is killed at the deadline, with all that it started."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    serve()
