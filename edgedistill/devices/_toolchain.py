"""What emulated and remote devices need: the runner and its counter built from C, ONNX Runtime and a glibc for them, a root with an ARM's /proc.

Everything is made once and kept by what it was made of, in EDGEDISTILL_TOOLS or the user's cache folder; what exists is whole.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from edgedistill.cache import digest_file, key_of
from edgedistill.errors import DeviceError
from edgedistill.plugins import PACKAGE

SOURCES = PACKAGE / "measure"
RUNNER = ("runner.c", "answers.h", "job.h", "ort.h", "state.h")
COUNTER = ("insn.c",)
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror")
COMPILERS: Mapping[str, Sequence[Sequence[str]]] = {  # the first that is here is taken
    "x86_64": (("gcc",), ("cc",)),
    "aarch64": (("aarch64-linux-gnu-gcc",), (sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu.2.28")),
    "armv7l": (("arm-linux-gnueabihf-gcc",), (sys.executable, "-m", "ziglang", "cc", "-target", "arm-linux-gnueabihf.2.28")),
}
INSTALL = {
    "x86_64": "apt-get install gcc",
    "aarch64": "apt-get install g++-aarch64-linux-gnu   (or: pip install ziglang)",
    "armv7l": "apt-get install g++-arm-linux-gnueabihf   (or: pip install ziglang)",
    "libraries": "apt-get install g++-aarch64-linux-gnu",
    "qemu": "apt-get install qemu-user",
}
ARM_ROOT = Path("/usr/aarch64-linux-gnu")  # Debian's and Ubuntu's cross libraries: the loader, libc, libstdc++
LOADERS = {  # where this machine has a device's glibc, and its loader
    "x86_64": (Path("/lib/x86_64-linux-gnu"), "ld-linux-x86-64.so.2"),
    "aarch64": (ARM_ROOT / "lib", "ld-linux-aarch64.so.1"),
    "armv7l": (Path("/usr/arm-linux-gnueabihf/lib"), "ld-linux-armhf.so.3"),
}
GLIBC = ("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libstdc++.so.6", "libgcc_s.so.1")
ARM_WHEELS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
ONE_MAKER = threading.Lock()  # threads of a process would make one folder in one place
FETCH_S = 600
BUILD_S = 300


def tools_folder() -> Path:
    """Where what is made here is kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("EDGEDISTILL_TOOLS") or cache / "edgedistill" / "tools")


def runner(arch: str) -> Path:
    """The runner for x86_64, aarch64 or armv7l. Raises DeviceError with the command for the compiler where there is none."""
    return _compiled("runner", arch, RUNNER, ("-ldl", "-lm"))


def counter() -> Path:
    """The plugin that counts instructions; it runs inside qemu, so it is built for this machine."""
    return _compiled("insn.so", platform.machine(), COUNTER, ("-shared", "-fPIC", "-fvisibility=hidden"))


def qemu(arch: str = "aarch64") -> str:
    """The emulator's path. Raises DeviceError with the command that brings it."""
    found = shutil.which(f"qemu-{arch}")
    if found is None:
        raise DeviceError(f"qemu-{arch} is not here", hint=INSTALL["qemu"])
    return found


def qemu_version(arch: str = "aarch64") -> str:
    """The emulator's version."""
    told = subprocess.run([qemu(arch), "--version"], capture_output=True, text=True, check=True).stdout
    return told.split("version", 1)[-1].split()[0]


def needed(arch: str) -> None:
    """Raise DeviceError for the first thing that emulating an architecture needs and that is not here; nothing is fetched or built."""
    qemu(arch)
    _compiler(arch)
    if arch == "aarch64":
        arm_libraries()
        return
    if (platform.system(), platform.machine()) != ("Linux", arch):
        raise DeviceError(f"an {arch} CPU is emulated only on {arch} Linux: its libraries are this machine's", hint="use such a machine")
    here_library()


def here_library() -> Path:
    """ONNX Runtime's library in the package that is installed here."""
    spec = find_spec("onnxruntime")
    found = sorted((Path(spec.origin).parent / "capi").glob("libonnxruntime.so.*")) if spec and spec.origin else []
    if not found:
        raise DeviceError("the installed onnxruntime has no libonnxruntime.so", hint="pip install onnxruntime   (the official wheel for Linux)")
    return found[0]


def library(arch: str) -> Path:
    """ONNX Runtime's library for a device: the one that EDGEDISTILL_ONNXRUNTIME names, else the official wheels'.

    Raises DeviceError for a CPU that has no wheel.
    """
    named = os.environ.get("EDGEDISTILL_ONNXRUNTIME")
    if named:
        return Path(named)
    ways = {platform.machine(): here_library, "aarch64": arm_library}
    if arch not in ways:
        raise DeviceError(f"there is no wheel of ONNX Runtime for {arch}", hint="build it, and name it: EDGEDISTILL_ONNXRUNTIME=libonnxruntime.so")
    return ways[arch]()


def glibc(arch: str) -> dict[str, Path]:
    """The loader and the libraries of a glibc of this machine's, by name, the loader first. Raises DeviceError with what brings them."""
    folder, loader = LOADERS[arch]
    files = {name: folder / name for name in (loader, *GLIBC)}
    missing = [name for name, file in files.items() if not file.exists()]
    if missing:
        raise DeviceError(f"{folder} has no {', '.join(missing)}, which the device needs", hint=INSTALL[arch])
    return files


def arm_library() -> Path:
    """ONNX Runtime's library for aarch64, out of the official wheel of the version that is installed here."""
    return kept(f"onnxruntime-{version('onnxruntime')}-aarch64", _fetch) / "libonnxruntime.so"


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

    return kept(f"root-{name}-{key_of({'lib': str(libraries), **files})[:16]}", fill)


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

    return kept(f"{name}-{arch}-{key_of(asked)[:16]}", build) / name


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


def kept(name: str, fill: Callable[[Path], None]) -> Path:
    """A folder of the tools: the one that is there, or one that `fill` makes beside its place. Two processes may make it at once."""
    with ONE_MAKER:
        return _made(tools_folder() / name, fill)


def _made(place: Path, fill: Callable[[Path], None]) -> Path:
    if place.is_dir():
        return place
    work = place.with_name(f".{place.name}.{os.getpid()}")
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
