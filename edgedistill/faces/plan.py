"""plan: the steps of a build, what is cached, and what the rest will take; `build` says it too before it begins."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgedistill import estimate, memory, pipeline
from edgedistill.cache import Store
from edgedistill.errors import ConfigError
from edgedistill.faces import print_json
from edgedistill.faces.recipes import load
from edgedistill.progress import Progress, Tell
from edgedistill.spec import Recipe, Step, Target

PLAN_SCHEMA = "edgedistill.plan/1"  # 1: first; later seconds and bytes of what is to do


def plan(recipe_name: str | None, target_names: Sequence[str], settings: Sequence[str], store_dir: Path, *, deep: bool, as_json: bool) -> None:
    """Print the steps with cached or to-do marks. Raises ConfigError with what a build would refuse, of models only where `deep`."""
    recipe, base, targets = load(recipe_name, target_names, settings)
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


def announce(recipe: Recipe, plans: Collection[Sequence[Step]], store: Store, tell: Tell) -> None:
    """Say how long a build of minutes will take, and warn where memory will not do."""
    costs, measured = _costs(recipe, plans, store, measure=None)
    if sum(cost.seconds for cost in costs.values()) < estimate.WORTH_S:
        return
    progress = Progress(tell, "build")
    progress.note(estimate.total(costs.values(), measured=measured))
    needed, free = max(cost.bytes for cost in costs.values()), memory.free_bytes()
    if free is not None and needed > free:
        progress.warn(f"it may want {estimate.memory(needed)} of memory, and {estimate.memory(free)} are free here: a smaller teacher holds less")


def _costs(recipe: Recipe, plans: Collection[Sequence[Step]], store: Store, *, measure: bool | None) -> tuple[dict[str, estimate.Cost], bool]:
    """What the steps will take, and whether this machine was measured; nothing where the data cannot be read: `prepare` says what is wrong."""
    try:
        todo = {step.key for step in pipeline.unmade(plans, store)}
        return estimate.told(recipe, [step for steps in plans for step in steps], todo, measure=measure)
    except ConfigError:
        return {}, False


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
