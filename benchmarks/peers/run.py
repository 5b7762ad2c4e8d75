"""Our bundle beside what other tools make of the same student: one virtual environment a peer, then all of them measured in turns.

    python benchmarks/peers/run.py BUNDLE [--store FOLDER] [--student FOLDER] [--only PEER …]

Each folder beside this file is a peer: `requirements.txt` with every version pinned, and `make.py`, which makes an int8 model of a
transformers folder and of calibration rows. The student is the one that the bundle was exported from, found in the bundle's store. A peer
that cannot be installed, made or run is in the table with its reason. Environments and models are kept in `--venvs` and made once; the result
is `benchmarks/results/peers.json` and `peers.md`. On Linux, pip's plain torch brings gigabytes of CUDA: name a CPU index with PIP_EXTRA_INDEX_URL.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from process import Agent, Subject, call, reason
from table import difference, ratio, render

from edgedistill import plugins
from edgedistill.bundle.reader import Bundle, check_model, open_bundle
from edgedistill.cache import digest_folder, write_json
from edgedistill.devices.local import Local
from edgedistill.stages._splits import class_names, read_split

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results"
TIMED = 32  # test rows that are timed, spread evenly over all lengths
LEAST_ROWS = 512  # below, an accuracy says too little


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows as the processes read them, which of them are timed, and what their answers are held against."""

    test: Path
    calibration: Path
    timed: list[int]
    targets: list[Any]
    labels: list[str]


def main() -> None:
    """Make what is missing, measure in turns, write the table."""
    asked = _arguments()
    bundle = open_bundle(asked.bundle)
    check_model(bundle)
    if bundle.manifest["task"] != "text-classification":
        sys.exit(f"peers: {bundle.path} is of the task {bundle.manifest['task']}; the peers' scripts make text-classification models")
    store = asked.store or asked.bundle.resolve().parents[3]
    student = (asked.student or _student(bundle, store)).resolve()
    work = asked.venvs.resolve() / "work" / bundle.manifest["lineage"]["student"].partition("/")[2][:16]
    work.mkdir(parents=True, exist_ok=True)
    rows = _rows(bundle, store, work, asked.rows)
    names = [name for name in _peers() if not asked.only or name in asked.only]
    failed: dict[str, str] = {}
    subjects = {"ours": _ours(bundle)} | _made(names, asked.venvs.resolve(), student, rows, work, failed)
    right = _right(bundle, subjects, rows, work, failed)
    load = Local().conditions()["load_1min"]
    medians = _latency({name: subjects[name] for name in right}, rows, work, asked, failed)
    found = {
        "bundle": f"{bundle.manifest['name']} for {bundle.manifest['target']}",
        "conditions": _conditions(asked, rows, load),
        **_compared(names, subjects, right, medians, failed),
    }
    asked.out.mkdir(parents=True, exist_ok=True)
    write_json(asked.out / "peers.json", found)
    (asked.out / "peers.md").write_text(render(found), encoding="utf-8")
    print(asked.out / "peers.md")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--student", type=Path, help="its transformers folder; otherwise the one in the store")
    parser.add_argument("--store", type=Path, help="the store of its lineage; otherwise the one that it lies in")
    parser.add_argument("--venvs", type=Path, default=Path(".edgedistill/peers"), help="where environments and the peers' models are kept")
    parser.add_argument("--only", nargs="*", default=[], metavar="PEER", choices=_peers())
    parser.add_argument("--rows", type=int, default=2000, help="test rows for the accuracy, at most")
    parser.add_argument("--turns", type=int, default=9, help="fresh processes of each")
    parser.add_argument("--passes", type=int, default=20, help="of each process over the timed rows, after its warm-up")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def _peers() -> list[str]:
    return sorted(file.parent.name for file in HERE.glob("*/make.py"))


def _student(bundle: Bundle, store: Path) -> Path:
    """The folder that the bundle's fp32 graph was exported from: the receipt of the export names its key."""
    receipt = store / bundle.manifest["lineage"]["student"] / "receipt.json"
    if not receipt.is_file():
        sys.exit(f"peers: the store {store} has not made this bundle; name its store with --store")
    key = json.loads(receipt.read_text(encoding="utf-8"))["asked"]["needs"]["model"]
    return next(store.glob(f"*/{key}/files"))


