"""build, plan, cache gc: a recipe and targets in, bundles and reports out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgedistill import pipeline, plugins, profiles, samples
from edgedistill.cache import Store, digest_file, write_json
from edgedistill.devices import local
from edgedistill.errors import ConfigError, EdgedistillError
from edgedistill.faces import print_json, targets_table
from edgedistill.faces.plan import announce
from edgedistill.faces.recipes import load
from edgedistill.faces.tracking import tracked
from edgedistill.files import write_text
from edgedistill.progress import Progress, Tell, both, drawn
from edgedistill.wording import megabytes

SCHEMA = "edgedistill.build/1"  # 1: first
FORMATS = ("html", "md", "json")
SHOWN = "shown.json"  # what the report was written from


def run(
    recipe_name: str | None,
    target_names: Sequence[str],
    settings: Sequence[str],
    store_dir: Path,
    *,
    as_json: bool,
    bench: bool,
    trackers: Sequence[str] = (),
    scheme: str | None = None,
) -> None:
    """Build, measure, report, print; raises GateError at the end when a gate does not hold."""
    recipe, base, targets = load(recipe_name, target_names, settings, scheme)
    store = Store(store_dir)
    with tracked(trackers, recipe.name, store_dir / "tracking") as hears, drawn() as draws:
        tell = both(draws, hears)
        _warn_if_busy(tell)
        results = pipeline.build(recipe, targets, base, store, tell, lambda plans: announce(recipe, plans, store, tell))
        table = targets_table.rows(results)
        documents = [
            _document(one) | {"report": _page(one, table, store_dir, tell) if bench else None} for one in results if isinstance(one, pipeline.Done)
        ]
    if as_json:
        print_json(documents[0] if len(targets) == 1 and documents else {"schema": "edgedistill.builds/2", "builds": documents, "table": table})
    else:
        for document in documents:
            _print_lines(document)
        if len(targets) > 1:
            print(targets_table.text(table))
    pipeline.hold_gates(results)


def collect(recipe_name: str | None, target_names: Sequence[str], settings: Sequence[str], store_dir: Path) -> None:
    """Remove what this recipe and these targets do not need."""
    recipe, base, targets = load(recipe_name, target_names, settings)
    keep = {step.key for target in targets for step in pipeline.plan(recipe, target, base)}
    count, size = Store(store_dir).collect(keep)
    print(f"removed {count} steps, {megabytes(size)}; kept what {recipe.name} needs for {', '.join(target.name for target in targets)}")


def _warn_if_busy(tell: Tell) -> None:
    """Training threads spin while they wait for each other; beside another busy job that costs most of the speed (benchmarks/LOG.md)."""
    load, cores = os.getloadavg()[0], local.cores()
    if load > 0.75 * cores and not os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS"}:
        advice = "GOMP_SPINCOUNT=3000 in the environment trains twice as fast beside another job"
        Progress(tell, "build").warn(f"this machine is busy (load {load:.1f} on {cores} cores): {advice}")


def _document(done: pipeline.Done) -> dict[str, Any]:
    check = done.of("check").facts
    steps = [
        {"stage": one.stage, "key": one.key, "cached": one.cached, "seconds": 0.0 if one.cached else one.receipt["seconds"]} for one in done.artifacts
    ]
    return {
        "schema": SCHEMA,
        "bundle": str(done.bundle.resolve()),
        "target": done.target.name,
        "scheme": done.of("quantize").facts["scheme"],
        "bytes": done.artifacts[-1].facts["bytes"],
        "metric": check["metric"],
        "teacher": check["scores"]["teacher"],
        "student": check["scores"]["student"],
        "control": check["scores"].get("control"),
        "bundle_score": check["scores"]["bundle"],
        "retention": check["retention"],
        "retention_interval": check["retention_interval"],
        "chance": check["chance"],
        "warnings": check["warnings"],
        "agreement": check["agreement"]["bundle"],
        "n_test": check["n_test"],
        "steps": steps,
    }


def _page(done: pipeline.Done, table: Sequence[Mapping[str, Any]], store_dir: Path, tell: Tell) -> str | None:
    """The report; of several targets only those are measured here of whose kind this machine is. One that fails hides no other's bundle."""
    measured = len(table) == 1 or profiles.is_this_machine(done.target)
    try:
        return str(_report(done, table, store_dir, tell, measured=measured).resolve())
    except EdgedistillError as error:
        if len(table) == 1:
            raise
        Progress(tell, "bench").warn(f"no report for {done.target.name}: {error}")
        return None


def _report(done: pipeline.Done, table: Sequence[Mapping[str, Any]], store_dir: Path, tell: Tell, *, measured: bool) -> Path:
    """The report's page. It is measured once for each bundle: measurements are of this machine and do not go into a key."""
    from edgedistill.bundle.reader import open_bundle
    from edgedistill.measure.report import make_report
    from edgedistill.measure.run import Plan, failure, measure

    folder = store_dir / "reports" / done.bundle.name
    page, bench, digest = folder / "report.html", folder / "bench.json", digest_file(done.bundle / "manifest.json")
    shown = {"bundle": digest, "measured": measured or _measured(bench) == digest, "table": list(table)}
    if page.is_file() and _read(folder / SHOWN) == shown:
        return page
    folder.mkdir(parents=True, exist_ok=True)
    bundle, progress = open_bundle(done.bundle), Progress(tell, "bench")
    if measured and _measured(bench) != digest:
        progress.begin()
        document = measure(bundle, store_dir, Plan(mode="smoke"), progress, rows=0)
        if failed := failure(document):
            raise failed
        write_json(bench, samples.packed(document))
        samples.keep(document, folder)
        progress.end(str(page))
    steps = [{"stage": one.stage, "cached": one.cached, "seconds": one.receipt["seconds"]} for one in done.artifacts]
    whole = make_report(bundle, _read(bench) if shown["measured"] else None, steps, table)
    for form in FORMATS:
        try:
            write_text(folder / f"report.{form}", plugins.load("formats", form).render(whole))
        except ConfigError as error:  # the page needs an extra that the base install leaves out; the other formats do not
            progress.warn(str(error))
    write_json(folder / SHOWN, shown)
    return page if page.is_file() else page.with_suffix(".md")


def _measured(bench: Path) -> str | None:
    """The digest of the manifest that a bench document was taken of."""
    return (_read(bench) or {}).get("bundle_sha256")


def _read(file: Path) -> dict[str, Any] | None:
    """A JSON document; None where there is none, or one of an interrupted run: it is written again."""
    try:
        document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document


def _retention(document: Mapping[str, Any]) -> str:
    """Retention with its interval, or why there is none."""
    if document["retention"] is None:
        return f"undefined: the teacher is no better than {document['chance']['answer']}"
    low, high = document["retention_interval"]
    return f"{document['retention']:.4f} (95 % interval {low:.4f} to {high:.4f})"


def _print_lines(document: dict[str, Any]) -> None:
    scored = f"{document['metric']} {document['bundle_score']:.4f} on {document['n_test']} test rows"
    for warning in document["warnings"]:
        print(f"warning: {warning}")
    print(f"{document['target']}: {document['scheme']}, {megabytes(document['bytes'])}, {scored}")
    control = "" if document["control"] is None else f", the same student without a teacher {document['control']:.4f}"
    print(f"  teacher {document['teacher']:.4f}, student fp32 {document['student']:.4f}{control}")
    print(f"  retention {_retention(document)}, agreement with the teacher {document['agreement']:.4f}")
    print(f"  bundle  {document['bundle']}")
    if document["report"]:
        print(f"  report  {document['report']}")
