"""Recipes come in here: TOML in layers, every fault at once with its dotted path and the nearest name. `load_target` is of `profiles`."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgedistill import plugins
from edgedistill.characters import argument
from edgedistill.checking import parsed, read_toml, validate
from edgedistill.errors import ConfigError, Fault, nearest
from edgedistill.profiles import load_target
from edgedistill.spec import Loss, Recipe, Schedule
from edgedistill.wording import quoted

__all__ = ["load_recipe", "load_target", "recipe_file"]


def load_recipe(which: str | None, settings: Sequence[str] = ()) -> tuple[Recipe, Path]:
    """A checked recipe and the folder that its relative paths start from.

    `which` is a file, the name of a built-in recipe, or None for ./recipe.toml, else `default`. `settings` are `a.b=value` with TOML
    values; they come last and win. Raises ConfigError with every fault.
    """
    file = recipe_file(which)
    recipe, faults = validate(Recipe, _merge(read_toml(file), settings), file.stem)
    faults += _recipe_faults(recipe) if recipe else []
    if faults or recipe is None:
        raise ConfigError([Fault(f"{file}: {fault.where}", fault.what, fault.hint) for fault in faults])
    return recipe, file.parent.resolve()


def recipe_file(which: str | None) -> Path:
    """The file behind a recipe's name or path; None looks for ./recipe.toml, then takes the built-in `default`."""
    here = Path("recipe.toml")
    if which is None:
        return here if here.is_file() else plugins.data_file("recipes", "default")
    if which.endswith(".toml") or "/" in which:
        if not Path(which).is_file():
            raise ConfigError(f"no recipe file at '{which}'", hint="edgedistill init writes one; edgedistill recipes lists the built-in ones")
        return Path(which)
    return plugins.data_file("recipes", which)