def _rows(bundle: Bundle, store: Path, work: Path, most: int) -> Rows:
    """Write test and calibration rows as token ids, so that no peer can tokenize them differently."""
    prepared = store / bundle.manifest["lineage"]["data"] / "files"
    task, spec = bundle.task, bundle.manifest["encoder"]
    files, lengths, targets = {}, [], []
    for name in ("test", "calibration"):
        split = read_split(prepared, name)
        encoded = [row for one in task.encode(task.load(bundle.path), split.examples[:most], spec["max_length"]) for row in one]
        feeds = [task.feeds([row], spec["pad_id"]) for row in encoded]
        lines = [json.dumps({key: value[0].tolist() for key, value in feed.items() if key != "attention_mask"}) for feed in feeds]
        files[name] = work / f"{name}.jsonl"
        files[name].write_text("\n".join(lines) + "\n", encoding="utf-8")
        if name == "test":
            lengths, targets = [len(row) for row in encoded], split.targets[:most]
    if len(targets) < LEAST_ROWS:
        print(f"peers: {len(targets)} test rows; below {LEAST_ROWS} the accuracies say little", file=sys.stderr)
    order = np.argsort(lengths, kind="stable")
    timed = order[np.linspace(0, len(order) - 1, min(TIMED, len(order))).round().astype(int)]
    return Rows(test=files["test"], calibration=files["calibration"], timed=timed.tolist(), targets=targets, labels=class_names(prepared))


def _ours(bundle: Bundle) -> Subject:
    model = bundle.path.resolve() / bundle.manifest["model"]["file"]
    versions = {name: version(name) for name in ("edgedistill", "onnxruntime")}
    scheme, size = bundle.manifest["model"]["scheme"], model.stat().st_size
    return Subject(python=Path(sys.executable), engine="onnxruntime", model=model, scheme=scheme, bytes=size, versions=versions)


def _made(names: Sequence[str], venvs: Path, student: Path, rows: Rows, work: Path, failed: dict[str, str]) -> dict[str, Subject]:
    """Every peer's model; what could not be installed or made goes into `failed`."""
    made: dict[str, Subject] = {}
    for name in names:
        try:
            python = _environment(name, venvs)
            made[name] = _make(name, python, student, rows, work / name)
        except subprocess.CalledProcessError as error:
            failed[name] = reason(error)
            print(f"peers: {name} failed: {failed[name]}", file=sys.stderr)
    return made


