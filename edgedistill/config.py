"""Recipes and targets come in here: TOML in layers, checked by pydantic, every fault at once with its dotted path and the nearest name."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_type_hints

from edgedistill import plugins
from edgedistill.errors import ConfigError, Fault, nearest
from edgedistill.spec import Recipe, Target

Noun = TypeVar("Noun")


def load_recipe(which: str | None, settings: Sequence[str] = ()) -> tuple[Recipe, Path]:
    """A checked recipe and the folder that its relative paths start from.

    `which` is a file, the name of a built-in recipe, or None for ./recipe.toml, else `default`. `settings` are `a.b=value` with TOML
    values; they come last and win. Raises ConfigError with every fault.
    """
    file = recipe_file(which)
    document = _merge(_read_toml(file), settings)
    recipe = _validate(Recipe, {"name": file.stem} | document, str(file))
    faults = [*_recipe_faults(recipe)]
    if faults:
        raise ConfigError(Fault(f"{file.name}: {fault.where}", fault.what, fault.hint) for fault in faults)
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


def load_target(which: str) -> Target:
    """A checked target profile, by its shipped name or by the path of a TOML file. Raises ConfigError with every fault."""
    file = Path(which) if which.endswith(".toml") else plugins.data_file("targets", which)
    target = _validate(Target, {"name": file.stem} | _read_toml(file), str(file))
    allowed = {entry.scheme for entry in target.quantization.allowed}
    both = allowed & {entry.scheme for entry in target.quantization.forbidden}
    if both:
        raise ConfigError([Fault(f"{file}: quantization", f"'{scheme}' is both allowed and forbidden") for scheme in sorted(both)])
    return target


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no file {file}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text (byte {error.start})") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from error


def _merge(document: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    for setting in settings:
        dotted, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: expected a.b=value")
        *outer, last = dotted.strip().split(".")
        table = document
        for name in outer:
            table = table[int(name)] if isinstance(table, list) and name.isdigit() and int(name) < len(table) else _table(table, name, setting)
        table[last] = _toml_value(text)
    return document


def _table(table: Any, name: str, setting: str) -> Any:
    inner = table.setdefault(name, {}) if isinstance(table, dict) else None
    if not isinstance(inner, dict | list):
        raise ConfigError(f"--set {setting}: '{name}' is not a table")
    return inner


def _toml_value(text: str) -> Any:
    """A TOML value; a bare word is taken as a string, because shells eat quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _validate(noun: type[Noun], document: Mapping[str, Any], place: str) -> Noun:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(noun).validate_python(document)
    except ValidationError as error:
        faults = [_fault(noun, place, dict(found)) for found in error.errors(include_url=False)]
    raise ConfigError(dict.fromkeys(faults))


def _fault(noun: type[Any], place: str, found: Mapping[str, Any]) -> Fault:
    # a union's branch appears in the location as a type name, which means nothing to the user
    location = [str(part) for part in found["loc"] if str(part) not in ("int", "float", "str", "tuple[int, ...]") and "[" not in str(part)]
    where = f"{place}: {'.'.join(location)}"
    if found["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return Fault(where, "unknown key", nearest(location[-1], _keys_at(noun, location[:-1])))
    if found["type"] == "missing" or found["type"] == "missing_keyword_only_argument":
        return Fault(where, "is missing")
    return Fault(where, f"{found['msg'][0].lower()}{found['msg'][1:]} (found {found['input']!r})")


def _keys_at(noun: Any, location: Sequence[str]) -> list[str]:
    """The keys that a noun has at a dotted location; lists, maps and optionals are looked through."""
    for part in location:
        if not part.isdigit() and is_dataclass(noun):
            hints = get_type_hints(cast(type[Any], noun))
            noun = _inner(hints[part]) if part in hints else None
    return [field.name for field in fields(noun)] if is_dataclass(noun) else []


def _inner(hint: Any) -> Any:
    """The dataclass inside `X | None`, `tuple[X, ...]` or `Mapping[str, X]`."""
    if is_dataclass(hint):
        return hint
    return next((found for arg in get_args(hint) if (found := _inner(arg)) is not None), None)


def _recipe_faults(recipe: Recipe) -> list[Fault]:
    """What types cannot say about a recipe."""
    faults = []
    if recipe.task not in plugins.names("tasks"):
        faults.append(Fault("task", f"unknown task '{recipe.task}'", nearest(recipe.task, plugins.names("tasks"))))
    if recipe.student.method not in plugins.names("students"):
        faults.append(Fault("student.method", f"unknown method '{recipe.student.method}'", nearest(recipe.student.method, plugins.names("students"))))
    if not recipe.rounds:
        faults.append(Fault("rounds", "there must be at least one"))
    for index, training in enumerate(recipe.rounds):
        faults += _loss_faults(f"rounds.{index}.losses", training.losses)
        faults += _schedule_faults(f"rounds.{index}.schedule", training.schedule)
    if recipe.teach is not None:
        faults += _schedule_faults("teach", recipe.teach)
    return faults + _bound_faults(recipe)


def _loss_faults(where: str, losses: Mapping[str, Any]) -> list[Fault]:
    known = plugins.names("losses")
    faults = [] if losses else [Fault(where, "at least one loss is needed", nearest("", known))]
    for name, loss in losses.items():
        if name not in known:
            try:
                plugins.load("losses", name)
            except ConfigError as error:
                faults.append(Fault(f"{where}.{name}", "unknown loss", error.hint))
        if loss.weight <= 0:
            faults.append(Fault(f"{where}.{name}.weight", f"must be above 0 (found {loss.weight})"))
        if loss.temperature is not None and loss.temperature <= 0:
            faults.append(Fault(f"{where}.{name}.temperature", f"must be above 0 (found {loss.temperature})"))
    return faults


def _schedule_faults(where: str, schedule: Any) -> list[Fault]:
    above_zero = ("epochs", "batch_size", "learning_rate", "evaluations", "patience", "max_grad_norm")
    faults = [Fault(f"{where}.{name}", f"must be above 0 (found {getattr(schedule, name)})") for name in above_zero if getattr(schedule, name) <= 0]
    shares = [name for name in ("warmup", "dropout") if not 0 <= getattr(schedule, name) < 1]
    return faults + [Fault(f"{where}.{name}", f"must be in [0, 1) (found {getattr(schedule, name)})") for name in shares]


def _bound_faults(recipe: Recipe) -> list[Fault]:
    faults = []
    for name in ("test", "validation"):
        size = getattr(recipe.data, name)
        if not isinstance(size, str) and (size <= 0 or (isinstance(size, float) and size >= 1)):
            faults.append(Fault(f"data.{name}", f"a number of rows, a share in (0, 1), or a file (found {size})"))
    if recipe.data.max_length < 4:
        faults.append(Fault("data.max_length", f"at least 4 tokens (found {recipe.data.max_length})"))
    if recipe.data.calibration < 1:
        faults.append(Fault("data.calibration", f"at least 1 row (found {recipe.data.calibration})"))
    if recipe.transfer is not None and recipe.transfer.rows < 1:
        faults.append(Fault("transfer.rows", f"at least 1 (found {recipe.transfer.rows})"))
    if recipe.transfer is not None and recipe.transfer.min_words > recipe.transfer.max_words:
        faults.append(Fault("transfer.min_words", f"above max_words ({recipe.transfer.min_words} > {recipe.transfer.max_words})"))
    if not 0 < recipe.gates.retention <= 2:
        faults.append(Fault("gates.retention", f"a ratio such as 0.97 (found {recipe.gates.retention})"))
    return faults
