"""The search on an accepted model, in a guarded process: rows, graphs, every candidate, golden cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import graphs, quantizers, runtime, search
from edgedistill.errors import EdgedistillError
from edgedistill.foreign import finite, prepare
from edgedistill.foreign.fidelity import Fidelity, Judge, summary
from edgedistill.foreign.inputs import Input
from edgedistill.foreign.limits import Limits
from edgedistill.foreign.look import external_files, parsed
from edgedistill.foreign.original import Original
from edgedistill.foreign.samples import Samples, gather, not_taken
from edgedistill.progress import Event, Progress
from edgedistill.spec import Candidate

SAME_ROWS = 8  # that a changed fp32 graph is held against the original on
TIMED, TIMED_S = 32, 3.0  # inputs that are timed, fewer where a pass over them takes longer
GOLDEN, GOLDEN_BYTES = 32, 4_000_000  # cases, fewer where they are large


def run(job: Mapping[str, Any], hear: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:
    """Leave `fp32.onnx`, the chosen file and `golden.npz` in the job's folder; the answer says how all candidates came out."""

    def tell(event: Event) -> None:
        if event.kind != "note":  # the search's own notes are the table that the face prints
            hear(asdict(event))

    progress, folder = Progress(tell, "quantize"), Path(job["folder"])
    model = parsed(Path(job["model"]))
    external_files(model, Path(job["model"]))  # again: this is another process, and the file may be another
    samples = gather([_input(one) for one in job["inputs"]], Path(job["calibration"]) if job["calibration"] else None, job["rows"])
    original = Original(Path(job["model"]), samples, job["threads"])
    _runs_on_all(original, samples, job["calibration"])
    judge = Judge(original, model, Limits(**job["fidelity"]), job["classes"], job["threads"])
    del model
    progress.begin(f"{len(samples.calibration)} rows to calibrate, {len(samples.judging)} to judge; preparing the graph")
    ready = prepare.prepare(Path(job["model"]), folder, job["opset_max"], job["ir_max"], _sameness(judge, job["fp32_max_abs"]))
    if job["one_shape"]:
        ready = _at_one_shape(ready, samples, folder)
    found = search.find(job["wanted"], _source(ready, samples, judge), judge, _limits(job), _clock(job, samples), folder, progress)
    graphs_of = {"fp32": graphs.summary(ready.fused), "chosen": graphs.summary(found.file)}
    golden = _golden(found.file, samples, folder)
    return {
        "candidates": [asdict(_with_fidelity(one, judge.records)) for one in found.candidates],
        "scheme": found.chosen.scheme,
        "file": found.file.name,
        "fp32": ready.fused.name,
        "fp32_beside": [one.name for one in graphs.beside(ready.fused)],
        "fp32_bytes": graphs.size(ready.fused),
        "bytes": graphs.size(found.file),
        "opset": ready.opset,
        "ir_version": ready.ir_version,
        "notes": [*ready.notes, *_deaf(judge.records[found.chosen.scheme]), *_odd(judge.records[found.chosen.scheme])],
        "measures": [summary(one, judge.limits) for one in judge.records[found.chosen.scheme]],
        "fidelity": [asdict(one) for one in judge.records[found.chosen.scheme]],
        "inputs": [asdict(one) for one in samples.inputs],
        "samples": dict(samples.facts),
        "golden": golden,
        "graph": graphs_of,
        "beside": [one.name for one in graphs.beside(found.file)],
        "limits": job["fidelity"],
    }


def _runs_on_all(original: Original, samples: Samples, file: str) -> None:
    """Raises DataError with the first row of the user's file that the original does not take: an id beyond its table, say."""
    for number, place in enumerate(samples.places):
        at = number - len(samples.calibration)
        try:
            if at < 0:
                original.session.run(None, dict(samples.feed(samples.calibration[number])))
            else:
                original.answer(at)
        except EdgedistillError:
            raise
        except Exception as error:  # onnxruntime's own classes share no public base
            raise not_taken(file, place, error) from error


def _input(document: Mapping[str, Any]) -> Input:
    return Input(**{**document, "shape": tuple(document["shape"]), "sizes": tuple(document["sizes"])})


def _at_one_shape(ready: prepare.Prepared, samples: Samples, folder: Path) -> prepare.Prepared:
    """The graph at the sizes of the samples, for a target that takes no others. Accelerators know no fused operators: the plain one is both."""
    plain = graphs.fixed(ready.plain, folder / "fixed.onnx", _open_sizes(samples))
    sizes = ", ".join(f"{one.name} {list(one.sizes)}" for one in samples.inputs)
    return replace(ready, plain=plain, fused=plain, notes=(*ready.notes, f"the target takes one shape: {sizes}"))


