"""The bundle of a foreign model: filled beside its place, renamed in when it is whole. Its fp32 graph stays in the store, for `bench`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgedistill.bundle import tensors
from edgedistill.cache import digest_folder, write_json
from edgedistill.errors import ConfigError, StageError
from edgedistill.files import AS_PACKED, GIT, PART, refused, unwritten, writing
from edgedistill.foreign.usage import usage
from edgedistill.spec import Artifact, Target, plain
from edgedistill.wording import MEGA, megabytes

MOST_TOLD = 20  # outputs whose measure the report tells: a language model's cache has hundreds
TOLERANCE, TOLERANCE_INT8 = 1e-3, 0.1  # of a golden answer, as a share of the output's scale: integer kernels differ between machines


@contextmanager
def workplace(out: Path) -> Iterator[Path]:
    """A folder beside `out`, on the same disk, gone afterwards; what dead runs left there goes too. Raises ConfigError where none can be made."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for left in out.parent.glob(f".{out.name}.*{PART}"):
            if not _alive(left.name.removesuffix(PART).rpartition(".")[2]):
                shutil.rmtree(left, ignore_errors=True)
        place = out.parent / f".{out.name}.{os.getpid()}{PART}"
        place.mkdir()
    except OSError as error:
        if unwritten(error):
            raise refused(f"--out {out}", error) from error
        raise ConfigError(f"--out {out}: cannot be made a folder: {error.strerror}") from error
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:  # somebody else's, and running
        return True
    return True


def write(target: Target, model: Path, facts: Mapping[str, Any], searched: Artifact, place: Path, out: Path) -> None:
    """Fill `place`/bundle with what the search found and put it where `out` says, in the stead of an older one."""
    folder = place / "bundle"
    with writing(f"--out {out}"):
        _fill(target, model, facts, searched, folder)
    _put(folder, out, place / "old")


def _fill(target: Target, model: Path, facts: Mapping[str, Any], searched: Artifact, folder: Path) -> None:
    found = searched.facts
    folder.mkdir()
    for name in ("model.onnx", *found["beside"], "golden.npz"):
        shutil.copyfile(searched.path / name, folder / name)
    tolerance = TOLERANCE if found["scheme"] == "fp32" else TOLERANCE_INT8
    write_json(folder / "golden.json", {"schema": tensors.GOLDEN_SCHEMA, "tolerance": tolerance, "batch": 1, **found["golden"]})
    write_json(folder / "history.json", _history(target, found))
    manifest = _manifest(target, model, facts, found, f"{searched.stage}/{searched.key}")
    (folder / "README.md").write_text(usage(manifest, found), encoding="utf-8")
    (folder / GIT).write_text(AS_PACKED, encoding="utf-8")
    write_json(folder / "manifest.json", manifest | {"files": digest_folder(folder)})
    lines = [f"{entry['sha256']}  {name}" for name, entry in digest_folder(folder).items()]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _put(folder: Path, out: Path, aside: Path) -> None:
    try:
        if out.is_dir():
            out.rename(aside)
        folder.rename(out)
    except OSError as error:  # a mount point, or the folder that somebody stands in
        if aside.is_dir() and not out.exists():
            aside.rename(out)
        raise StageError(f"{out} cannot be put in place: {error.strerror}", hint="name a folder inside of it") from error


def _history(target: Target, found: Mapping[str, Any]) -> dict[str, Any]:
    forbidden = [{"scheme": entry.scheme, "why": entry.why} for entry in target.quantization.forbidden]
    return {
        "schema": "edgedistill.history/2",
        "curves": {},
        "candidates": found["candidates"],
        "forbidden": forbidden,
        "notes": [*_measured(found), *found["notes"]],
        "measures": found["measures"],
        "graph": found["graph"],
        "calibration": found["samples"],
    }


