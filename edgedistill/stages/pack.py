"""pack: the bundle that a mobile engineer pulls — model, tokenizer, labels, golden cases, manifest, usage note, digests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from edgedistill import plugins, runtime
from edgedistill.cache import digest_folder, write_json
from edgedistill.errors import Fault
from edgedistill.progress import Progress
from edgedistill.spec import Inputs, Target, plain
from edgedistill.stages import needs_files
from edgedistill.stages._splits import class_names, read_split
from edgedistill.training import models

VERSION = 1
TOOLS = ("edgedistill", "onnxruntime")
MANIFEST_SCHEMA = "edgedistill.bundle/1"  # 1: first
GOLDEN = 32  # texts: enough lengths for a latency at natural length, few enough to check in a moment
TOLERANCE = {"fp32": 1e-3}  # of a golden logit; other schemes sum integers exactly, but round what feeds them
TOLERANCE_INT8 = 0.1
ROLES = {"teacher": "teacher", "student": "export", "control": "control", "bundle": "quantize"}  # subject of the scores → the step that made its file


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """How the bundle is called, and the profile that it was made for."""

    name: str
    task: str
    target: Target
    max_length: int


def requires(params: Params, places: Mapping[str, str]) -> list[Fault]:
    """Everything comes from earlier steps."""
    return []


def run(params: Params, inputs: Inputs, out: Path, progress: Progress) -> dict[str, Any]:
    """Write the bundle's folder `NAME-TARGET`; the facts name it."""
    folder = out / f"{params.name}-{params.target.name}"
    shutil.rmtree(folder, ignore_errors=True)  # what a killed run began
    folder.mkdir()
    shutil.copyfile(inputs["quantize"].path / "model.onnx", folder / "model.onnx")
    shutil.copyfile(inputs["export"].path / "tokenizer.json", folder / "tokenizer.json")
    labels = class_names(inputs["prepare"].path)
    (folder / "labels.json").write_text(json.dumps(labels, ensure_ascii=False) + "\n", encoding="utf-8")
    write_json(folder / "golden.json", _golden(params, inputs, folder))
    write_json(folder / "history.json", _history(inputs))
    (folder / "README.md").write_text(_usage(params, inputs, labels), encoding="utf-8")
    write_json(folder / "manifest.json", _manifest(params, inputs, labels) | {"files": digest_folder(folder)})
    _write_sums(folder)
    return {"bundle": folder.name, "bytes": (folder / "model.onnx").stat().st_size}


def ensures(out: Path) -> None:
    """One bundle, whole."""
    folder = next(entry for entry in out.iterdir() if entry.is_dir())
    needs_files(folder, "model.onnx", "tokenizer.json", "labels.json", "golden.json", "history.json", "manifest.json", "README.md", "SHA256SUMS")


def _golden(params: Params, inputs: Inputs, folder: Path) -> dict[str, Any]:
    """Test texts spread over all lengths, with their token ids and the logits that the packed file gives here, one text at a time."""
    task = plugins.load("tasks", params.task)
    tokenizer = models.load_tokenizer(folder)
    texts = read_split(inputs["prepare"].path, "test").texts
    rows = task.encode(tokenizer, texts, params.max_length)
    order = np.argsort([len(row) for row in rows], kind="stable")
    chosen = [int(order[at]) for at in np.linspace(0, len(order) - 1, min(GOLDEN, len(order))).round().astype(int)]
    padding = int(inputs["export"].facts["pad_id"])
    session = runtime.open_session(folder / "model.onnx", threads=1)
    logits = runtime.run_rows(session, [rows[index] for index in chosen], lambda some: task.feeds(some, padding), batch_size=1)
    cases = [{"text": texts[index], "input_ids": rows[index], "logits": found.tolist()} for index, found in zip(chosen, logits, strict=True)]
    tolerance = TOLERANCE.get(inputs["quantize"].facts["scheme"], TOLERANCE_INT8)
    return {"schema": "edgedistill.golden/1", "tolerance": tolerance, "batch": 1, "cases": cases}


