"""pack: the bundle that a mobile engineer pulls — model, tokenizer, labels, golden cases, manifest, usage note, digests."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import graphs, plugins, runtime
from edgedistill.cache import digest_folder, write_json
from edgedistill.errors import Fault
from edgedistill.files import AS_PACKED, GIT
from edgedistill.progress import Progress
from edgedistill.spec import Inputs, Target, plain
from edgedistill.stages import needs_files
from edgedistill.stages._splits import class_names, read_split
from edgedistill.stages._usage import side, usage
from edgedistill.training import models

VERSION = 5  # 2: every task; 3: what the search found out of each candidate, and the graph; 4: the parity ladder; 5: .gitattributes
TOOLS = ("edgedistill", "onnxruntime")
MANIFEST_SCHEMA = "edgedistill.bundle/2"  # 1: first; 2: `encoder` for `text`, the columns, which way the metric goes
HISTORY_SCHEMA = "edgedistill.history/3"  # 2: the graph; 3: the parity ladder, which a foreign model's history/2 has not
GOLDEN_SCHEMA = "edgedistill.golden/2"  # 1: first; 2: `example` for `text`, rows and answers as lists
MOST_CLASSES = 256  # of a golden answer
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
    columns: Mapping[str, str]
    separator: str


def requires(params: Params, places: Mapping[str, str]) -> list[Fault]:
    """Everything comes from earlier steps."""
    return []


def run(params: Params, inputs: Inputs, out: Path, progress: Progress) -> dict[str, Any]:
    """Write the bundle's folder `NAME-TARGET`; the facts name it."""
    folder = out / f"{params.name}-{params.target.name}"
    shutil.rmtree(folder, ignore_errors=True)  # what a killed run began
    folder.mkdir()
    task = plugins.load("tasks", params.task)
    for name in inputs["quantize"].facts["files"]:
        shutil.copyfile(inputs["quantize"].path / name, folder / name)
    for name in task.FILES:
        shutil.copyfile(inputs["export"].path / name, folder / name)
    labels = class_names(inputs["prepare"].path)
    (folder / "labels.json").write_text(json.dumps(labels, ensure_ascii=False) + "\n", encoding="utf-8")
    session = runtime.open_session(folder / "model.onnx", threads=1)
    write_json(folder / "golden.json", _golden(params, inputs, folder, session))
    write_json(folder / "history.json", _history(inputs))
    (folder / "README.md").write_text(usage(params, inputs, task, labels, [_tensor(entry) for entry in session.get_inputs()]), encoding="utf-8")
    (folder / GIT).write_text(AS_PACKED, encoding="utf-8")
    write_json(folder / "manifest.json", _manifest(params, inputs, labels, session) | {"files": digest_folder(folder)})
    _write_sums(folder)
    return {"bundle": folder.name, "bytes": graphs.size(folder / "model.onnx")}


def ensures(out: Path) -> None:
    """One bundle, whole."""
    folder = next(entry for entry in out.iterdir() if entry.is_dir())
    needs_files(folder, "model.onnx", "labels.json", "golden.json", "history.json", "manifest.json", "README.md", "SHA256SUMS")


def _golden(params: Params, inputs: Inputs, folder: Path, session: Any) -> dict[str, Any]:
    """Test examples spread over all lengths, with their token ids and what the packed file says of them here, one row at a time."""
    task = plugins.load("tasks", params.task)
    examples = read_split(inputs["prepare"].path, "test").examples
    rows = task.encode(models.load_encoder(task, folder), examples, params.max_length)
    answered = [index for index, one in enumerate(rows) if all(task.shape(row)[0] for row in one)]  # a text of nothing but marks may have no answer
    order = sorted(answered, key=lambda index: sum(map(len, rows[index])))
    chosen = [int(order[at]) for at in np.linspace(0, len(order) - 1, min(GOLDEN, len(order))).round().astype(int)]
    outputs = runtime.run_examples(session, task, [rows[index] for index in chosen], int(inputs["export"].facts["pad_id"]), batch_size=1)
    cases = [_case(examples[index], rows[index], found) for index, found in zip(chosen, outputs, strict=True)]
    tolerance = TOLERANCE.get(inputs["quantize"].facts["scheme"], TOLERANCE_INT8)
    return {"schema": GOLDEN_SCHEMA, "tolerance": tolerance, "batch": 1, "cases": cases}


