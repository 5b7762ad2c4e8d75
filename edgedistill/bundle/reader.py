"""A bundle as its user sees it: opened, run and verified without torch."""

from __future__ import annotations

import base64
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import plugins, profiles, providers, runtime
from edgedistill.bundle import archive, damage, sums, tensors, transit
from edgedistill.bundle.sums import SUMS
from edgedistill.cache import digest_file
from edgedistill.checking import read_json
from edgedistill.errors import ConfigError, DeviceError, IntegrityError
from edgedistill.files import GIT

MANIFEST: Mapping[str, Any] = {  # what every reader of a manifest takes for granted
    "name": str,
    "target": str,
    "task": str,
    "metric": str,
    "n_test": int,
    "model": dict,
    "inputs": list,
    "encoder": {"max_length": int, "pad_id": int, "files": [str]},
    "columns": {str: str},
    "separator": str,
    "higher_is_better": bool,
    "labels": [str],
    "scores": dict,
    "intervals": dict,
    "agreement": dict,
    "bytes": dict,
    "retention_interval": list | NoneType,  # none where the teacher is no better than chance
    "verdicts": list,
    "lineage": {str: str},
    "profile": dict,
    "files": {str: {"sha256": str}},
}
SCHEMAS = {"edgedistill.bundle/2": MANIFEST, tensors.SCHEMA: tensors.MANIFEST}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """An opened bundle: its folder and its manifest."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def foreign(self) -> bool:
        """Whether it came as ONNX: tensors in, tensors out, and no task."""
        return bool(self.manifest["schema"] == tensors.SCHEMA)

    @property
    def baseline(self) -> str:
        """What it is held against: the teacher, or the fp32 original of a model that came as ONNX."""
        return "original" if self.foreign else "teacher"

    @property
    def task(self) -> ModuleType:
        """The task's module. Raises ConfigError where the bundle has none."""
        if self.foreign:
            hint = "its README.md says how to feed it; verify, bench and report work on it"
            raise ConfigError(f"{self.path} is a model that came as ONNX: it has tensors in and out, and no task to predict or score", hint)
        return plugins.load("tasks", str(self.manifest["task"]))

    @property
    def labels(self) -> list[str]:
        """The class names in the order of the logits."""
        return list(self.manifest["labels"])

    def document(self, name: str) -> dict[str, Any]:
        """One of the bundle's JSON files."""
        document: dict[str, Any] = _read_json(self.path / name)
        return document