def _merge(document: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    for given in settings:
        try:
            setting = argument(given)
        except ValueError as error:
            raise ConfigError(f"--set {given}: {error}", hint="a recipe is UTF-8 text") from error
        dotted, equals, text = setting.partition("=")
        if not equals or "\n" in setting:
            raise ConfigError(f"--set {setting}: expected a.b=value on one line")
        *outer, last = dotted.strip().split(".")
        table: Any = document
        for name in outer:
            table = table.setdefault(name, {}) if isinstance(table, dict) else table[_index(table, name, setting)]
        table[last if isinstance(table, dict) else _index(table, last, setting)] = _toml_value(text)
    return document


def _index(items: Any, name: str, setting: str) -> int:
    if not isinstance(items, list):
        raise ConfigError(f"--set {setting}: '{name}' is inside something that is neither a table nor a list")
    if not name.isdigit() or int(name) >= len(items):
        raise ConfigError(f"--set {setting}: '{name}' is no place in a list of {len(items)}")
    return int(name)


def _toml_value(text: str) -> Any:
    """A TOML value; a bare word is taken as a string, because shells eat quotes."""
    try:
        return parsed(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _recipe_faults(recipe: Recipe) -> list[Fault]:
    """What types cannot say about a recipe."""
    methods = (recipe.student.method,) if isinstance(recipe.student.method, str) else recipe.student.method
    faults = _name_faults("tasks", "task", recipe.task)
    faults += [fault for method in methods for fault in _name_faults("students", "student.method", method)]
    if not recipe.rounds:
        faults.append(Fault("rounds", "there must be at least one"))
    for index, training in enumerate(recipe.rounds):
        faults += _loss_faults(f"rounds.{index}.losses", training.losses)
        faults += _schedule_faults(f"rounds.{index}.schedule", training.schedule)
    if recipe.teach is not None:
        faults += _schedule_faults("teach", recipe.teach)
    return faults + _label_faults(recipe) + _size_faults(recipe) + _bound_faults(recipe)


def _label_faults(recipe: Recipe) -> list[Fault]:
    """Names and spellings of classes, as far as they can be judged without the data."""
    names, merge = recipe.data.names, recipe.data.merge
    given = [name for name, value in (("names", names is not None), ("merge", merge)) if value]
    if given and not (plugins.exists("tasks", recipe.task) and plugins.load("tasks", recipe.task).CLASSES):
        return [Fault(f"data.{name}", f"the labels of {recipe.task} are no classes", "take it out") for name in given]
    faults = []
    if names is not None:
        twice = sorted({name for name in names if names.count(name) > 1})
        faults += [Fault("data.names", f"at least two classes are needed (found {len(names)})")] if len(names) < 2 else []
        faults += [Fault("data.names", f"two classes cannot both be called '{name}'") for name in twice]
        faults += [Fault("data.names", "a name is empty")] if not all(name.strip() for name in names) else []
    for spelling, label in merge.items():
        where = f"data.merge.{spelling}"
        if not label.strip():
            faults.append(Fault(where, "means no label", "empty the cells of rows without a label in the file: such rows are left out"))
        elif label in merge:
            hint = "take it out" if label == merge[label] else f"{quoted(spelling)} = {quoted(merge[label])}"
            faults.append(Fault(where, f"means '{label}', which is itself merged", hint))
    return faults


def _name_faults(family: str, where: str, name: str) -> list[Fault]:
    try:
        plugins.load(family, name)
    except ConfigError as error:
        return [Fault(where, f"unknown {plugins.singular(family)} '{name}'", error.hint)]
    return []


def _loss_faults(where: str, losses: Mapping[str, Loss]) -> list[Fault]:
    faults = [] if losses else [Fault(where, "at least one loss is needed", nearest("", plugins.names("losses")))]
    for name, loss in losses.items():
        if not plugins.exists("losses", name):  # loading one brings torch
            faults.append(Fault(f"{where}.{name}", "unknown loss", nearest(name, plugins.names("losses"))))
        faults += _weight_faults(f"{where}.{name}", loss.weight)
        given = {name: value for name in ("temperature", "heads", "alpha", "beta") if (value := getattr(loss, name)) is not None}
        faults += _above_zero(f"{where}.{name}", given)
    return faults


def _weight_faults(where: str, weight: float | tuple[tuple[float, float], ...]) -> list[Fault]:
    """A constant above 0, or points whose shares rise from 0 to 1 and whose weights are not all 0."""
    if isinstance(weight, int | float):
        return _above_zero(where, {"weight": weight})
    shares, values = [at for at, _ in weight], [value for _, value in weight]
    sound = shares and all(0 <= at <= 1 for at in shares) and shares == sorted(set(shares)) and min(values) >= 0 and 0 < max(values) < math.inf
    what = f"a number above 0, or points [share of the training, weight] with rising shares in 0 … 1 (found {[list(point) for point in weight]})"
    return [] if sound else [Fault(f"{where}.weight", what)]


def _above_zero(where: str, values: Mapping[str, float]) -> list[Fault]:
    return [Fault(f"{where}.{name}", f"must be a number above 0 (found {value})") for name, value in values.items() if not 0 < value < math.inf]


def _schedule_faults(where: str, schedule: Schedule) -> list[Fault]:
    above_zero = ("epochs", "batch_size", "learning_rate", "evaluations", "patience", "max_grad_norm")
    faults = _above_zero(where, {name: getattr(schedule, name) for name in above_zero})
    shares = [name for name in ("warmup", "dropout", "weight_decay") if not 0 <= getattr(schedule, name) < 1]
    return faults + [Fault(f"{where}.{name}", f"must be in [0, 1) (found {getattr(schedule, name)})") for name in shares]


def _size_faults(recipe: Recipe) -> list[Fault]:
    faults = _above_zero("data", {"calibration": recipe.data.calibration})
    if not 0 <= recipe.seed < 2**32:
        faults.append(Fault("seed", f"must be in [0, 2³²) (found {recipe.seed})"))
    if recipe.data.max_length < 4:
        faults.append(Fault("data.max_length", f"at least 4 tokens (found {recipe.data.max_length})"))
    sizes = ("vocabulary", "depth", "width", "heads", "intermediate", "embedding", *(("layers",) if isinstance(recipe.student.layers, int) else ()))
    faults += _above_zero("student", {name: size for name in sizes if (size := getattr(recipe.student, name)) is not None})
    for index, spec in enumerate(recipe.transfers):
        where = f"transfer.{index}" if len(recipe.transfers) > 1 else "transfer"
        faults += _above_zero(where, {"rows": spec.rows, "weight": spec.weight})
        if spec.min_words > spec.max_words:
            faults.append(Fault(f"{where}.min_words", f"above max_words ({spec.min_words} > {spec.max_words})"))
    return faults + _more_faults(recipe)


def _more_faults(recipe: Recipe) -> list[Fault]:
    """What is optional in a recipe."""
    faults = [] if recipe.data.rows is None else _above_zero("data", {"rows": recipe.data.rows})
    if recipe.pretrain is not None:
        faults += _schedule_faults("pretrain.schedule", recipe.pretrain.schedule)
    if recipe.augment is not None:
        faults += _above_zero("augment", {"copies": recipe.augment.copies})
        shares = {name: getattr(recipe.augment, name) for name in ("drop", "swap", "substitute")}
        faults += [Fault(f"augment.{name}", f"must be in [0, 1) (found {share})") for name, share in shares.items() if not 0 <= share < 1]
        if recipe.augment.substitute and not recipe.augment.model:
            faults.append(Fault("augment.model", "is missing: substitute asks a masked language model for its words"))
    faults += [
        Fault(f"rounds.{i}.confidence", f"must be 0 or above (found {one.confidence})") for i, one in enumerate(recipe.rounds) if one.confidence < 0
    ]
    return faults


def _bound_faults(recipe: Recipe) -> list[Fault]:
    faults = []
    for name in ("test", "validation"):
        size = getattr(recipe.data, name)
        if not isinstance(size, str) and (not 0 < size < math.inf or (isinstance(size, float) and size >= 1)):
            faults.append(Fault(f"data.{name}", f"a number of rows, a share in (0, 1), or a file (found {size})"))
    sources = {"data.source": recipe.data.source, "teacher.model": recipe.teacher.model}
    faults += [Fault(where, "is empty") for where, source in sources.items() if not source]
    shares = [size for size in (recipe.data.test, recipe.data.validation) if isinstance(size, float) and 0 < size < 1]
    if sum(shares) >= 1:
        faults.append(Fault("data.test", f"test and validation together leave no row to train on ({' + '.join(map(str, shares))})"))
    if not 0 < recipe.gates.retention <= 2:
        faults.append(Fault("gates.retention", f"a ratio such as 0.97 (found {recipe.gates.retention})"))
    return faults
