"""The memory of this process and machine: what is held, what is free, and what a long training would leave behind."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

KERNELS = 32  # that oneDNN keeps, of its 1,024: batches have ever new shapes, and to make a kernel anew costs nothing that can be measured


def keep_few_kernels() -> None:
    """Let oneDNN keep few kernels in this process, unless the environment says how many; to be called before torch multiplies for the first time."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))


def give_back() -> None:
    """Give free pages of the heap back to the system, where its C library can (glibc)."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def forget_peak() -> None:
    """Let the peak of this process's memory begin anew, where the system can (Linux)."""
    give_back()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_bytes() -> int | None:
    """The most memory that this process has held since `forget_peak`; None where the system does not tell (other than Linux)."""
    return _told(Path("/proc/self/status"), "VmHWM:")


def free_bytes() -> int | None:
    """The memory of the machine that is free for new processes; None where the system does not tell (other than Linux)."""
    return _told(Path("/proc/meminfo"), "MemAvailable:")


def _told(file: Path, name: str) -> int | None:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)
