"""A bundle on emulated CPUs: whether their kernels answer as this machine's do, and how many instructions they take.

    python -m edgedistill.measure.emulate BUNDLE --cpu cortex-a53 --cpu cortex-a76 [--rows N] [--fp32 FILE] [--json]

A count is not a time: it knows no caches, no memory, no issue width. Every number here is labelled `emulated`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import profiles, runtime
from edgedistill.bundle.reader import Bundle, check_model, golden_examples, open_bundle
from edgedistill.devices import qemu, untimed
from edgedistill.errors import ConfigError, EdgedistillError, IntegrityError
from edgedistill.measure import agent
from edgedistill.progress import Progress, drawn

SCHEMA = "edgedistill.emulate/1"  # 1: first
ROWS = 32  # as many golden cases as a bundle has
NOTE = "emulated: answers and instruction counts are the CPU's own kernels'; a count is not a time"

Feed = Mapping[str, NDArray[Any]]
Picks = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How near two machines' answers are: the largest difference, and the share of answers whose largest class is the same."""

    max_abs: float
    agreement: float


def counts(model: Path, feeds: Sequence[Feed], cpu: str) -> dict[str, int]:
    """Instructions of one run by class, the mean over the feeds, on one thread. Repeatable to 0.01 %."""
    return qemu.mean(qemu.counts(cpu, model, feeds))


def parity(model: Path, feeds: Sequence[Feed], cpus: Sequence[str], picks: Sequence[Picks] = ()) -> dict[str, Parity]:
    """For each emulated CPU how near its answers are to this machine's, one feed at a time; `picks` are the answers that count."""
    here = _here(model, feeds)
    return {cpu: compare(qemu.checked(cpu, untimed(model, feeds), counted=False).answers, here, picks or [{}] * len(feeds)) for cpu in cpus}


def compare(theirs: Sequence[NDArray[Any]], ours: Sequence[NDArray[Any]], picks: Sequence[Picks]) -> Parity:
    """Two machines' raw answers to the same feeds. An answer that is no number is infinitely far."""
    pairs = [(agent.picked(np, a, pick), agent.picked(np, b, pick)) for a, b, pick in zip(theirs, ours, picks, strict=True)]
    gaps = [np.nan_to_num(np.abs(a.astype(np.float64) - b), nan=np.inf).max() for a, b in pairs]
    same = np.concatenate([np.ravel(a.argmax(-1) == b.argmax(-1)) for a, b in pairs])
    return Parity(max_abs=float(max(gaps)), agreement=float(same.mean()))


def emulate(bundle: Bundle, cpus: Sequence[str], rows: int, fp32: Path | None, progress: Progress) -> dict[str, Any]:
    """One `edgedistill.emulate/1` document.

    Raises ConfigError for an unknown CPU, DeviceError for what is missing here or hangs, StageError when a process crashes.
    """
    check_model(bundle)
    names = [qemu.connect(cpu.removeprefix("qemu:")).name for cpu in cpus]
    job, here = _golden_job(bundle, rows)
    found = []
    for number, name in enumerate(names):
        progress.advance(number, len(names), "CPUs", name)
        found.append(_row(name, job, here, fp32))
    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "bundle": str(bundle.path.resolve()),
        "name": bundle.manifest["name"],
        "scheme": bundle.manifest["model"]["scheme"],
        "rows": len(job["feeds"]),
        "threads": 1,
        "qemu": qemu.connect(names[0]).facts()["qemu"],
        "note": NOTE,
        "cpus": found,
    }


def table(document: Mapping[str, Any]) -> str:
    """The document for people: millions of instructions of one run."""
    told = {"int_dot": "int dot", "int_matrix": "int matrix", "int_multiply": "int mul", "float_multiply_add": "float fma", "other": "other"}
    head = f"{'emulated':12}{'golden':>8}{'agrees':>9}{'max abs':>11}" + "".join(f"{name:>12}" for name in ("M insns/run", *told.values()))
    lines = [head + (f"{'÷ fp32':>9}" if any("ratio" in row for row in document["cpus"]) else "")]
    for row in document["cpus"]:
        lines.append(_line(row["cpu"], row["instructions"], told, f"{row['status']:>8}{row['agreement']:9.4f}{row['max_abs']:11.2e}"))
        if "ratio" in row:
            lines[-1] += f"{row['ratio']:9.3f}"
            lines.append(_line("  fp32", row["instructions_fp32"], told, f"{'':28}"))
    return "\n".join([*lines, f"{document['rows']} rows, one thread, qemu {document['qemu']}; {document['note']}"])


