"""What is measured: a bundle with what of its lineage is at hand, or any ONNX file; and the rows whose answers are looked at on each device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import packages, ragged, runtime
from edgedistill.bundle import tensors
from edgedistill.bundle.lineage import original_files, student_files, teacher_files
from edgedistill.bundle.reader import Bundle, golden_examples
from edgedistill.cache import digest_file
from edgedistill.errors import ConfigError, IntegrityError
from edgedistill.progress import Progress

Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One model: the job that its processes get, without the pace, and what is known of it; None where nothing is."""

    name: str
    job: Mapping[str, Any]
    bytes: int
    score: float | None = None
    agreement: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Labelled test rows that a device answers with the shipped file: their inputs, and what they are judged with."""

    bundle: Bundle
    rows: Sequence[Sequence[Any]]
    examples: Sequence[Mapping[str, Any]]
    targets: Sequence[Any]
    feeds: Sequence[Feeds]

    @property
    def job(self) -> dict[str, Any]:
        """The answers and no time."""
        told = [as_json(feed) for feed in self.feeds]
        return {"model": str(self.bundle.path / "model.onnx"), "feeds": told, "picks": [{}] * len(told), "min_runs": 0, "min_s": 0.0, "answers": True}

    def judged(self, raw: Sequence[NDArray[Any]]) -> dict[str, Any]:
        """Score and agreement with this machine's own answers, from a device's raw answers [1, …] to every feed."""
        task = self.bundle.task
        session = runtime.open_session(self.bundle.path / "model.onnx", threads=1)
        theirs, ours = (self._cut(some) for some in (raw, [session.run(None, dict(one))[0] for one in self.feeds]))
        decided = [[np.atleast_2d(one) for one in task.decisions(said, self.rows)] for said in (theirs, ours)]
        score = task.total(task.evidence(theirs, self.rows, self.examples, self.targets, self.bundle.labels)) if self.targets else None
        pairs = [(a, b) for one, other in zip(theirs, ours, strict=True) for a, b in zip(one, other, strict=True)]
        gaps = [float(np.nan_to_num(np.abs(a - b), nan=np.inf).max(initial=0)) for a, b in pairs]  # what is no number is infinitely far
        agreement = float(np.nan_to_num(task.alike(*decided)).mean())
        return {"rows": len(self.rows), "score": score, "agreement_with_here": agreement, "max_abs": max(gaps)}

    def _cut(self, raw: Sequence[NDArray[Any]]) -> list[list[NDArray[Any]]]:
        """The answers that count, by example."""
        flat = [row for one in self.rows for row in one]
        answers = [next(ragged.cut(self.bundle.task, found, [row])) for found, row in zip(raw, flat, strict=True)]
        return runtime.regrouped(answers, self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Everything that a bench is about; `baseline` is the subject that the others are held against, `note` says of what inputs.

    `profile` is the one that a bundle was built for, None for any other file.
    """

    subjects: Sequence[Subject]
    baseline: str
    note: str
    absent: Sequence[str] = ()
    rows: Rows | None = None
    profile: Mapping[str, Any] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


def of_bundle(bundle: Bundle, store: Path, count: int, progress: Progress) -> Asked:
    """The bundle, its teacher and fp32 student or its original, on the golden inputs; and `count` test rows where the store has them."""
    about = {
        "bundle": str(bundle.path.resolve()),
        "name": bundle.manifest["name"],
        "target": bundle.manifest["target"],
        "metric": bundle.manifest["metric"],
        "bundle_sha256": digest_file(bundle.path / "manifest.json"),
    }
    subjects = _foreign(bundle, store, progress) if bundle.foreign else _lineage(bundle, store, progress)
    names = [one.name for one in subjects]
    return Asked(
        subjects=subjects,
        baseline=bundle.baseline,
        note=_note(bundle),
        absent=[name for name in (("original",) if bundle.foreign else ("teacher", "student")) if name not in names],
        profile=bundle.manifest["profile"],
        rows=None if bundle.foreign or not count else _test_rows(bundle, store, count, progress),
        about=about,
    )


def _note(bundle: Bundle) -> str:
    """What the inputs are; made-up ones say so."""
    if not bundle.foreign:
        return "real inputs at natural length"
    return f"the golden inputs ({bundle.manifest['calibration']['sentence']})"


def of_file(model: Path, shapes: Mapping[str, Sequence[int]]) -> Asked:
    """Any ONNX file on made-up inputs, and says so.

    Raises ConfigError for a file that is no model, for inputs that nothing can be drawn for, or where onnx is missing.
    """
    from edgedistill import graphs
    from edgedistill.foreign.inputs import UNKNOWN, draw, inputs_of

    try:
        session = runtime.open_session(model, threads=1)
    except IntegrityError as error:
        raise ConfigError(error.args[0]) from error
    onnx = packages.load("onnx", f"{model}: making up inputs for an ONNX file that is no bundle")
    inputs = inputs_of(session, onnx.load(model, load_external_data=False), _tied(session, shapes), SEQUENCE, UNKNOWN[0])
    feeds = [as_json(draw(inputs, number)) for number in range(DRAWN)]
    told = ", ".join(f"{one.name} {list(one.sizes)} ({one.why})" for one in inputs)
    about = {"model": str(model.resolve()), "name": model.stem, "target": None, "metric": None}
    subject = Subject(name="model", job={"model": str(model), "feeds": feeds}, bytes=graphs.size(model))
    return Asked(subjects=[subject], baseline="model", note=f"SYNTHETIC inputs: {told}", about=about)


