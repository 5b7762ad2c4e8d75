"""The recipe's file: where it goes, and that it never takes the place of another."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from edgedistill import estimate
from edgedistill.errors import ConfigError
from edgedistill.files import refused
from edgedistill.init._budget import Choice
from edgedistill.init._find import look
from edgedistill.init._recipe import chosen, recipe_text


def write_recipe(place: Path, out: Path | None = None, task: str | None = None, tell: Callable[[Choice], None] = lambda choice: None) -> Path:
    """Write the recipe for a data file, or for the data of a folder, and return where it is.

    `out` is `recipe.toml` in the folder, or here for a file or where the folder is the data. `task` is what the recipe is for, where the
    data suits several. `tell` hears what was chosen, and what it will cost; this machine is measured first where that may matter. Raises
    ConfigError where `out` exists already, or the data does not suit.
    """
    found = look(place, task)
    data = found.guess.path
    out = out or (place / "recipe.toml" if place.is_dir() and data != place else Path("recipe.toml"))
    if os.path.lexists(out):
        raise _exists(out)
    if data.is_dir() and out.parent.resolve().is_relative_to(data.resolve()):
        what = f"{out}: would lie inside the data, whose digest it would change"
        raise ConfigError(what, hint=f"cd {data.resolve().parent} && edgedistill init {data.resolve().name}")
    choice = chosen(found)
    if choice.whole_s > estimate.WORTH_S and (speed := estimate.measured()):
        choice = chosen(found, speed)
    text = recipe_text(found, out.parent, choice)
    made = False
    try:
        content = text.encode()
        with out.open("xb") as stream:  # x: also safe against a file that came meanwhile
            made = True
            stream.write(content)
    except FileExistsError:
        raise _exists(out) from None
    except UnicodeEncodeError as error:
        raise ConfigError(f"{data}: its name is not UTF-8, which a recipe has to be", hint="mv it to a name in UTF-8") from error
    except OSError as error:
        if made:  # not the half of it
            out.unlink(missing_ok=True)
        raise refused(str(out), error) from error
    tell(choice)
    return out


def _exists(out: Path) -> ConfigError:
    return ConfigError(f"{out} exists already, and is kept", hint=f"edit it, or move it away: mv {out} {out}.old")
