"""What a Linux machine says of itself to a shell, in words that coreutils, busybox and Android's toybox all know."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill.devices._shell import Shell
from edgedistill.errors import DeviceError

TOOLS = ("flock", "timeout", "sha256sum", "stat")
FACTS = f"""
uname -s; uname -m; uname -r
echo $(nproc 2>/dev/null || grep -c ^processor /proc/cpuinfo)
echo $(getprop ro.product.model 2>/dev/null)
echo $(for tool in {" ".join(TOOLS)}; do command -v $tool >/dev/null || echo $tool; done)
arch=$(uname -m | tr _ -); loader=$(ls /lib/ld-linux-$arch.so.* /lib64/ld-linux-$arch.so.* 2>/dev/null | head -n 1)
ls /usr/lib/$(uname -m)-linux-gnu/libstdc++.so.6 /usr/lib64/libstdc++.so.6 /usr/lib/libstdc++.so.6 2>/dev/null | grep -q . || loader=
echo $([ -z "$loader" ] || "$loader" --version 2>/dev/null | head -n 1)
echo HOME
cat /proc/cpuinfo; :"""
CONDITIONS = """
read load rest </proc/loadavg && echo load_1min $load
for core in /sys/devices/system/cpu/cpu[0-9]*/cpufreq; do
    read value <$core/scaling_governor && echo governor $value; read value <$core/scaling_cur_freq && echo khz $value
done
for zone in /sys/class/thermal/thermal_zone*; do read value <$zone/temp && echo millicelsius $value; done; :"""
ARCHS = {"armv8l": "armv7l"}  # a 64-bit kernel in front of 32-bit programs
PARTS = {  # ARM's own CPUs in /proc/cpuinfo; the numbers stand in Linux's arch/arm64/include/asm/cputype.h
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd0d": "Cortex-A77",
    "0xd41": "Cortex-A78",
    "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510",
    "0xd47": "Cortex-A710",
    "0xd48": "Cortex-X2",
    "0xd4d": "Cortex-A715",
    "0xd4e": "Cortex-X3",
    "0xd80": "Cortex-A520",
    "0xd81": "Cortex-A720",
    "0xd82": "Cortex-X4",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A machine: `os` linux or android, `glibc` the 41 of its 2.41 where it also has the C++ library, else 0."""

    os: str
    arch: str
    cpu: str
    cores: int
    kernel: str
    glibc: int

    def facts(self) -> dict[str, Any]:
        """The keys that every device has."""
        return {"os": self.os, "arch": self.arch, "cpu": self.cpu, "cores": self.cores, "kernel": self.kernel}

    def runs(self, files: Iterable[Path]) -> bool:
        """Whether its own glibc has all that these programs and libraries ask for."""
        return self.glibc >= max(int(minor) for file in files for minor in re.findall(rb"GLIBC_2\.(\d+)", file.read_bytes()))


def look(shell: Shell) -> tuple[System, str]:
    """The machine behind a shell, and our folder on it. Raises DeviceError when it is no Linux, or has not the tools that we need there."""
    script = FACTS.replace("echo HOME", f'echo "{shell.home}"')
    said = shell.check(script).decode(errors="replace").splitlines()
    name, arch, kernel, cores, model, missing, loader, home, *cpu = (line.strip() for line in said)
    if name != "Linux":
        raise DeviceError(f"{shell.address} is a {name}", hint="the runner is made for Linux and Android")
    if missing:
        raise DeviceError(f"{shell.address} has no {missing}", hint="on Debian: apt-get install coreutils util-linux   (on Android: 8 or newer)")
    version = re.search(r"GLIBC.* 2\.(\d+)", loader)
    system = System(
        os="android" if model else "linux",
        arch=ARCHS.get(arch, arch),
        cpu=" ".join(filter(None, (model, cpu_name("\n".join(cpu))))),
        cores=int(cores),
        kernel=kernel,
        glibc=int(version[1]) if version else 0,
    )
    return system, home


def cpu_name(cpuinfo: str) -> str:
    """The CPU that /proc/cpuinfo shows: its board where that is named, else its cores, each kind once."""
    fields = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in cpuinfo.splitlines())]
    known = dict(fields)
    parts = list(dict.fromkeys(PARTS.get(value, f"ARM part {value}") for name, value in fields if name == "CPU part"))
    return known.get("Model") or " + ".join(parts) or known.get("model name") or known.get("Hardware") or "unknown"


def conditions(said: str) -> dict[str, Any]:
    """The readings that there were: the fastest core's MHz, the hottest zone's degrees."""
    readings: dict[str, list[str]] = {}
    for name, _, value in (line.partition(" ") for line in said.splitlines()):
        readings.setdefault(name, []).append(value)
    drawn: dict[str, tuple[str, Callable[[list[str]], Any]]] = {
        "load_1min": ("load_1min", lambda values: float(values[0])),
        "governor": ("governor", lambda values: " + ".join(dict.fromkeys(values))),
        "mhz": ("khz", lambda values: max(map(int, values)) // 1000),
        "celsius": ("millicelsius", lambda values: max(map(int, values)) / 1000),
    }
    return {name: draw(readings[source]) for name, (source, draw) in drawn.items() if source in readings}
