"""Run a suite of recipes and write its table: teacher, student without a teacher, distilled, int8 bundle.

    python benchmarks/suite.py benchmarks/suites/encoders.toml [--only ROW …] [--data FOLDER]

Stopped at any moment, the same command goes on: builds resume, and a row whose recipe has not changed is not run again. The result is
`benchmarks/results/SUITE.json`, the table beside it `SUITE.md`.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

import tomli_w

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("edgedistill", "torch", "transformers", "onnxruntime", "numpy")


def main() -> None:
    """Run what is missing, row by row, and write the table."""
    asked = _arguments()
    suite = tomllib.loads(asked.suite.read_text(encoding="utf-8"))
    work = asked.store / "suite" / asked.suite.stem
    work.mkdir(parents=True, exist_ok=True)
    _derived(asked.data, work)
    out = ROOT / "benchmarks" / "results" / f"{asked.suite.stem}.json"
    out.parent.mkdir(exist_ok=True)
    failed: list[str] = []
    for name, row, seed in _runs(suite, asked.only):
        key = hashlib.sha256(json.dumps([row["recipe"], suite["common"], seed], sort_keys=True).encode()).hexdigest()[:16]
        if _results(out).get(f"{name}/{seed}", {}).get("key") == key:
            continue
        file = work / f"{name}-{seed}.toml"
        file.write_text(tomli_w.dumps(_recipe(suite, row, seed, asked.data, work)), encoding="utf-8")
        try:
            built = _build(file, suite["target"], asked.store)
        except subprocess.CalledProcessError as error:
            failed.append(f"{name}, seed {seed}: exit {error.returncode}; {' '.join(map(str, error.cmd[1:]))}")
            continue
        results = _results(out) | {f"{name}/{seed}": {"key": key, **built}}  # read anew: another run may work on other rows
        out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(table(suite, _results(out)), encoding="utf-8")
    print(out.with_suffix(".md").relative_to(ROOT))
    if failed:
        sys.exit("rows that failed:\n" + "\n".join(failed))


def _results(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("suite", type=Path)
    parser.add_argument("--only", nargs="*", default=[], metavar="ROW")
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("EDGEDISTILL_DATA", ROOT.parent / "shared" / "data")), help="the data sets' folder"
    )
    parser.add_argument("--store", type=Path, default=Path(".edgedistill"), help="where finished steps are kept")
    return parser.parse_args()


def _runs(suite: Mapping[str, Any], only: list[str]) -> Iterator[tuple[str, Mapping[str, Any], int]]:
    """First seed of every row first: a stopped suite has the whole table."""
    rows = {name: row for name, row in suite["rows"].items() if not only or name in only}
    for turn in range(max(len(row.get("seeds", [0])) for row in rows.values())):
        for name, row in rows.items():
            seeds = row.get("seeds", [0])
            if turn < len(seeds):
                yield name, row, seeds[turn]


def _recipe(suite: Mapping[str, Any], row: Mapping[str, Any], seed: int, data: Path, work: Path) -> dict[str, Any]:
    """The row's recipe over the common one, with its folders filled in."""
    recipe = {**suite["common"], **row["recipe"], "seed": seed}
    return _filled(recipe, {"data": str(data.resolve()), "work": str(work.resolve())})


def _filled(value: Any, folders: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(part, folders) for name, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, folders) for part in value]
    return value.format(**folders) if isinstance(value, str) and value.startswith(("{data}", "{work}")) else value


def _derived(data: Path, work: Path) -> None:
    """What rows need besides the data sets: SquadShifts cut by article as its split says, and untrained image backbones."""
    if not (work / "new_wiki.test.json").is_file():
        with gzip.open(data / "squadshifts" / "new_wiki_v1.0.json.gz", "rt", encoding="utf-8") as stream:
            articles = json.load(stream)["data"]
        held = json.loads((data / "squadshifts" / "new_wiki_split_titles.json").read_text(encoding="utf-8"))
        for name in ("train", "dev", "test"):
            chosen = [one for one in articles if (one["title"] in held[name] if name in held else one["title"] not in {*held["dev"], *held["test"]})]
            (work / f"new_wiki.{name}.json").write_text(json.dumps({"data": chosen}), encoding="utf-8")
    if not (work / "fashion_mnist").exists():
        _fashion_mnist(data, work)
    if not (work / "vit").is_dir():
        subprocess.run([sys.executable, str(ROOT / "benchmarks" / "backbones.py"), str(work)], check=True)


def _fashion_mnist(data: Path, work: Path) -> None:
    """Fashion-MNIST beside the other data sets, else out of Debian's package, which needs no root to be unpacked."""
    if (data / "fashion_mnist").is_dir():
        (work / "fashion_mnist").symlink_to((data / "fashion_mnist").resolve())
        return
    subprocess.run(["apt-get", "download", "dataset-fashion-mnist"], cwd=work, check=True)
    package = next(work.glob("dataset-fashion-mnist_*.deb"))
    subprocess.run(["dpkg", "-x", package.name, "debian"], cwd=work, check=True)
    (work / "fashion_mnist").symlink_to(next((work / "debian").rglob("train-images-idx3-ubyte.gz")).parent)


