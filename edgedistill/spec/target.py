"""What it must run on: the nouns of a device profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgedistill.spec._noun import Noun


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact(Noun):
    """A value with where it comes from."""

    value: int | float | str | tuple[int, ...] | tuple[str, ...]
    source: str
    note: str = ""

    @property
    def number(self) -> float:
        """The value, where the profile's check made sure of a number. Raises TypeError elsewhere."""
        if isinstance(self.value, int | float):
            return self.value
        raise TypeError(f"{self.value!r} is no number")


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
    """The operating system and instruction set. Feature bits go by Linux's names; `lacks` are those that this class of devices has not."""

    os: str
    arch: Literal["aarch64", "x86_64", "armv7l", "wasm32"]
    abi: str
    requires: tuple[str, ...] = ()
    prefers: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime(Noun):
    """What executes the model there: `threads` for one session, oldest ONNX Runtime, and what the graph may use.

    `session` are entries of a session's configuration, `options` those of the provider, `known_bad` versions that must not be installed.
    """

    package: Fact
    min_ort: Fact
    provider: Fact
    threads: Fact
    opset: Fact
    ir_version_max: Fact
    session: Mapping[str, Fact] = field(default_factory=dict)
    options: Mapping[str, Fact] = field(default_factory=dict)
    known_bad: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph(Noun):
    """Which shapes the graph may have: `dynamic`, `bucketed` (the smallest of `buckets` that holds the recipe's texts) or `fixed`.

    `attention` is `fused` into one operator where the exporter can, else `plain` where the runtime does not know that operator.
    """

    shapes: Fact
    buckets: Fact | None = None
    attention: Fact | None = None


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
class FidelityLimits(Noun):
    """What a model that came as ONNX must keep of its fp32 answers, beside `int8_agreement`, which holds for outputs that decide.

    `cosine` and `sqnr_db` (dB) hold for all others: embeddings, states, maps. `items` is the share that two lists have in common where their
    length depends on the data. `not_finite` is the largest share of NaN and infinity among an output's values. What is left out is
    chosen, with its reason, in `edgedistill/foreign/limits.py`.
    """

    cosine: Fact | None = None
    sqnr_db: Fact | None = None
    items: Fact | None = None
    not_finite: Fact | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity(Noun):
    """Largest difference of logits, fp32 ONNX against torch; smallest agreement and largest loss of score, quantised file against fp32.

    `kernels` and `kernel_agreement` are for the same file on another CPU: the largest difference of logits by scheme, where the longest key that
    begins a scheme's name counts, and the smallest share of like decisions. `fidelity` is for models that were not built here.
    """

    fp32_max_abs: Fact
    int8_agreement: Fact
    int8_drop: Fact
    kernels: Mapping[str, Fact] = field(default_factory=dict)
    kernel_agreement: Fact | None = None
    fidelity: FidelityLimits | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check(Noun):
    """What stands in for the device while nobody has one: CPUs to emulate, and on how many examples of the test split.

    `cost` is the CPU whose instructions, counted, stand for latency in the search. Floating-point schemes are run on an eighth of the examples.
    """

    emulate: Fact
    rows: Fact
    cost: Fact | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target(Noun):
    """A device class. The file's stem is its name; `extends` names the profile that it starts from.

    `unmeasured`: the rules are sourced, but nobody here has timed such a device. `experimental`: the way to run it is young as well.
    """

    name: str
    summary: str
    status: Literal["stable", "experimental", "deprecated", "unmeasured"]
    platform: Platform
    runtime: Runtime
    graph: Graph
    quantization: Quantization
    budget: Budget
    parity: Parity
    check: Check | None = None
    transport: Literal["local", "ssh", "adb", "browser", "none"] = "local"
    extends: str = ""
