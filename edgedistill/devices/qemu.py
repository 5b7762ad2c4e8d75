"""An emulated CPU under qemu: the kernels that it would choose, their answers, memory and instruction counts. Never a time.

qemu:cortex-a53   qemu:cortex-a72   no dot product          qemu:cortex-a76   dot product          qemu:i8mm   integer matrix products
qemu:haswell      AVX2 without VNNI: pairs of int8 products are added in 16 bits and saturate
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from numpy.typing import NDArray

from edgedistill.devices import Ended, _runner, _toolchain, untimed
from edgedistill.errors import ConfigError, DeviceError, EdgedistillError, StageError, nearest
from edgedistill.profiles import CPUS

CLASSES = ("int_dot", "int_matrix", "int_multiply", "float_multiply_add", "other")  # in the order of measure/insn.c
TIMES = ("import_ms", "load_ms", "first_ms")
DEADLINE_S = 1800.0  # of one process; fp32 takes about a second a row and million weights under qemu, seconds on a busy machine
FAILURES: Mapping[str, type[EdgedistillError]] = {"crashed": StageError, "timeout": DeviceError}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What an emulated process said: its result, the raw answer to every feed, and the instructions of a run of every feed."""

    result: Mapping[str, Any]
    answers: list[NDArray[Any]]
    counts: list[dict[str, int]]


@dataclass(frozen=True, slots=True)
class Emulated:
    """One emulated CPU, with the face of every transport."""

    name: str

    @property
    def address(self) -> str:
        """As it is written on the command line."""
        return f"qemu:{self.name}"

    def run(self, job: Mapping[str, Any], deadline_s: float) -> Ended:
        """Run a job in the runner, which stands in for the agent. The result has no times: they would be the emulator's.

        `peak_mib` is an upper bound: what qemu translated since the load is in it, 19 MiB for an empty graph, 30 for a small BERT.
        """
        untimed = {**job, "min_runs": 0, "min_s": 0.0}
        ended = _runner.execute(_place(self.name), untimed, deadline_s, warm=_runner.NOT)
        return replace(ended, result=without_times(ended.result))

    def facts(self) -> dict[str, Any]:
        """What is emulated, and by what."""
        return {
            "device": self.address,
            "os": "linux",
            "arch": CPUS[self.name].arch,
            "cpu": f"{self.name} (emulated)",
            "cores": _toolchain.CORES,
            "kernel": platform.release(),
            "qemu": _toolchain.qemu_version(CPUS[self.name].arch),
            "provenance": "emulated",
        }

    def conditions(self) -> dict[str, Any]:
        """Nothing that an instruction count depends on."""
        return {}

    def close(self) -> None:
        """Every job cleans up after itself."""


def check(name: str) -> None:
    """Raises ConfigError naming the known CPUs."""
    if name not in CPUS:
        raise ConfigError(f"unknown emulated CPU '{name}'", hint=nearest(name, CPUS))


def connect(name: str) -> Emulated:
    """The emulated CPU of that name. Raises ConfigError naming the known CPUs."""
    check(name)
    return Emulated(name)


def lacking(name: str) -> str:
    """What is missing here for emulating a CPU, with the command that brings it; empty where nothing is. Nothing is fetched or built."""
    try:
        _toolchain.needed(CPUS[connect(name).name].arch)
    except DeviceError as error:
        return str(error)
    return ""


def ready(name: str) -> None:
    """Fetch and build what emulating a CPU needs. Raises DeviceError with the command that brings what cannot be had."""
    _place(connect(name).name)


def counts(name: str, model: Path, feeds: Sequence[Mapping[str, NDArray[Any]]]) -> list[dict[str, int]]:
    """Instructions of a run of each feed by class, on one thread, repeatable to 0.01 %.

    Raises StageError when the process crashes, DeviceError when it hangs or a tool is missing here.
    """
    return checked(name, untimed(model, feeds), counted=True).counts


def mean(runs: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """The instructions of an average run by class."""
    return {name: round(sum(one[name] for one in runs) / len(runs)) for name in CLASSES}


def checked(name: str, job: Mapping[str, Any], *, counted: bool) -> Seen:
    """As `observe`, with an error where the process has no result."""
    seen = observe(connect(name).name, job, DEADLINE_S, counted=counted)
    failure = FAILURES.get(seen.result["status"])
    if failure is not None:
        raise failure(f"{job['model']} on an emulated {name} {seen.result['status']}: {seen.result['detail']}")
    return seen


def observe(name: str, job: Mapping[str, Any], deadline_s: float, *, counted: bool) -> Seen:
    """The answers to every feed and, where `counted`, the instructions of one more run of each, on one thread.

    Raises DeviceError where the emulator takes no plugins.
    """
    runs = len(job["feeds"]) if counted else 0
    changed = {**job, "min_runs": runs, "min_s": 0.0, "threads": 1 if counted else job["threads"], "answers": True}
    place = _place(name)
    with TemporaryDirectory(prefix="edgedistill-") as folder:
        out = Path(folder) / "counts"
        plugin = ("-plugin", f"{_toolchain.counter()},out={out}") if counted else ()
        seen_from = replace(place, before=(*place.before, *plugin))
        ended = _runner.execute(seen_from, changed, deadline_s, warm=_runner.NOT, marked=counted)
        if counted and not out.is_file():
            hint, emulator = "Debian 12's dynamic qemu-user 7.2 takes them: apt-get install qemu-user", f"qemu-{CPUS[name].arch}"
            raise DeviceError(f"{emulator} {_toolchain.qemu_version(CPUS[name].arch)} took no plugin: {ended.result.get('detail', '')}", hint=hint)
        return Seen(result=without_times(ended.result), answers=ended.answers, counts=_counts(out) if counted else [])


def _place(name: str) -> _runner.Place:
    cpu = CPUS[name]
    before = (_toolchain.qemu(cpu.arch), "-cpu", cpu.model)
    if cpu.arch != "aarch64":
        _toolchain.needed(cpu.arch)
        return _runner.Place(runner=_toolchain.runner(cpu.arch), library=_toolchain.here_library(), before=before)
    libraries = _toolchain.root(name, cpu.part, cpu.features)
    return _runner.Place(runner=_toolchain.runner(cpu.arch), library=_toolchain.arm_library(), before=(*before, "-L", str(libraries)))


def without_times(result: Mapping[str, Any]) -> dict[str, Any]:
    """An emulated process's result: its times are the emulator's, and go."""
    kept = {name: value for name, value in result.items() if name not in TIMES}
    return {**kept, **({"samples_ms": [], "warmups_ms": []} if "samples_ms" in kept else {}), "provenance": "emulated"}


def _counts(out: Path) -> list[dict[str, int]]:
    lines = [list(map(int, line.split())) for line in out.read_text(encoding="ascii").splitlines()]
    return [dict(zip(CLASSES, line[1:], strict=True)) for line in sorted(lines)]