def _environment(name: str, venvs: Path) -> Path:
    """The Python of a peer's environment, which holds what its requirements say and is made once."""
    folder, wanted = venvs / name, HERE / name / "requirements.txt"
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    if not stamp.is_file() or stamp.read_bytes() != wanted.read_bytes():
        print(f"peers: installing {name} into {folder}", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        call([str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "-r", str(wanted)], folder / "pip.log")
        stamp.write_bytes(wanted.read_bytes())
    return python


def _make(name: str, python: Path, student: Path, rows: Rows, out: Path) -> Subject:
    script, wanted = HERE / name / "make.py", HERE / name / "requirements.txt"
    told = [script.read_text(encoding="utf-8"), wanted.read_text(encoding="utf-8"), rows.calibration.read_text(encoding="utf-8")]
    key = hashlib.sha256(json.dumps([*told, digest_folder(student)]).encode()).hexdigest()
    stamp = out / "made.key"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != key:
        print(f"peers: {name} makes its model", file=sys.stderr)
        out.mkdir(exist_ok=True)
        call([str(python), "-I", str(script), str(student), str(rows.calibration), str(out)], out / "make.log")
        stamp.write_text(key, encoding="utf-8")
    made = json.loads((out / "made.json").read_text(encoding="utf-8"))
    pinned = dict(line.split("==") for line in wanted.read_text(encoding="utf-8").split())
    return Subject(
        python=python,
        engine=made["engine"],
        model=out / made["files"][0],
        scheme=made["scheme"],
        bytes=sum((out / file).stat().st_size for file in made["files"]),
        versions={tool: pinned[tool] for tool in made["tools"]},
    )


def _right(bundle: Bundle, subjects: Mapping[str, Subject], rows: Rows, work: Path, failed: dict[str, str]) -> dict[str, list[float]]:
    """For each subject that answers, 1 for every test row that it gets right."""
    task = plugins.load("tasks", bundle.manifest["task"])
    right: dict[str, list[float]] = {}
    for name, subject in subjects.items():
        try:
            with Agent(subject, {"rows": str(rows.test)}, work / f"{name}-answers", threads=1) as agent:
                answers = agent.hear()["outputs"]
        except subprocess.CalledProcessError as error:
            failed[name] = reason(error)
            continue
        outputs = [[np.array([answer])] for answer in answers]
        right[name] = task.evidence(outputs, [], [], rows.targets, rows.labels)[:, 0].tolist()
        print(f"peers: {name} is right on {np.mean(right[name]):.4f} of {len(outputs)} rows", file=sys.stderr)
    return right


def _latency(
    subjects: Mapping[str, Subject], rows: Rows, work: Path, asked: argparse.Namespace, failed: dict[str, str]
) -> dict[str, list[dict[str, Any]]]:
    """What each fresh process measured. In a turn all are started, and then make their passes one after the other, there and back."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in subjects}
    job = {"rows": str(rows.test), "at": rows.timed}
    for turn in range(asked.turns):
        passes: dict[str, list[dict[str, Any]]] = {}
        with ExitStack() as stack:
            alive: dict[str, Agent] = {}
            for name in [name for name in subjects if name not in failed]:  # one loads and warms up, then the next
                alive[name] = stack.enter_context(Agent(subjects[name], job, work / f"{name}-latency", asked.threads))
                _step(name, alive[name].hear, passes, failed)
            for number in range(asked.passes):
                for name in [name for name in list(alive)[:: 1 if number % 2 == 0 else -1] if name not in failed]:
                    _step(name, alive[name].ask, passes, failed)
        for name, (loaded, *answers) in passes.items():
            found[name].append(loaded | {kind: [one for answer in answers for one in answer[kind]] for kind in ("clock_ms", "cpu_ms")})
        print(f"peers: turn {turn + 1} of {asked.turns}", file=sys.stderr)
    return found


def _step(name: str, told: Callable[[], dict[str, Any]], passes: dict[str, list[dict[str, Any]]], failed: dict[str, str]) -> None:
    try:
        passes.setdefault(name, []).append(told())
    except subprocess.CalledProcessError as error:
        failed[name] = reason(error)
        del passes[name]


def _compared(
    names: Sequence[str],
    subjects: Mapping[str, Subject],
    right: Mapping[str, list[float]],
    measured: Mapping[str, list[dict[str, Any]]],
    failed: Mapping[str, str],
) -> dict[str, Any]:
    """Ours and the peers, each with its raw medians."""
    if "ours" in failed:
        sys.exit(f"peers: our own bundle failed: {failed['ours']}")
    clock, cpu = ({name: [median(one[kind]) for one in results] for name, results in measured.items() if results} for kind in ("clock_ms", "cpu_ms"))
    said = {name: _said(subjects[name], right[name], clock[name], cpu[name], measured[name]) for name in measured if name not in failed}
    peers: dict[str, dict[str, Any]] = {}
    for name in names:
        if name in failed:
            peers[name] = {"failed": failed[name]}
            continue
        (share, share_interval), (work, work_interval) = (ratio(times["ours"], times[name]) for times in (clock, cpu))
        gap, gap_interval = difference(right["ours"], right[name])
        compared: dict[str, Any] = {"ratio": share, "ratio_interval": share_interval, "cpu_ratio": work, "cpu_ratio_interval": work_interval}
        compared |= {"difference": gap, "difference_interval": gap_interval}
        peers[name] = {**said[name], **compared}
    return {"ours": said["ours"], "peers": peers}


def _said(
    subject: Subject, right: Sequence[float], clock: Sequence[float], cpu: Sequence[float], measured: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    return {
        "engine": subject.engine,
        "versions": subject.versions,
        "scheme": subject.scheme,
        "bytes": subject.bytes,
        "accuracy": float(np.mean(right)),
        "median_ms": median(clock),
        "medians_ms": [round(one, 4) for one in clock],
        "cpu_medians_ms": [round(one, 4) for one in cpu],
        "load_ms": [round(one["load_ms"], 2) for one in measured],
    }


def _conditions(asked: argparse.Namespace, rows: Rows, load: float) -> dict[str, Any]:
    now = {**Local().facts(), **Local().conditions()}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": now["cpu"],
        "cores": now["cores"],
        "load": [load, now["load_1min"]],
        "python": platform.python_version(),
        "turns": asked.turns,
        "passes": asked.passes,
        "threads": asked.threads,
        "timed_rows": len(rows.timed),
        "test_rows": len(rows.targets),
    }


if __name__ == "__main__":
    main()