def _tied(session: Any, shapes: Mapping[str, Sequence[int]]) -> dict[str, Sequence[int]]:
    """The stated shapes, and those of other inputs whose open sizes bear the same names and so are known with them."""
    entries = {one.name: one.shape for one in session.get_inputs()}
    known = {
        size: stated for name, shape in shapes.items() for size, stated in zip(entries.get(name, ()), shape, strict=False) if isinstance(size, str)
    }
    whole = {name: [known.get(size, size) for size in shape] for name, shape in entries.items()}
    return {**{name: shape for name, shape in whole.items() if shape != entries[name] and all(isinstance(size, int) for size in shape)}, **shapes}


SEQUENCE = 64  # the length of an input that the graph leaves open
DRAWN = 8  # rows of made-up inputs


def _lineage(bundle: Bundle, store: Path, progress: Progress) -> list[Subject]:
    """All see the same examples, each through its own encoder."""
    golden = bundle.document("golden.json")
    answers = {"golden": [row for case in golden["cases"] for row in case["outputs"]], "tolerance": golden["tolerance"]}
    places = {"teacher": teacher_files(bundle, store), "student": student_files(bundle, store)}
    for name, place in places.items():
        if place is None:
            progress.warn(f"the {name} is not in the store {store}: only the rest is measured (name its store with --store)")
    files = {name: place for name, place in places.items() if place} | {"bundle": (bundle.path / "model.onnx", bundle.path)}
    return [_subject(bundle, name, place, answers if name == "bundle" else {}) for name, place in files.items()]


def _subject(bundle: Bundle, name: str, place: tuple[Path, Path], golden: Mapping[str, Any]) -> Subject:
    model, folder = place
    task, spec, known = bundle.task, bundle.manifest["encoder"], bundle.manifest
    rows = [row for one in task.encode(task.load(folder), golden_examples(bundle), spec["max_length"]) for row in one]
    picks = [{key: value.tolist() for key, value in task.picks([row]).items()} for row in rows] if golden else []
    feeds = [as_json(_feeds(bundle, row, shaped=name == "bundle")) for row in rows]
    job = {"model": str(model), "feeds": feeds, "picks": picks, **golden}
    return Subject(name=name, job=job, bytes=known["bytes"][name], score=known["scores"][name], agreement=known["agreement"][name])


def _foreign(bundle: Bundle, store: Path, progress: Progress) -> list[Subject]:
    """A model that came as ONNX beside its fp32 original, on the golden inputs."""
    golden, cases, known = bundle.document("golden.json"), tensors.cases(bundle), bundle.manifest
    original = original_files(bundle, store)
    if original is None:
        progress.warn("the fp32 original is not in this store: only the bundle is measured (name the store of its quantize with --store)")
    feeds = [as_json(one) for one, _ in cases]
    held = [at for at in range(len(known["outputs"])) if all(np.isfinite(answers[at]).all() for _, answers in cases)]  # JSON knows no NaN
    checks = {
        "tensors": [[answers[at].tolist() for at in held] for _, answers in cases],
        "outputs": [known["outputs"][at]["name"] for at in held],
        "scales": [golden["scales"][at] for at in held],
        "tolerance": golden["tolerance"],
    }
    jobs = {} if original is None else {"original": {"model": str(original[0]), "feeds": feeds}}
    jobs["bundle"] = {"model": str(bundle.path / "model.onnx"), "feeds": feeds, **(checks if held else {})}
    return [
        Subject(name=name, job=job, bytes=known["bytes"][name], score=known["scores"][name], agreement=known["agreement"][name])
        for name, job in jobs.items()
    ]


def _test_rows(bundle: Bundle, store: Path, count: int, progress: Progress) -> Rows:
    """The first of the test split where the store has it, else the golden examples, which have no labels here."""
    task, spec = bundle.task, bundle.manifest["encoder"]
    examples, targets, why = _test_split(bundle, store, count)
    if not targets:
        examples = golden_examples(bundle)
        progress.warn(f"{why}: the {len(examples)} golden examples stand for it, without a score on the device")
    rows = task.encode(task.load(bundle.path), examples, spec["max_length"])
    feeds = [_feeds(bundle, row, shaped=True) for one in rows for row in one]
    return Rows(bundle=bundle, rows=rows, examples=examples, targets=targets, feeds=feeds)


def _test_split(bundle: Bundle, store: Path, count: int) -> tuple[list[Any], list[Any], str]:
    """Examples and targets; where the store or pyarrow, which reads it, is not here nothing, and why."""
    from edgedistill.stages._splits import read_split

    roots = [*bundle.path.resolve().parents[3:4], store]
    folder = next((place for root in roots if (place := root / bundle.manifest["lineage"]["data"] / "files").is_dir()), None)
    if folder is None:
        return [], [], f"the test split is not in the store {store}"
    try:
        split = read_split(folder, "test")
    except ImportError as error:
        refused = packages.blamed("reading the test split", error)
        return [], [], f"{refused.args[0]} ({refused.hint})"
    return split.examples[:count], split.targets[:count], ""


def _feeds(bundle: Bundle, row: Any, *, shaped: bool) -> dict[str, NDArray[Any]]:
    """A row as inputs, `shaped` as the bundle's graph asks where it has only one shape."""
    pad_id = bundle.manifest["encoder"]["pad_id"]
    feeds: dict[str, NDArray[Any]] = bundle.task.feeds([row], pad_id)
    return runtime.filled(feeds, {one["name"]: one["shape"] for one in bundle.manifest["inputs"]}, pad_id) if shaped else feeds


def as_json(feed: Feeds) -> dict[str, Any]:
    """A row's inputs as a job has them."""
    return {name: {"dtype": str(array.dtype), "values": array.tolist()} for name, array in feed.items()}