def show(bundle: Path, cpus: Sequence[str], *, rows: int = ROWS, fp32: Path | None = None, as_json: bool = False) -> None:
    """Print the document or the table. Raises IntegrityError when an emulated CPU gives wrong golden answers."""
    if rows < 1:
        raise ConfigError(f"--rows {rows}: at least one row is needed")
    with drawn() as tell:
        document = emulate(open_bundle(bundle), cpus, rows, fp32, Progress(tell, "emulate"))
    print(json.dumps(_finite(document), ensure_ascii=False, allow_nan=False) if as_json else table(document))
    wrong = [row["cpu"] for row in document["cpus"] if row["status"] == "wrong"]
    if wrong:
        raise IntegrityError(f"{bundle} gives other answers than its golden ones on {', '.join(wrong)}")


def _finite(value: Any) -> Any:
    """JSON has no infinity: an answer infinitely far is null."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _row(cpu: str, job: Mapping[str, Any], here: Sequence[NDArray[Any]], fp32: Path | None) -> dict[str, Any]:
    """What one CPU says of the bundle, and of the fp32 file on the same rows."""
    seen = qemu.checked(cpu, job, counted=True)
    told = {name: seen.result[name] for name in ("status", "worst_difference", "onnxruntime", "provenance")}
    row = {"cpu": cpu, **told, **asdict(compare(seen.answers, here, job["picks"])), "instructions": qemu.mean(seen.counts)}
    if fp32 is None:
        return row
    plain = qemu.mean(qemu.checked(cpu, _fp32_job(job, fp32), counted=True).counts)
    return row | {"instructions_fp32": plain, "ratio": sum(row["instructions"].values()) / sum(plain.values())}


def _line(name: str, classes: Mapping[str, int], told: Mapping[str, str], between: str) -> str:
    return f"{name:12}{between}" + "".join(f"{value / 1e6:12.3f}" for value in (sum(classes.values()), *(classes[one] for one in told)))


def _golden_job(bundle: Bundle, rows: int) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """The bundle's first golden rows with their answers, and what this machine says of them."""
    task, spec, golden = bundle.task, bundle.manifest["encoder"], bundle.document("golden.json")
    model = bundle.path / "model.onnx"
    encoded = [row for one in task.encode(task.load(bundle.path), golden_examples(bundle), spec["max_length"]) for row in one][:rows]
    session = runtime.open_session(model, threads=1)
    feeds = [runtime.fitted(session, task.feeds([row], spec["pad_id"]), spec["pad_id"]) for row in encoded]
    answers = [row for case in golden["cases"] for row in case["outputs"]][: len(feeds)]
    checks = {"picks": [task.picks([row]) for row in encoded], "golden": answers, "tolerance": golden["tolerance"]}
    return {**untimed(model, feeds), **checks}, [session.run(None, dict(feed))[0] for feed in feeds]


def _fp32_job(job: Mapping[str, Any], fp32: Path) -> dict[str, Any]:
    return {name: value for name, value in job.items() if name not in ("golden", "tolerance")} | {"model": str(fp32)}


def _here(model: Path, feeds: Sequence[Feed]) -> list[NDArray[Any]]:
    session = runtime.open_session(model, threads=1)
    return [session.run(None, dict(feed))[0] for feed in feeds]


def main(words: Sequence[str] | None = None) -> None:
    """The door: print, or leave with the exit code of what went wrong."""
    parser = argparse.ArgumentParser(prog="python -m edgedistill.measure.emulate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path, help="a bundle's folder")
    parser.add_argument("--cpu", action="append", required=True, help=f"one of {', '.join(profiles.CPUS)}; again for more")
    parser.add_argument("--rows", type=int, default=ROWS, help="how many golden rows")
    parser.add_argument("--fp32", type=Path, help="an fp32 ONNX file with the same inputs, to compare the counts with")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asked = parser.parse_args(words)
    try:
        show(asked.bundle, asked.cpu, rows=asked.rows, fp32=asked.fp32, as_json=asked.json)
    except EdgedistillError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
