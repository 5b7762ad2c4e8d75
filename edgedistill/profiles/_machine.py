"""Whether this machine is of a target's kind: by operating system, architecture and feature bits, never by a CPU's name."""

from __future__ import annotations

import platform
from pathlib import Path

from edgedistill.spec import Target

CPUINFO = Path("/proc/cpuinfo")
MEASURED_WITH = "CPUExecutionProvider"  # a build's own latencies come from it: they say nothing of another provider
KERNELS = ("amx_int8", "avx512_vnni", "avx_vnni", "avx2", "i8mm", "asimddp", "asimd")
ARCHITECTURES = {"arm64": "aarch64", "amd64": "x86_64"}  # what macOS and Windows call Linux's names


def is_this_machine(target: Target, cpuinfo: Path = CPUINFO) -> bool:
    """Whether this machine is of the target's kind, so that its times say something about the target.

    That is: operating system and architecture, every feature that the profile requires, none that its class lacks, and the provider that
    a build measures with. Features that cannot be seen (not Linux) count as absent where required and as present where they must not be.
    """
    here = is_of_system(target.platform.os, target.platform.arch, platform.system(), platform.machine())
    if not here or target.runtime.provider.value != MEASURED_WITH:
        return False
    try:
        every, some = cpu_features(cpuinfo.read_text(encoding="utf-8", errors="replace"))
    except OSError:  # no /proc here
        return not target.platform.requires and not target.platform.lacks
    return every.issuperset(target.platform.requires) and some.isdisjoint(target.platform.lacks)


def kernels(cpuinfo: Path = CPUINFO) -> str:
    """The feature by which ONNX Runtime chooses this machine's integer kernels, best first; its architecture where none can be seen."""
    try:
        every, _ = cpu_features(cpuinfo.read_text(encoding="utf-8", errors="replace"))
    except OSError:  # no /proc here
        every = frozenset()
    return next((name for name in KERNELS if name in every), platform.machine())


def is_of_system(os: str, arch: str, its_os: str, its_arch: str) -> bool:
    """Whether a device has a profile's operating system and architecture, by whatever name it calls them."""
    return (os, arch) == (its_os.lower(), ARCHITECTURES.get(its_arch.lower(), its_arch.lower()))


def cpu_features(cpuinfo: str) -> tuple[frozenset[str], frozenset[str]]:
    """The feature bits that every core has and those that any has, from the text of /proc/cpuinfo; 64-bit ARM calls NEON asimd."""
    lines = [line.partition(":") for line in cpuinfo.splitlines()]
    cores = [_named(words.split()) for key, _, words in lines if key.strip().lower() in ("flags", "features")]
    return (frozenset.intersection(*cores), frozenset.union(*cores)) if cores else (frozenset(), frozenset())


def _named(features: list[str]) -> frozenset[str]:
    return frozenset([*features, "neon"] if "asimd" in features else features)