def _history(inputs: Inputs) -> dict[str, Any]:
    """How the model came to be: the curves of its trainings, the candidates that lost, the steps."""
    curves = {role: artifact.facts["curves"] for role, artifact in inputs.artifacts.items() if "curves" in artifact.facts}
    quantize = inputs["quantize"].facts
    return {"schema": "edgedistill.history/1", "curves": curves, "candidates": quantize["candidates"], "forbidden": quantize["forbidden"]}


def _manifest(params: Params, inputs: Inputs, labels: list[str]) -> dict[str, Any]:
    task = plugins.load("tasks", params.task)
    check, export, teacher = inputs["check"].facts, inputs["export"], inputs["teacher"]
    return {
        "schema": MANIFEST_SCHEMA,
        "name": params.name,
        "target": params.target.name,
        "task": params.task,
        "edgedistill": version("edgedistill"),
        "model": {
            "file": "model.onnx",
            "scheme": inputs["quantize"].facts["scheme"],
            "bytes": inputs["quantize"].facts["bytes"],
            "parameters": export.facts["parameters"],
            "opset": export.facts["opset"],
            "min_onnxruntime": params.target.runtime.min_ort.value,
            "provider": params.target.runtime.provider.value,
            "threads": params.target.runtime.threads.value,
        },
        "inputs": [{"name": name, "dtype": "int64", "shape": ["batch", "sequence"]} for name in task.INPUTS],
        "outputs": [{"name": "logits", "dtype": "float32", "shape": ["batch", len(labels)]}],
        "text": {"tokenizer": "tokenizer.json", "max_length": params.max_length, "pad_id": export.facts["pad_id"]},
        "labels": labels,
        "metric": check["metric"],
        "n_test": check["n_test"],
        "scores": check["scores"],
        "intervals": check["intervals"],
        "retention": check["retention"],
        "retention_interval": check["retention_interval"],
        "agreement": check["agreement"],
        "verdicts": check["verdicts"],
        "bytes": {name: inputs[role].facts["bytes"] for name, role in ROLES.items() if role in inputs.artifacts},
        "unknown_rate": inputs["student"].facts["unknown_rate"],
        "lineage": {
            "teacher": f"{teacher.stage}/{teacher.key}",
            "student": f"{export.stage}/{export.key}",
            "data": f"prepare/{inputs['prepare'].key}",
        },
        "profile": plain(params.target),
    }


def _usage(params: Params, inputs: Inputs, labels: list[str]) -> str:
    check, scheme, runtime_facts = inputs["check"].facts, inputs["quantize"].facts["scheme"], params.target.runtime
    scores = check["scores"]
    return f"""# {params.name} for {params.target.name}

{params.target.summary}. Scheme `{scheme}`, classes: {", ".join(f"`{label}`" for label in labels)}.
On {check["n_test"]} test rows its {check["metric"]} is {scores["bundle"]:.4f}, the teacher's {scores["teacher"]:.4f}.

Here:

    edgedistill verify .
    edgedistill predict . "some text"

In an app: add `{runtime_facts.package.value}`, version {runtime_facts.min_ort.value} or newer. Read `tokenizer.json` with a tokenizer of the Hugging
Face format, cut at {params.max_length} tokens, and feed `input_ids` and `attention_mask` (int64, [1, tokens]), one text at a time. The output
`logits` has one number for each entry of `labels.json`; the largest is the answer. `golden.json` holds texts with their token ids and
logits: an app whose tokenizer gives the same ids, and whose logits are within its `tolerance`, is right.

`manifest.json` holds sizes, scores, the device profile and the digest of every file; `sha256sum -c SHA256SUMS` checks them without us.
"""


def _write_sums(folder: Path) -> None:
    lines = [f"{entry['sha256']}  {name}" for name, entry in digest_folder(folder).items()]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n", encoding="utf-8")