def _case(example: Mapping[str, Any], rows: Sequence[Any], outputs: Sequence[NDArray[Any]]) -> dict[str, Any]:
    ids = {"input_ids": [list(row.ids) for row in rows]} if hasattr(rows[0], "ids") else {}
    return {"example": portable(example), **ids, "outputs": [_digest(array) for array in outputs]}


def _digest(array: NDArray[Any]) -> list[list[float]]:
    """The answers of a row; over a vocabulary the first of them stand for all."""
    return [[round(float(value), 6) for value in answer[:MOST_CLASSES]] for answer in array]


def portable(example: Mapping[str, Any]) -> dict[str, Any]:
    """An example as JSON: an image as base64."""
    return {key: base64.b64encode(value).decode() if isinstance(value, bytes) else value for key, value in example.items()}


def _history(inputs: Inputs) -> dict[str, Any]:
    """How the model came to be: the curves of its trainings, the candidates that lost, the steps."""
    curves = {role: artifact.facts["curves"] for role, artifact in inputs.artifacts.items() if "curves" in artifact.facts}
    quantize = inputs["quantize"].facts
    return {
        "schema": HISTORY_SCHEMA,
        "curves": curves,
        "candidates": quantize["candidates"],
        "forbidden": quantize["forbidden"],
        "graph": quantize["graph"],
        "ladder": inputs["check"].facts["ladder"],
    }


def _manifest(params: Params, inputs: Inputs, labels: list[str], session: Any) -> dict[str, Any]:
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
        "inputs": [_tensor(entry) for entry in session.get_inputs()],
        "outputs": [_tensor(entry) for entry in session.get_outputs()],
        "encoder": _encoder(params, task, export),
        "higher_is_better": task.HIGHER,
        "columns": params.columns,
        "separator": params.separator,
        "labels": labels,
        "spellings": inputs["prepare"].facts.get("spellings", {}),
        "metric": check["metric"],
        "n_test": check["n_test"],
        "scores": check["scores"],
        "intervals": check["intervals"],
        "retention": check["retention"],
        "retention_interval": check["retention_interval"],
        "chance": check["chance"],
        "warnings": check["warnings"],
        "agreement": check["agreement"],
        "verdicts": check["verdicts"],
        "bytes": {name: inputs[role].facts["bytes"] for name, role in ROLES.items() if role in inputs.artifacts},
        "unknown_rate": inputs["student"].facts.get("unknown_rate"),
        "lineage": {
            "teacher": f"{teacher.stage}/{teacher.key}",
            "student": f"{export.stage}/{export.key}",
            "data": f"prepare/{inputs['prepare'].key}",
        },
        "profile": plain(params.target),
    }


def _encoder(params: Params, task: Any, export: Any) -> dict[str, Any]:
    """How examples become inputs. `truncation_side` is there where long texts keep their end; without it they keep their beginning."""
    found = {"files": list(task.FILES), "max_length": params.max_length, "pad_id": export.facts["pad_id"]}
    cut = side(task, export.path)
    return found if cut == runtime.RIGHT else found | {"truncation_side": cut}


def _tensor(entry: Any) -> dict[str, Any]:
    return {"name": entry.name, "dtype": runtime.DTYPES[entry.type], "shape": entry.shape}


def _write_sums(folder: Path) -> None:
    lines = [f"{entry['sha256']}  {name}" for name, entry in digest_folder(folder).items()]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n", encoding="utf-8")
