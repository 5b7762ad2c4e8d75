"""What the emulated devices are made of: the runner and its counter built from C, ONNX Runtime for aarch64, a root with an ARM's /proc.

Everything is made once and kept by what it was made of, in EDGEDISTILL_TOOLS or the user's cache folder; what exists is whole.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from edgedistill.cache import digest_file, key_of
from edgedistill.errors import DeviceError
from edgedistill.plugins import PACKAGE

SOURCES = PACKAGE / "measure"
RUNNER = ("runner.c", "answers.h", "job.h", "ort.h")
COUNTER = ("insn.c",)
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror")
COMPILERS: Mapping[str, Sequence[Sequence[str]]] = {  # the first that is here is taken
    "x86_64": (("gcc",), ("cc",)),
    "aarch64": (("aarch64-linux-gnu-gcc",), (sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu.2.28")),
}
INSTALL = {
    "x86_64": "apt-get install gcc",
    "aarch64": "apt-get install g++-aarch64-linux-gnu   (or: pip install ziglang)",
    "libraries": "apt-get install g++-aarch64-linux-gnu",
    "qemu": "apt-get install qemu-user",
}
ARM_ROOT = Path("/usr/aarch64-linux-gnu")  # Debian's and Ubuntu's cross libraries: the loader, libc, libstdc++
ARM_WHEELS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
FETCH_S = 600
BUILD_S = 300


def tools_folder() -> Path:
    """Where what is made here is kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("EDGEDISTILL_TOOLS") or cache / "edgedistill" / "tools")


def runner(arch: str) -> Path:
    """The runner for x86_64 or aarch64. Raises DeviceError with the command for the compiler where there is none."""
    return _compiled("runner", arch, RUNNER, ("-ldl", "-lm"))


def counter() -> Path:
    """The plugin that counts instructions; it runs inside qemu, so it is built for this machine."""
    return _compiled("insn.so", platform.machine(), COUNTER, ("-shared", "-fPIC", "-fvisibility=hidden"))


def qemu() -> str:
    """The emulator's path. Raises DeviceError with the command that brings it."""
    found = shutil.which("qemu-aarch64")
    if found is None:
        raise DeviceError("qemu-aarch64 is not here", hint=INSTALL["qemu"])
    return found


def qemu_version() -> str:
    """The emulator's version."""
    told = subprocess.run([qemu(), "--version"], capture_output=True, text=True, check=True).stdout
    return told.split("version", 1)[-1].split()[0]


def here_library() -> Path:
    """ONNX Runtime's library in the package that is installed here."""
    spec = find_spec("onnxruntime")
    found = sorted((Path(spec.origin).parent / "capi").glob("libonnxruntime.so.*")) if spec and spec.origin else []
    if not found:
        raise DeviceError("the installed onnxruntime has no libonnxruntime.so", hint="pip install onnxruntime   (the official wheel for Linux)")
    return found[0]


def arm_library() -> Path:
    """ONNX Runtime's library for aarch64, out of the official wheel of the version that is installed here."""
    return _kept(f"onnxruntime-{version('onnxruntime')}-aarch64", _fetch) / "libonnxruntime.so"


def _fetch(folder: Path) -> None:
    """Raises DeviceError with the command that failed."""
    platforms = [word for name in ARM_WHEELS for word in ("--platform", name)]
    pinned = f"onnxruntime=={version('onnxruntime')}"
    python = ["--python-version", f"{sys.version_info.major}.{sys.version_info.minor}", "--only-binary=:all:", "--no-deps"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", *python, *platforms, "--dest", str(folder), pinned]
    _checked(command, FETCH_S, f"ONNX Runtime for aarch64 ({pinned}) could not be fetched")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        name = next((name for name in archive.namelist() if "/capi/libonnxruntime.so" in name), None)
        if name is None:
            raise DeviceError(f"{wheel.name} has no libonnxruntime.so", hint="pip install --upgrade onnxruntime")
        with archive.open(name) as packed, (folder / "libonnxruntime.so").open("wb") as library:
            shutil.copyfileobj(packed, library)
    wheel.unlink()


def arm_libraries() -> Path:
    """The folder of the aarch64 loader and C++ library. Raises DeviceError with the command that brings them."""
    folder = ARM_ROOT / "lib"
    if not (folder / "ld-linux-aarch64.so.1").exists() or not (folder / "libstdc++.so.6").exists():
        raise DeviceError(f"{folder} has no aarch64 C++ library", hint=INSTALL["libraries"])
    return folder


def root(name: str, part: str, features: str) -> Path:
    """A folder for `qemu -L`: the cross libraries, and an ARM's /proc/cpuinfo and /sys, for qemu's older versions show the host's."""
    libraries = arm_libraries()
    files = {"proc/cpuinfo": "".join(_cpuinfo(core, part, features) for core in range(CORES)), **_topology()}

    def fill(folder: Path) -> None:
        (folder / "lib").symlink_to(libraries)
        for place, text in files.items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).write_text(text, encoding="ascii")

    return _kept(f"root-{name}-{key_of({'lib': str(libraries), **files})[:16]}", fill)


