"""The names and ranges that a profile's facts are taken from: systems, features, providers, emulated CPUs, what a graph file may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from edgedistill.providers import PROVIDERS, WEB

SYSTEMS = frozenset(system for provider in PROVIDERS.values() for system in provider.systems)
RUNNERS = frozenset({*WEB, *(provider.name for provider in PROVIDERS.values())})  # what runtime.provider may be
X86 = "sse4_1 sse4_2 avx f16c fma avx2 avx_vnni avx512f avx512bw avx512dq avx512vl avx512_vnni avx512_bf16 avx512_fp16 amx_tile amx_int8 amx_bf16"
ARM = "neon vfpv3 vfpv4 asimd fphp asimdhp asimdrdm asimddp asimdfhm atomics bf16 i8mm sve sve2 svei8mm sme sme2"
BROWSER = "simd128 relaxed-simd webgpu shader-f16"
FEATURES = frozenset(f"{X86} {ARM} {BROWSER}".split())  # Linux's names; WebAssembly's and WebGPU's own
OPSETS = range(7, 27)  # onnxruntime 1.31 reads up to 26 and IR 13; below 7 and IR 4 operators broadcast and weights are inputs otherwise
IR_VERSIONS = range(4, 14)
VERSION = re.compile(r"\d+(\.\d+)*")
ADDRESS = re.compile(r"https?://[^\s/]+(/\S*)?")  # a host of a company's own network too

ARMV8 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
ARMV8_2 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """A CPU as qemu calls it. An ARM has a part number and the features that its /proc/cpuinfo shows; an x86 says all of that itself."""

    model: str
    part: str = ""
    features: str = ""

    @property
    def arch(self) -> str:
        """The instruction set."""
        return "aarch64" if self.part else "x86_64"


CPUS: Mapping[str, Cpu] = {
    "cortex-a53": Cpu(model="cortex-a53", part="0xd03", features=ARMV8),
    "cortex-a72": Cpu(model="cortex-a72", part="0xd08", features=ARMV8),
    "cortex-a76": Cpu(model="cortex-a76", part="0xd0b", features=ARMV8_2),
    # SME answers otherwise and takes minutes under qemu, SVE and pointer authentication slow it down; the part is a Cortex-A710's
    "i8mm": Cpu(model="max,sve=off,sme=off,pauth=off", part="0xd47", features=f"{ARMV8_2} flagm i8mm bf16"),
    "haswell": Cpu(model="Haswell"),
}