def _open_sizes(samples: Samples) -> dict[str, int]:
    """The graph's dynamic dimensions by name, at the sizes of the samples."""
    return {str(size): one.sizes[at] for one in samples.inputs for at, size in enumerate(one.shape) if isinstance(size, str)}


def _source(ready: prepare.Prepared, samples: Samples, judge: Judge) -> quantizers.Source:
    sizes = _open_sizes(samples)
    return quantizers.Source(
        plain=ready.plain,
        fused=ready.fused,
        weights=None,
        calibration=lambda: (samples.feed(row) for row in samples.calibration),
        sizes=sizes,
        divergence=judge.divergence,
        holds=lambda file: search.holds(judge, file, judge.limits.agreement),
    )


def _limits(job: Mapping[str, Any]) -> search.Limits:
    return search.Limits(agreement=job["fidelity"]["agreement"], bytes=job["model_mb"] * 1e6, hint=job["hint"])


def _clock(job: Mapping[str, Any], samples: Samples) -> search.Clock | None:
    if not job["latency_counts"]:
        return None
    count = int(np.clip(TIMED_S / max(job["run_s"], 1e-6), 4, TIMED))
    return search.clock_here([samples.feed(row) for row in samples.judging[:count]])


def _sameness(judge: Judge, allowed: float) -> prepare.Same:
    """Whether a graph's answers are the original's: within `allowed` of the largest, and 1 at least."""

    def same(file: Path) -> str:
        session = runtime.open_session(file, threads=judge.threads)
        names = [one.name for one in session.get_outputs()]
        if names != judge.names:
            return f"its outputs are {', '.join(names)}"
        worst = max(_off(fp32, ours) for pair in judge.pairs(session, SAME_ROWS) for fp32, ours in zip(*pair, strict=True))
        return "" if worst <= allowed else f"its answers are off by {worst:.2g}"

    return same


def _off(fp32: NDArray[Any], ours: NDArray[Any]) -> float:
    return finite.largest_difference(fp32, ours) / max(1.0, float(np.abs(finite.numbers(fp32)).max(initial=0)))


def _with_fidelity(one: Candidate, records: Mapping[str, list[Fidelity]]) -> Candidate:
    if one.bytes is None or one.scheme not in records:
        return one  # what a search for mixed precision tried on its way is no figure of a file that was not made
    return replace(one, facts={**one.facts, "fidelity": [asdict(found) for found in records[one.scheme]]})


def _deaf(found: Sequence[Fidelity]) -> list[str]:
    """What must be said of outputs that no judging input changes."""
    return [f"WEAK: the original's output '{one.output}' is the same for every input: its figures say nothing" for one in found if not one.varies]


def _odd(found: Sequence[Fidelity]) -> list[str]:
    """Which outputs hold what is no number, as many as there are, with the file at the same places."""
    return [
        f"the original's output '{one.output}' is NaN, infinite or a mask's lowest number at {one.not_finite} places over all judging inputs; "
        f"{'they are not compared' if one.measure in ('items', 'not compared') else 'this file is so at the same places, and no figure counts them'}"
        for one in found
        if one.not_finite
    ]


def _golden(file: Path, samples: Samples, folder: Path) -> dict[str, Any]:
    """Judging inputs with what the chosen file says of them, by their place in the manifest: `CASE/in/INPUT`, `CASE/out/OUTPUT`."""
    session = runtime.open_session(file, threads=1)
    arrays: dict[str, NDArray[Any]] = {}
    cases = 0
    while cases < min(GOLDEN, len(samples.judging)) and (not cases or sum(one.nbytes for one in arrays.values()) * (1 + 1 / cases) <= GOLDEN_BYTES):
        feed = samples.feed(samples.judging[cases])
        answers = session.run(None, dict(feed))
        arrays |= {f"{cases}/in/{at}": feed[one.name] for at, one in enumerate(samples.inputs)}
        arrays |= {f"{cases}/out/{at}": answer for at, answer in enumerate(answers)}
        cases += 1
    with (folder / "golden.npz").open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]
    outputs = range(len(session.get_outputs()))
    scales = [max(float(np.abs(finite.numbers(arrays[f"{case}/out/{at}"])).max(initial=0)) for case in range(cases)) or 1.0 for at in outputs]
    return {"cases": cases, "scales": scales}