def _measured(found: Mapping[str, Any]) -> list[str]:
    """How outputs were held against the original's, for the report: the first of them, and how many more there are."""
    said = [f"Measured: {one}." for one in found["measures"][:MOST_TOLD]]
    more = len(found["measures"]) - len(said)
    said += [f"Measured: {more} more outputs, which history.json lists."] if more else []
    if all(one["measure"] in ("near", "not compared") for one in found["fidelity"]):
        said.append("No output decides anything: what is called agreement is the lowest cosine.")
    return said


def _manifest(target: Target, model: Path, facts: Mapping[str, Any], found: Mapping[str, Any], lineage: str) -> dict[str, Any]:
    chosen = next(one for one in found["candidates"] if one["status"] == "chosen")
    worst = min((one for one in found["fidelity"] if one["score"] is not None), key=lambda one: float(one["score"]))
    runtime = target.runtime
    return {
        "schema": tensors.SCHEMA,
        "name": model.stem,
        "target": target.name,
        "task": tensors.TASK,
        "edgedistill": version("edgedistill"),
        "model": {
            "file": "model.onnx",
            "files": ["model.onnx", *found["beside"]],
            "scheme": found["scheme"],
            "bytes": found["bytes"],
            "opset": found["opset"],
            "ir_version": found["ir_version"],
            "min_onnxruntime": runtime.min_ort.value,
            "provider": runtime.provider.value,
            "package": runtime.package.value,
        },
        "inputs": found["inputs"],
        "outputs": facts["outputs"],
        "metric": "fidelity",
        "higher_is_better": True,
        "n_test": chosen["rows"],
        "fidelity": found["fidelity"],
        "calibration": found["samples"],
        "original": {name: facts[name] for name in ("sha256", "bytes", "opset", "ir_version", "producer", "numbers")} | {"file": model.name},
        "scores": {"original": 1.0, "bundle": chosen["score"]},
        "intervals": {"original": [1.0, 1.0], "bundle": worst["interval"]},
        "retention": chosen["score"],
        "retention_interval": worst["interval"],
        "agreement": {"original": 1.0, "bundle": chosen["agreement"]},
        "verdicts": _verdicts(target, chosen, found),
        "bytes": {"original": facts["bytes"], "bundle": found["bytes"]},
        "lineage": {"original": lineage},
        "profile": plain(target),
    }


def _verdicts(target: Target, chosen: Mapping[str, Any], found: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    size = float(target.budget.model_mb.number)
    made = "made-up" if found["samples"]["source"] == "synthetic" else "judging"
    fits = f"It has {megabytes(found['bytes'], 4)}; {target.name} allows {megabytes(size * MEGA, 4)}."
    return [
        *_kept(found["fidelity"], found["limits"], f"on {chosen['rows']} {made} inputs"),
        {"rule": "model_mb", "limit": size, "value": found["bytes"] / MEGA, "ok": found["bytes"] / MEGA <= size, "sentence": fits},
    ]


def _kept(outputs: Sequence[Mapping[str, Any]], limits: Mapping[str, float], where: str) -> list[Mapping[str, Any]]:
    """A verdict on each measure that an output has, by the worst of them."""
    rules = (
        ("agreement", ("argmax", "equal"), "agreement", "It agrees with the original on {value:.2%} {where}; {limit:.2%} are asked for."),
        ("items", ("items",), "agreement", "Its lists have {value:.2%} in common with the original's {where}; {limit:.2%} are asked for."),
        ("cosine", ("near",), "cosine", "Its answers have a cosine of {value:.4f} with the original's {where}; {limit:g} is asked for."),
        ("sqnr_db", ("near",), "sqnr_db", "They have an SQNR of {value:.1f} dB; {limit:g} dB are asked for."),
    )
    found: list[Mapping[str, Any]] = []
    for rule, measures, figure, sentence in rules:
        values = [one[figure] for one in outputs if one["measure"] in measures and one[figure] is not None]
        if values:
            value, limit = min(values), limits[rule]
            told = sentence.format(value=value, limit=limit, where=where)
            found.append({"rule": rule, "limit": limit, "value": value, "ok": value >= limit, "sentence": told})
    return found