def _build(recipe: Path, target: str, store: Path) -> dict[str, Any]:
    """One build and its report, as JSON; the seconds are of the steps, wherever they were made."""
    started = time.time()
    command = [sys.executable, "-m", "edgedistill", "build", str(recipe), "--target", target, "--store", str(store), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 4):  # 4: a gate broke; the row stays in the table
        raise subprocess.CalledProcessError(done.returncode, command)
    built = json.loads(done.stdout)
    bundle = Path(built["bundle"])
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    bench = json.loads((Path(built["report"]).parent / "bench.json").read_text(encoding="utf-8"))
    device = bench["devices"][0]
    receipts = (json.loads((store / step["stage"] / step["key"] / "receipt.json").read_text(encoding="utf-8")) for step in built["steps"])
    return {
        **{name: manifest[name] for name in ("metric", "n_test", "scores", "intervals", "retention", "retention_interval", "agreement", "bytes")},
        "scheme": manifest["model"]["scheme"],
        "latency": device["ratios"],
        "seconds": [[receipt["stage"], receipt["seconds"]] for receipt in receipts],
        "when": time.strftime("%Y-%m-%d", time.gmtime(started)),
        "cpu": device["facts"]["cpu"],
        "cores": device["facts"]["cores"],
        "load": [device["before"]["load_1min"], device["after"]["load_1min"]],
        "versions": {tool: version(tool) for tool in TOOLS},
    }


def table(suite: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """The suite's page in Markdown: one line a run, then what all rows together say."""
    runs = [
        (name, row, key.partition("/")[2], results[key]) for name, row in suite["rows"].items() for key in results if key.partition("/")[0] == name
    ]
    head = [
        "# What distillation bought, data set by data set",
        "",
        "Written by `python benchmarks/suite.py benchmarks/suites/encoders.toml`. Scores are on the test split, with 95 % intervals; the bundle's",
        "are those of the file that was chosen for the target, one example at a time. *Control* is the same student trained without a teacher.",
        "Latency is the median ÷ the teacher's fp32, one thread, fresh processes in turns; seconds are of all steps together, beside other jobs.",
        "",
        "| data | metric | teacher | control | distilled | bundle | bundle ÷ teacher | aim | MB (÷ teacher) | latency ratio | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines = [_line(row, seed, run) for _, row, seed, run in runs]
    won = [run["scores"]["student"] > run["scores"]["control"] for _, _, seed, run in runs]
    firsts = {name: [run for other, _, _, run in runs if other == name] for name, _, _, _ in runs}
    better = sum(mean(run["scores"]["student"] - run["scores"]["control"] for run in found) > 0 for found in firsts.values())
    absent = [f"{name}, seed {seed}" for name, row in suite["rows"].items() for seed in row.get("seeds", [0]) if f"{name}/{seed}" not in results]
    one = runs[0][3] if runs else {"cpu": "", "cores": 0, "versions": {}}
    tail = [
        "",
        f"Distilled beats the control in {sum(won)} of {len(won)} runs, and on {better} of {len(firsts)} data sets (mean over seeds).",
        *([f"Not run yet: {'; '.join(absent)}."] if absent else []),
        f"Machine: {one['cores']} cores of {one['cpu']}; {', '.join(f'{tool} {number}' for tool, number in one['versions'].items())}.",
        "",
    ]
    return "\n".join([*head, *lines, *tail])


def _line(row: Mapping[str, Any], seed: str, run: Mapping[str, Any]) -> str:
    scores = [
        f"{run['scores'][name]:.4f} ({run['intervals'][name][0]:.3f}–{run['intervals'][name][1]:.3f})"
        for name in ("teacher", "control", "student", "bundle")
    ]
    scores[-1] += f" {run['scheme']}"
    retention = "undefined"  # the teacher is no better than an answer that ignores its input
    if run["retention"] is not None:
        retention = f"{run['retention']:.4f} ({run['retention_interval'][0]:.3f}–{run['retention_interval'][1]:.3f})"
    held = "" if "aim" not in row else f"{row['aim']} {'met' if (run['retention'] or 0) >= row['aim'] else 'missed'}"
    share = run["bytes"]["bundle"] / run["bytes"]["teacher"]
    if "bytes" in row:
        held += f", ≤ {row['bytes']} of the bytes {'met' if share <= row['bytes'] else 'missed'}"
    latency = run["latency"].get("bundle", {})
    ratio = f"{latency['median_ratio']:.3f} ({latency['interval'][0]:.3f}–{latency['interval'][1]:.3f})" if latency else "n/a"
    cells = [
        f"{row['title']}, seed {seed}, {run['n_test']} test rows",
        run["metric"],
        *scores,
        retention,
        held,
        f"{run['bytes']['bundle'] / 1e6:.2f} ({share:.3f})",
        ratio,
        f"{sum(seconds for _, seconds in run['seconds']):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