CORES = 4


def _cpuinfo(core: int, part: str, features: str) -> str:
    lines = {"processor": str(core), "BogoMIPS": "38.40", "Features": features, "CPU implementer": "0x41", "CPU architecture": "8"}
    lines |= {"CPU variant": "0x1", "CPU part": part, "CPU revision": "0"}
    return "".join(f"{name}\t: {value}\n" for name, value in lines.items()) + "\n"


def _topology() -> dict[str, str]:
    """What a library that asks the kernel about the cores reads, of four alike."""
    base, every = "sys/devices/system/cpu", f"0-{CORES - 1}"
    files = {f"{base}/{name}": every for name in ("possible", "present", "online")}
    for core in range(CORES):
        files[f"{base}/cpu{core}/cpufreq/cpuinfo_max_freq"] = "1800000"
        own = {"core_id": core, "physical_package_id": 0, "core_siblings_list": every, "package_cpus_list": every}
        own |= {"thread_siblings_list": core, "core_cpus_list": core}
        files |= {f"{base}/cpu{core}/topology/{name}": str(value) for name, value in own.items()}
    return {place: f"{text}\n" for place, text in files.items()}


def _compiled(name: str, arch: str, sources: Sequence[str], words: Sequence[str]) -> Path:
    compiler = _compiler(arch)
    asked = {"sources": {file: digest_file(SOURCES / file) for file in sources}, "command": [*compiler, *FLAGS, *words]}

    def build(folder: Path) -> None:
        command = [*compiler, *FLAGS, str(SOURCES / sources[0]), "-o", str(folder / name), *words]
        _checked(command, BUILD_S, f"{sources[0]} could not be built for {arch}")

    return _kept(f"{name}-{arch}-{key_of(asked)[:16]}", build) / name


def is_here(command: Sequence[str]) -> bool:
    """Whether a compiler's command can be run."""
    return find_spec("ziglang") is not None if "ziglang" in command else shutil.which(command[0]) is not None


def _compiler(arch: str) -> Sequence[str]:
    for command in COMPILERS.get(arch, ()):
        if is_here(command):
            return command
    raise DeviceError(f"there is no C compiler for {arch} here", hint=INSTALL.get(arch, "this is done on x86-64 Linux"))


def _checked(command: Sequence[str], deadline_s: float, sorry: str) -> None:
    """Run a command. Raises DeviceError that repeats it with the last line that it said."""
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=deadline_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"{sorry}: nothing in {deadline_s:.0f} s", hint=" ".join(command)) from error
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["no output"])[-1]
        raise DeviceError(f"{sorry}: {last}", hint=" ".join(command))


def _kept(name: str, fill: Callable[[Path], None]) -> Path:
    """A folder of the tools: the one that is there, or one that `fill` makes beside its place. Two may make it at once."""
    place = tools_folder() / name
    if place.is_dir():
        return place
    work = place.with_name(f".{name}.{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    try:
        work.mkdir(parents=True)
        fill(work)
        work.rename(place)
    except OSError as error:
        if not place.is_dir():  # else another process was first, and made the same
            raise DeviceError(f"cannot write to {place}: {error.strerror}", hint="name another folder with EDGEDISTILL_TOOLS=DIR") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return place