def open_bundle(path: Path) -> Bundle:
    """Read a bundle's manifest.

    Raises ConfigError for one that is still packed, IntegrityError when there is none, or when it names a file outside the folder.
    """
    archive.refuse_packed(path)
    if not (path / "manifest.json").is_file():
        raise IntegrityError(f"{path} is not a bundle: it has no manifest.json")
    manifest = _read_json(path / "manifest.json")
    if manifest.get("schema") not in list(SCHEMAS):  # a list, which may be asked for anything
        raise IntegrityError(f"{path / 'manifest.json'} has the schema {manifest.get('schema')!r}; known: {', '.join(SCHEMAS)}")
    if hollow := damage.hollow(manifest, SCHEMAS[manifest["schema"]]):
        raise IntegrityError(f"{path / 'manifest.json'} is damaged: without a sound {', '.join(hollow)}")
    if manifest["schema"] != tensors.SCHEMA and manifest["task"] not in plugins.names("tasks"):
        raise IntegrityError(f"{path / 'manifest.json'} is of the task '{manifest['task']}', which this edgedistill does not know")
    for name in manifest["files"]:
        sums.check_inside(path, name)
    return Bundle(path=path, manifest=manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a model says of examples: for each its rows, and for each row its answers [answers, classes]."""

    examples: Sequence[Mapping[str, Any]]
    rows: Sequence[Sequence[Any]]
    outputs: Sequence[Sequence[NDArray[Any]]]


def say(
    bundle: Bundle,
    examples: Sequence[Mapping[str, Any]],
    model: tuple[Path, Path] | None = None,
    *,
    threads: int = 0,
    seen: Callable[[int, int], None] = lambda done, total: None,
) -> Said:
    """What the bundle's model, or another of its lineage (its file, the folder of its encoder), says, one row at a time as a device does."""
    file, folder = model or (bundle.path / "model.onnx", bundle.path)
    task, spec = bundle.task, bundle.manifest["encoder"]
    rows = task.encode(task.load(folder), examples, spec["max_length"])
    total = sum(map(len, rows))
    session = runtime.open_session(file, threads=threads)
    outputs = runtime.run_examples(session, task, rows, spec["pad_id"], batch_size=1, seen=lambda done: seen(done, total))
    return Said(examples=examples, rows=rows, outputs=outputs)


def golden_examples(bundle: Bundle) -> list[dict[str, Any]]:
    """The examples of the golden cases; an image comes back from base64."""
    cases = [case["example"] for case in bundle.document("golden.json")["cases"]]
    return [{key: base64.b64decode(value) if key == "image" else value for key, value in example.items()} for example in cases]


def check_model(bundle: Bundle) -> None:
    """Raise IntegrityError when the model or its golden cases are not the packed ones: what is measured must be what was checked."""
    for name in tensors.files(bundle) if bundle.foreign else ("model.onnx", "golden.json", *bundle.manifest["encoder"]["files"]):
        file, packed = bundle.path / name, bundle.manifest["files"].get(name, {})
        if not file.is_file() or digest_file(file) != packed.get("sha256"):
            why = transit.cause(file, packed) if file.is_file() else None
            what = f"{file} is not the file that was packed" + (f": {why.what}" if why else "")
            raise IntegrityError(what, hint=why.undo if why else f"edgedistill verify {bundle.path}")


def verify(path: Path) -> list[str]:
    """Every check of a bundle, as sentences: digests, nothing missing or added, the model loads, the golden answers come out.

    What systems and git add is named, and is no fault.
    Raises IntegrityError that names each file that is not what it should be, DeviceError where this machine is of the target's system and
    has an ONNX Runtime that its profile forbids.
    """
    digests, aside = sums.check(path)
    bundle = open_bundle(path)
    listed = {name: entry["sha256"] for name, entry in bundle.manifest["files"].items() if name != GIT or GIT in digests}
    if listed != {name: digest for name, digest in digests.items() if name != "manifest.json"}:
        raise IntegrityError(f"{path / 'manifest.json'} and {path / SUMS} name different files or digests")
    if not bundle.foreign and _read_json(path / "labels.json", list) != bundle.labels:
        raise IntegrityError(f"{path / 'manifest.json'} and {path / 'labels.json'} name different classes")
    _check_runtime(bundle)
    worst, cases = tensors.difference(bundle) if bundle.foreign else _golden_difference(bundle), bundle.document("golden.json")["cases"]
    count = cases if bundle.foreign else len(cases)
    told = [f"left aside, as no part of what was packed: {', '.join(aside)}"] if aside else []
    return [f"{len(digests)} files are what {SUMS} says", *told, f"golden answers within {worst:.2g} of the packed ones ({count} examples)"]


def _check_runtime(bundle: Bundle) -> None:
    profile = bundle.manifest["profile"]
    try:
        fault = providers.fault_of(profile["runtime"], runtime.onnxruntime().__version__)
        here = profiles.is_of_system(profile["platform"]["os"], profile["platform"]["arch"], platform.system(), platform.machine())
    except (AttributeError, KeyError, TypeError) as error:
        raise IntegrityError(f"{bundle.path / 'manifest.json'} is damaged: its profile has no sound platform and runtime") from error
    if fault and here:
        raise DeviceError(f"{bundle.path} is for '{bundle.manifest['target']}': {fault}", hint="pip install --upgrade onnxruntime")


def _golden_difference(bundle: Bundle) -> float:
    golden = bundle.document("golden.json")
    worst = worst_difference(say(bundle, golden_examples(bundle), threads=1).outputs, golden["cases"])
    if worst > golden["tolerance"]:
        raise IntegrityError(f"{bundle.path / 'model.onnx'} answers differently here: off by {worst:.3g}, {golden['tolerance']} is allowed")
    return worst


def worst_difference(outputs: Sequence[Sequence[NDArray[Any]]], cases: Sequence[Mapping[str, Any]]) -> float:
    """The largest difference from the golden answers; infinite where their shapes differ, and for what is no number."""
    worst = 0.0
    for arrays, case in zip(outputs, cases, strict=True):
        for array, wanted in zip(arrays, map(np.array, case["outputs"]), strict=True):
            ours = array[:, : wanted.shape[1]] if wanted.ndim == 2 else array
            difference = float(np.abs(ours - wanted).max()) if ours.shape == wanted.shape else np.inf
            worst = max(worst, np.inf if np.isnan(difference) else difference)
    return worst


def _read_json(file: Path, kind: type = dict) -> Any:
    try:
        document = read_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = transit.cause(file, {}, error) if file.is_file() else None
        raise IntegrityError(f"{file} cannot be read: {why.what if why else error}", hint=why.undo if why else "") from error
    if not isinstance(document, kind):
        raise IntegrityError(f"{file} is damaged: a JSON {kind.__name__} was expected")
    return document
