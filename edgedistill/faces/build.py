"""build, plan, cache gc: a recipe and targets in, bundles and reports out."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgedistill import config, estimate, pipeline, plugins, profiles, samples
from edgedistill.cache import Store, digest_file, write_json
from edgedistill.devices import local
from edgedistill.errors import ConfigError, EdgedistillError, Fault
from edgedistill.faces import print_json, targets_table
from edgedistill.faces.tracking import tracked
from edgedistill.files import write_text
from edgedistill.progress import Progress, Tell, both, drawn
from edgedistill.spec import Recipe, Step, Target
from edgedistill.wording import megabytes

SCHEMA = "edgedistill.build/1"  # 1: first
PLAN_SCHEMA = "edgedistill.plan/1"  # 1: first; later seconds and bytes of what is to do
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
    recipe, base, targets = _load(recipe_name, target_names, settings, scheme)
    store = Store(store_dir)
    with tracked(trackers, recipe.name, store_dir / "tracking") as hears, drawn() as draws:
        tell = both(draws, hears)
        _warn_if_busy(tell)
        results = pipeline.build(recipe, targets, base, store, tell, lambda plans: _announce(recipe, plans, store, tell))
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


def show_plan(recipe_name: str | None, target_names: Sequence[str], settings: Sequence[str], store_dir: Path, *, deep: bool, as_json: bool) -> None:
    """Print the steps with cached or to-do marks. Raises ConfigError with what a build would refuse, of models only where `deep`."""
    recipe, base, targets = _load(recipe_name, target_names, settings)
    store = Store(store_dir)
    plans = [pipeline.plan(recipe, target, base) for target in targets]
    pipeline.require(recipe, plans, store, deep=deep)
    costs, measured = _costs(recipe, plans, store, measure=deep)
    documents = [_plan_document(target, steps, store, costs) for target, steps in zip(targets, plans, strict=True)]
    if as_json:
        print_json(documents[0] if len(documents) == 1 else {"schema": "edgedistill.plans/1", "plans": documents})
        return
    for document in documents:
        print(f"{recipe.name} → {document['target']}")
        for step in document["steps"]:
            print(_plan_line(step))
    if costs:
        print(f"to do: {estimate.total(costs.values(), measured=measured)}")


def collect(recipe_name: str | None, target_names: Sequence[str], settings: Sequence[str], store_dir: Path) -> None:
    """Remove what this recipe and these targets do not need."""
    recipe, base, targets = _load(recipe_name, target_names, settings)
    keep = {step.key for target in targets for step in pipeline.plan(recipe, target, base)}
    count, size = Store(store_dir).collect(keep)
    print(f"removed {count} steps, {megabytes(size)}; kept what {recipe.name} needs for {', '.join(target.name for target in targets)}")


def _load(
    recipe_name: str | None, target_names: Sequence[str], settings: Sequence[str], scheme: str | None = None
) -> tuple[Recipe, Path, list[Target]]:
    """The recipe and the targets, for one scheme alone where it is named, with the faults of all of them at once."""
    faults: list[Fault] = []
    if recipe_name is None:
        print(f"recipe: {config.recipe_file(None)}", file=sys.stderr)
    try:
        recipe, base = config.load_recipe(recipe_name, settings)
    except ConfigError as error:
        faults += error.faults
    targets: list[Target] = []
    for name in profiles.chosen(target_names):
        try:
            target = profiles.load_target(name)
            if target.name in {one.name for one in targets}:
                raise ConfigError([Fault("--target", f"two profiles are called '{target.name}'", "give your own file another name")])
            targets.append(profiles.only(target, scheme, name) if scheme else target)
        except ConfigError as error:
            faults += error.faults
    if not target_names:
        faults.append(Fault("--target", "is missing", f"known: {', '.join(plugins.data_files('targets'))}, or {profiles.EVERY} of them"))
    if faults:
        raise ConfigError(faults)
    for warning in filter(None, map(profiles.warning, targets)):
        print(f"warning: {warning}", file=sys.stderr)
    return recipe, base, targets


def _warn_if_busy(tell: Tell) -> None:
    """Training threads spin while they wait for each other; beside another busy job that costs most of the speed (benchmarks/LOG.md)."""
    load, cores = os.getloadavg()[0], local.cores()
    if load > 0.75 * cores and not os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS"}:
        advice = "GOMP_SPINCOUNT=3000 in the environment trains twice as fast beside another job"
        Progress(tell, "build").warn(f"this machine is busy (load {load:.1f} on {cores} cores): {advice}")


def _costs(recipe: Recipe, plans: Collection[Sequence[Step]], store: Store, *, measure: bool | None) -> tuple[dict[str, estimate.Cost], bool]:
    """What the steps will take, and whether this machine was measured; nothing where the data cannot be read: `prepare` says what is wrong."""
    try:
        todo = {step.key for step in pipeline.unmade(plans, store)}
        return estimate.told(recipe, [step for steps in plans for step in steps], todo, measure=measure)
    except ConfigError:
        return {}, False


def _announce(recipe: Recipe, plans: Collection[Sequence[Step]], store: Store, tell: Tell) -> None:
    """Say how long a build of minutes will take, and warn where memory will not do."""
    costs, measured = _costs(recipe, plans, store, measure=None)
    if sum(cost.seconds for cost in costs.values()) < estimate.WORTH_S:
        return
    progress = Progress(tell, "build")
    progress.note(estimate.total(costs.values(), measured=measured))
    needed, free = max(cost.bytes for cost in costs.values()), _free_bytes()
    if free is not None and needed > free:
        progress.warn(f"it may want {estimate.memory(needed)} of memory, and {estimate.memory(free)} are free here: a smaller teacher holds less")


def _free_bytes() -> int | None:
    """The memory that is free for new processes; None where the system does not tell (other than Linux)."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _plan_document(target: Target, steps: Sequence[Step], store: Store, costs: Mapping[str, estimate.Cost]) -> dict[str, Any]:
    rows = [
        {
            "stage": step.stage,
            "key": step.key,
            "cached": store.find(step) is not None,
            "needs": [need.key for need in step.needs.values()],
            "seconds": round(costs[step.key].seconds) if step.key in costs else None,
            "bytes": round(costs[step.key].bytes) if step.key in costs else None,
        }
        for step in steps
    ]
    return {"schema": PLAN_SCHEMA, "target": target.name, "steps": rows}


def _plan_line(step: Mapping[str, Any]) -> str:
    cost = f"  {estimate.duration(step['seconds']):>7}  {estimate.memory(step['bytes']):>8}" if step["seconds"] is not None else ""
    return f"  {'✓ cached' if step['cached'] else '· to do '}  {step['stage']:9} {step['key'][:12]}{cost}"


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
