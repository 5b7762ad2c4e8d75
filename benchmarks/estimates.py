"""What `plan` foretells beside what a build took: seconds, seconds of CPU, and memory at its peak, step by step.

python benchmarks/estimates.py RECIPE TARGET [STORE]        after `edgedistill build RECIPE --target TARGET`
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgedistill import config, estimate, pipeline, profiles
from edgedistill.cache import Store


def main(recipe_name: str, target: str, store: str = ".edgedistill") -> None:
    """Print a line for each step."""
    recipe, base = config.load_recipe(recipe_name, [])
    steps = pipeline.plan(recipe, profiles.load_target(target), base)
    found, measured = estimate.told(recipe, steps, {step.key for step in steps}, measure=True)
    print(f"{recipe.name}, {'this machine measured' if measured else 'a typical machine'}: foretold / took, seconds; CPU; foretold / held, GiB")
    whole = [0.0, 0.0]
    for step in steps:
        made, cost = Store(Path(store)).find(step), found.get(step.key)
        if made is None or cost is None:
            continue
        seconds, held = made.receipt["seconds"], made.receipt.get("peak_bytes") or 0
        whole = [whole[0] + cost.seconds, whole[1] + seconds]
        print(
            f"{step.stage:9} {cost.seconds:7.0f} / {seconds:7.0f} = {cost.seconds / seconds:5.2f}   {made.receipt.get('cpu_seconds', 0):7.0f}"
            f"   {cost.bytes / 2**30:5.2f} / {held / 2**30:5.2f}"
        )
    print(f"{'together':9} {whole[0]:7.0f} / {whole[1]:7.0f} = {whole[0] / whole[1]:5.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
