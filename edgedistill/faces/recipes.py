"""What build, plan and cache gc are asked for: a recipe and targets."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from edgedistill import config, plugins, profiles
from edgedistill.errors import ConfigError, Fault
from edgedistill.spec import Recipe, Target


def load(
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
