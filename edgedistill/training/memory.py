"""Memory that a long training would leave behind on a CPU: kernels kept for every shape of batch, and holes in the heap."""

from __future__ import annotations

import ctypes
import os
import sys

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
