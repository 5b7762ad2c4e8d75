"""The parity ladder: the same test examples through torch, fp32 ONNX, the chosen file, and that file on the kernels of emulated CPUs.

Each rung is held against the one that it was made from, so that a difference shows where it comes in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import devices, profiles, ragged, runtime, schemes, search
from edgedistill.devices import local, qemu
from edgedistill.errors import DeviceError
from edgedistill.progress import Progress
from edgedistill.spec import Rung, Verdict
from edgedistill.training import models

PART_ROWS = 32  # rows of one emulated process: enough to outweigh its load, few enough for a bar that moves
FLOAT_SHARE = 8  # fp32 takes four times and more of int8's time under qemu, and its sums do not saturate: an eighth of the examples
DIFFERS = 0.999  # an example's agreement below which it is listed: cosines of embeddings are never quite 1
LISTED = 16
FARTHEST = 1e9  # the distance of an answer that is no number, or of another shape

Part = list[NDArray[Any]] | Rung  # the raw answers to some rows, or the rung that says why there are none
Answers = list[list[NDArray[Any]]]  # of each example, of each of its rows: [answers, classes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a rung may differ by: logits of fp32 ONNX, decisions of the quantised file, logits and decisions of another CPU's kernels."""

    fp32_max_abs: float
    agreement: float
    kernel_max_abs: float | None
    kernel_agreement: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The student as torch has it, its fp32 ONNX, and the file that is shipped with its scheme's name."""

    torch: Path
    fp32: Path
    chosen: Path
    scheme: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Some of the test split by number, each as the rows that the model reads."""

    task: Any
    rows: Mapping[int, Sequence[Any]]
    pad_id: int


def some(task: Any, encoded: Sequence[Sequence[Any]], count: int, pad_id: int) -> Examples:
    """So many examples, evenly over the test split, of those that have an answer."""
    answered = [index for index, rows in enumerate(encoded) if all(task.shape(row)[0] for row in rows)]
    places = np.linspace(0, len(answered) - 1, min(count, len(answered))).round().astype(int)
    return Examples(task=task, rows={answered[at]: encoded[answered[at]] for at in places}, pad_id=pad_id)


def climb(examples: Examples, files: Files, limits: Limits, cpus: Sequence[str], progress: Progress) -> list[Rung]:
    """Every rung from torch to the emulated CPUs. A CPU that cannot be emulated here is unmeasured, with the reason; one that crashes fails."""
    torch, fp32, here = _torch(examples, files.torch), _here(examples, files.fp32), _here(examples, files.chosen)
    return [
        rung("fp32 ONNX", "torch", examples, (fp32, torch), max_abs_limit=limits.fp32_max_abs),
        rung(files.scheme, "fp32 ONNX", examples, (here, fp32), agreement_limit=limits.agreement, sampled=True),
        *kernels(examples, files, here, limits, cpus, progress),
    ]


def kernels(examples: Examples, files: Files, here: Answers, limits: Limits, cpus: Sequence[str], progress: Progress) -> list[Rung]:
    """A rung for each CPU that is held against what this machine says, `here`, of the same file."""
    step = FLOAT_SHARE if schemes.parse(files.scheme).activations == "fp32" else 1
    fewer = Examples(task=examples.task, rows=dict(list(examples.rows.items())[::step]), pad_id=examples.pad_id)
    lacking = {cpu: why for cpu in cpus if (why := _lacking(cpu))}
    found = _emulated(fewer, files.chosen, [cpu for cpu in cpus if cpu not in lacking], progress)
    return [_unmeasured(cpu, lacking[cpu]) if cpu in lacking else _kernel(cpu, fewer, found[cpu], here[::step], limits) for cpu in cpus]


def rung(
    name: str,
    against: str,
    examples: Examples,
    sides: tuple[Answers, Answers],
    *,
    max_abs_limit: float | None = None,
    agreement_limit: float | None = None,
    sampled: bool = False,
    provenance: Any = "measured",
) -> Rung:
    """Two sides' answers to the same examples, held against each other.

    Where `sampled`, the agreement breaks its limit only beyond chance: the limit is of all texts, and these are some. A saturated sum is no chance.
    """
    off = np.array([_off(mine, other) for mine, other in zip(*sides, strict=True)])
    decided = [[np.atleast_2d(one) for one in examples.task.decisions(side, list(examples.rows.values()))] for side in sides]
    alike = np.nan_to_num(examples.task.alike(*decided))
    agreement, worst = float(alike.mean()), float(off.max())
    reached = search.at_most(agreement, len(alike)) if sampled else agreement
    differing = [
        {"example": number, "off": float(off[at]), "margin": _margin(sides[1][at], decided[1][at])}
        for at, number in enumerate(examples.rows)
        if alike[at] < DIFFERS
    ]
    return Rung(
        name=name,
        against=against,
        provenance=provenance,
        rows=len(alike),
        max_abs=worst,
        max_abs_limit=max_abs_limit,
        agreement=agreement,
        agreement_limit=agreement_limit,
        holds=(max_abs_limit is None or worst <= max_abs_limit) and (agreement_limit is None or reached >= agreement_limit),
        differing=tuple(sorted(differing, key=lambda one: one["margin"] or 0.0, reverse=True)[:LISTED]),
    )


def sentence(one: Rung) -> str:
    """A rung as a person reads it."""
    if one.agreement is None or one.max_abs is None:
        return f"{one.name}: {one.note}"
    asked = [f"at least {one.agreement_limit}" for _ in (0,) if one.agreement_limit is not None]
    asked += [f"at most {one.max_abs_limit:.0e}" for _ in (0,) if one.max_abs_limit is not None]
    where = " (emulated)" if one.provenance == "emulated" else ""
    shown = f"{one.name}{where} agrees with {one.against} on {one.agreement:.2%} of {one.rows} test examples, answers within {one.max_abs:.1e}"
    return f"{shown}; {' and '.join(asked)} is asked for" if asked else shown


def verdict(one: Rung) -> Verdict:
    """A rung as a gate: the figure that breaks its limit, else the agreement."""
    far = one.max_abs is not None and one.max_abs_limit is not None and one.max_abs > one.max_abs_limit
    by_distance = far or one.agreement_limit is None
    limit, value = (one.max_abs_limit, one.max_abs) if by_distance else (one.agreement_limit, one.agreement)
    return Verdict(rule=f"ladder: {one.name}", limit=limit or 0.0, value=value or 0.0, ok=bool(one.holds), sentence=sentence(one))


def _off(mine: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]) -> float:
    if any(a.shape != b.shape for a, b in zip(mine, other, strict=True)):
        return FARTHEST
    gaps = [np.abs(a.astype(np.float64) - b).max(initial=0) for a, b in zip(mine, other, strict=True)]
    return float(np.nan_to_num(max(gaps, key=lambda gap: np.nan_to_num(gap, nan=np.inf)), nan=FARTHEST, posinf=FARTHEST))


def _margin(answers: Sequence[NDArray[Any]], decided: NDArray[Any]) -> float | None:
    """The widest lead of a largest answer, where those are what is decided."""
    largest = np.concatenate([array.argmax(axis=1) for array in answers])
    if not np.array_equal(largest, decided.ravel()) or answers[0].shape[1] < 2:
        return None
    tops = np.concatenate([np.sort(array, axis=1)[:, -2:] for array in answers])
    return float((tops[:, 1] - tops[:, 0]).max(initial=0))


def _torch(examples: Examples, folder: Path) -> Answers:
    model = models.load_model(examples.task.AUTO_CLASS, folder).eval()
    flat = models.answers(examples.task, model, _flat(examples), examples.pad_id, 1)
    return runtime.regrouped(flat, list(examples.rows.values()))


def _here(examples: Examples, file: Path) -> Answers:
    """One row at a time on one thread, as the emulated process does."""
    session = runtime.open_session(file, threads=1)
    return runtime.run_examples(session, examples.task, list(examples.rows.values()), examples.pad_id, batch_size=1)


def _kernel(cpu: str, examples: Examples, parts: Sequence[Part], here: Answers, limits: Limits) -> Rung:
    failed = next((part for part in parts if isinstance(part, Rung)), None)
    if failed is not None:
        return failed
    raw = (array for part in parts if not isinstance(part, Rung) for array in part)
    rows = list(examples.rows.values())
    cut = [array for row in _flat(examples) for array in ragged.cut(examples.task, next(raw), [row])]
    sides = runtime.regrouped(cut, rows), here
    against, lead = f"this machine ({profiles.kernels()})", limits.kernel_max_abs
    return rung(cpu, against, examples, sides, max_abs_limit=lead, agreement_limit=limits.kernel_agreement, provenance="emulated")


def _lacking(cpu: str) -> str:
    """Why a CPU cannot be emulated here, empty where it can: asked once, not by every process."""
    try:
        qemu.ready(cpu)
    except DeviceError as error:
        return str(error)
    return ""


def _emulated(examples: Examples, model: Path, cpus: Sequence[str], progress: Progress) -> dict[str, list[Part]]:
    """What each CPU answers, part by part in the order of the rows; processes run side by side, one for each core."""
    session = runtime.open_session(model, threads=1)
    feeds = [runtime.fitted(session, examples.task.feeds([row], examples.pad_id), examples.pad_id) for row in _flat(examples)]
    parts = [feeds[start : start + PART_ROWS] for start in range(0, len(feeds), PART_ROWS)]
    asked = [(cpu, part) for cpu in cpus for part in parts]
    runs = local.side_by_side(lambda one: _part(one[0], devices.untimed(model, one[1])), asked)
    found: dict[str, list[Part]] = {cpu: [] for cpu in cpus}
    done, bar = 0, progress.part("ladder")
    for (cpu, part), answers in zip(asked, runs, strict=True):
        found[cpu].append(answers)
        done += len(part)
        bar.advance(done, len(feeds) * len(cpus), "emulated rows", cpu)
    return found


def _flat(examples: Examples) -> list[Any]:
    return [row for rows in examples.rows.values() for row in rows]


def _part(cpu: str, job: Mapping[str, Any]) -> Part:
    """The raw answers to some rows; a connection of its own, for a device does one job at a time."""
    try:
        with closing(devices.connect(f"qemu:{cpu}")) as device:
            ended = device.run(job, qemu.DEADLINE_S)
    except DeviceError as error:
        return _unmeasured(cpu, str(error))
    status = ended.result["status"]
    if status == "crashed":
        return Rung(name=cpu, against="this machine", provenance="emulated", holds=False, note=f"the emulated process died: {ended.result['detail']}")
    return _unmeasured(cpu, str(ended.result["detail"])) if status == "timeout" else ended.answers


def _unmeasured(cpu: str, why: str) -> Rung:
    return Rung(name=cpu, against="this machine", provenance="unmeasured", note=f"unmeasured: {' '.join(why.split())}")
