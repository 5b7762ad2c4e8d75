"""An emulated ARM under qemu: the kernels that its CPU would choose, their answers, memory and instruction counts. Never a time.

qemu:cortex-a53   qemu:cortex-a72   no dot product          qemu:cortex-a76   dot product          qemu:i8mm   integer matrix products
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from numpy.typing import NDArray

from edgedistill.devices import Ended, _runner, _toolchain
from edgedistill.errors import ConfigError, DeviceError, nearest

ARMV8 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
ARMV8_2 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs"
CLASSES = ("int_dot", "int_matrix", "int_multiply", "float_multiply_add", "other")  # in the order of measure/insn.c
TIMES = ("import_ms", "load_ms", "first_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """A CPU as qemu calls it, with the part number and the features that its /proc/cpuinfo shows."""

    model: str
    part: str
    features: str


CPUS: Mapping[str, Cpu] = {
    "cortex-a53": Cpu(model="cortex-a53", part="0xd03", features=ARMV8),
    "cortex-a72": Cpu(model="cortex-a72", part="0xd08", features=ARMV8),
    "cortex-a76": Cpu(model="cortex-a76", part="0xd0b", features=ARMV8_2),
    # SME answers otherwise and takes minutes under qemu, SVE and pointer authentication slow it down; the part is a Cortex-A710's
    "i8mm": Cpu(model="max,sve=off,sme=off,pauth=off", part="0xd47", features=f"{ARMV8_2} flagm i8mm bf16"),
}


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
        return replace(ended, result=_emulated(ended.result))

    def facts(self) -> dict[str, Any]:
        """What is emulated, and by what."""
        return {
            "device": self.address,
            "os": "linux",
            "arch": "aarch64",
            "cpu": f"{self.name} (emulated)",
            "cores": _toolchain.CORES,
            "kernel": platform.release(),
            "qemu": _toolchain.qemu_version(),
            "provenance": "emulated",
        }

    def conditions(self) -> dict[str, Any]:
        """Nothing that an instruction count depends on."""
        return {}

    def close(self) -> None:
        """Every job cleans up after itself."""


def connect(name: str) -> Emulated:
    """The emulated CPU of that name. Raises ConfigError naming the known CPUs."""
    if name not in CPUS:
        raise ConfigError(f"unknown emulated CPU '{name}'", hint=nearest(name, CPUS))
    return Emulated(name)


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
            hint = "Debian 12's dynamic qemu-user 7.2 takes them: apt-get install qemu-user"
            raise DeviceError(f"{_toolchain.qemu()} {_toolchain.qemu_version()} took no plugin: {ended.result.get('detail', '')}", hint=hint)
        return Seen(result=_emulated(ended.result), answers=ended.answers, counts=_counts(out) if counted else [])


def _place(name: str) -> _runner.Place:
    cpu = CPUS[name]
    emulator, libraries = _toolchain.qemu(), _toolchain.root(name, cpu.part, cpu.features)
    before = (emulator, "-cpu", cpu.model, "-L", str(libraries))
    return _runner.Place(runner=_toolchain.runner("aarch64"), library=_toolchain.arm_library(), before=before)


def _emulated(result: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in result.items() if name not in TIMES}
    return {**kept, **({"samples_ms": [], "warmups_ms": []} if "samples_ms" in kept else {}), "provenance": "emulated"}


def _counts(out: Path) -> list[dict[str, int]]:
    lines = [list(map(int, line.split())) for line in out.read_text(encoding="ascii").splitlines()]
    return [dict(zip(CLASSES, line[1:], strict=True)) for line in sorted(lines)]
