"""What it must run on: the nouns of a device profile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgedistill.spec._noun import Noun


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact(Noun):
    """A value with where it comes from."""

    value: int | float | str
    source: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed(Noun):
    """A quantisation scheme that this device runs, best first; `source` backs it."""

    scheme: str
    source: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forbidden(Noun):
    """A scheme that must not be shipped to this device, why, and who found out."""

    scheme: str
    why: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform(Noun):
    """The operating system and instruction set."""

    os: str
    arch: Literal["aarch64", "x86_64", "armv7l"]
    abi: str
    requires: tuple[str, ...] = ()
    prefers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime(Noun):
    """What executes the model there: `threads` for one session, oldest ONNX Runtime, and what the graph may use."""

    package: Fact
    min_ort: Fact
    provider: Fact
    threads: Fact
    opset: Fact
    ir_version_max: Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization(Noun):
    """Schemes in the order in which this profile's sources would try them, and those it refuses."""

    allowed: tuple[Allowed, ...]
    forbidden: tuple[Forbidden, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget(Noun):
    """Limits that a bundle must hold here. MB are 10⁶ bytes; a drop is teacher minus bundle, as a share of 1."""

    model_mb: Fact
    accuracy_drop: Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity(Noun):
    """Largest difference of logits, fp32 ONNX against torch; smallest agreement and largest loss of score, quantised file against fp32."""

    fp32_max_abs: Fact
    int8_agreement: Fact
    int8_drop: Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Target(Noun):
    """A device class. The file's stem is its name."""

    name: str
    summary: str
    status: Literal["stable", "experimental", "deprecated", "unmeasured"]
    platform: Platform
    runtime: Runtime
    quantization: Quantization
    budget: Budget
    parity: Parity
    transport: str = "local"
