"""What is measured and said of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edgedistill.spec._noun import Noun


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement(Noun):
    """Raw samples of one metric of one subject under stated conditions. The unit is part of the metric's name: `latency_ms`, `peak_mib`."""

    subject: str
    metric: str
    samples: tuple[float, ...]
    warmups: tuple[float, ...] = ()
    conditions: Mapping[str, str | int | float] = field(default_factory=dict)
    provenance: Literal["measured", "emulated", "unmeasured"] = "measured"
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject(Noun):
    """One model in a report. Scores are on the test split; intervals are 95 %."""

    name: str
    title: str
    bytes: int
    score: float
    interval: tuple[float, float]
    agreement: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate(Noun):
    """One quantisation scheme and how it came out against the fp32 model that it was made from.

    `score` and `agreement` are of `rows` rows that did not calibrate, and `divergence` too: the squared difference from fp32's answers as a share of
    their variance. What was not measured is None. `cost` is its share of fp32's bytes times its share of fp32's latency, and `latency` says where
    that latency is from: an `emulated` one is a share of instructions, which are no time. `facts` is what its engine, and whoever counted, found out.
    """

    scheme: str
    engine: str
    status: Literal["chosen", "lost", "out", "not made", "not tried"]
    reason: str
    bytes: int | None = None
    score: float | None = None
    agreement: float | None = None
    divergence: float | None = None
    rows: int = 0
    latency: Literal["measured", "emulated", "unmeasured"] = "unmeasured"
    latency_ratio: float | None = None
    latency_interval: tuple[float, float] | None = None
    cost: float | None = None
    seconds: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def chosen(self) -> bool:
        """Whether this one is shipped."""
        return self.status == "chosen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve(Noun):
    """A series of (step, value) from one training."""

    training: str
    metric: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict(Noun):
    """A gate and how it came out, as a sentence a person can read; `value` is None where there is none, and then the gate does not hold."""

    rule: str
    limit: float
    value: float | None
    ok: bool
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung(Noun):
    """A step of the parity ladder: the same examples on two sides that should answer alike, `name` and what it is held `against`.

    `max_abs` is the largest difference of an answer, `agreement` the share of like decisions; limits that nobody set are None. `differing` are
    the examples that are decided otherwise, the widest margins first: `example` its number in the test split, `off` its largest difference,
    `margin` the other side's lead of its largest answer, None where answers are no choice of one. `note` says why a rung is `unmeasured` or
    how it crashed.
    """

    name: str
    against: str
    provenance: Literal["measured", "emulated", "unmeasured"] = "measured"
    rows: int = 0
    max_abs: float | None = None
    max_abs_limit: float | None = None
    agreement: float | None = None
    agreement_limit: float | None = None
    holds: bool | None = None
    differing: tuple[Mapping[str, Any], ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Noun):
    """Everything a person or CI wants to know about one bundle on one device.

    `targets` has a row for each device that was built for together with it, `devices` one for each model on each device that it was benched on;
    `graph` the operators and bytes of fp32's file and of the chosen; `baseline` the subject that the bundle is held
    against; `ladder` the steps from torch to the device's own kernels. `retention` is None where the teacher is no better than an answer that
    ignores its input, and `warnings` then say so: they come before everything else.
    """

    name: str
    target: str
    bundle: str
    created: str
    task: str
    metric: str
    n_test: int
    retention: float | None
    retention_interval: tuple[float, float] | None
    subjects: tuple[Subject, ...]
    candidates: tuple[Candidate, ...]
    measurements: tuple[Measurement, ...]
    curves: tuple[Curve, ...]
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...]
    steps: tuple[Mapping[str, Any], ...]
    environment: Mapping[str, Any]
    higher_is_better: bool = True
    targets: tuple[Mapping[str, Any], ...] = ()
    graph: Mapping[str, Any] = field(default_factory=dict)
    baseline: str = "teacher"
    devices: tuple[Mapping[str, Any], ...] = ()
    ladder: tuple[Rung, ...] = ()
    warnings: tuple[str, ...] = ()
