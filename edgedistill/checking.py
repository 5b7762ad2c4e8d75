"""TOML at the border: a file is read, then checked against a noun by pydantic, every fault at once with its dotted place and the nearest name."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_type_hints

from edgedistill.characters import is_halved
from edgedistill.errors import ConfigError, Fault, nearest

Noun = TypeVar("Noun")
DEEPEST = 32  # tables and lists in each other; a recipe has five
TOO_DEEP = f"more than {DEEPEST} tables and lists in each other"


def read_toml(file: Path) -> dict[str, Any]:
    """A file's tables. Raises ConfigError when it is not there, no UTF-8 or no TOML; the same of its name, by which what is in it goes."""
    if is_halved(file.name):
        raise ConfigError(f"{file}: its name is not UTF-8, and what is in it is called by it", hint="mv it to a name in UTF-8")
    try:
        return parsed(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text (byte {error.start})") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from error


def parsed(text: str) -> dict[str, Any]:
    """TOML's tables. Raises TOMLDecodeError, for tables and lists in each other without end too, which would break whatever walks them."""
    try:
        found = tomllib.loads(text)
    except RecursionError as error:
        raise tomllib.TOMLDecodeError(TOO_DEEP) from error
    level: list[Any] = [found]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer) if isinstance(inner, dict | list)]
    if level:
        raise tomllib.TOMLDecodeError(TOO_DEEP)
    return found


def read_json(text: str) -> Any:
    """A JSON value. Raises ValueError when it is none, and for brackets nested so deep that they cannot be read."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("its brackets are nested too deep to be read") from error


def validate(noun: type[Noun], document: dict[str, Any], name: str) -> tuple[Noun | None, list[Fault]]:
    """The noun, and the faults found on the way to it. What is wrong is left out for a second try, so that the rest can be judged too."""
    found: list[Mapping[str, Any]] = [{"type": "extra_forbidden", "loc": ("name",)}] if document.pop("name", None) is not None else []
    checked, errors = _check(noun, {**document, "name": name})
    if errors:
        for error in errors:
            _leave_out(document, error["loc"])
        checked, _ = _check(noun, {**document, "name": name})
    return checked, list(dict.fromkeys(_fault(noun, error) for error in [*found, *errors]))


def _check(noun: type[Noun], document: Mapping[str, Any]) -> tuple[Noun | None, list[Mapping[str, Any]]]:
    """Strict in JSON's way: an array may be a tuple, but true is no number and "7" neither."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(noun).validate_json(json.dumps(document, default=str), strict=True), []
    except ValidationError as error:
        return None, [dict(found) for found in error.errors(include_url=False)]


def _leave_out(document: Any, location: Sequence[str | int]) -> None:
    *outer, last = [part for part in location if not _is_type(part)]
    for part in outer:
        document = _inside(document, part)
    if isinstance(document, dict):
        document.pop(last, None)


def _inside(document: Any, part: str | int) -> Any:
    if isinstance(document, list) and isinstance(part, int) and part < len(document):
        return document[part]
    return document.get(part, {}) if isinstance(document, dict) else {}


def _is_type(part: str | int) -> bool:
    """A union's branch appears in pydantic's locations as a type name, which means nothing to the user."""
    return isinstance(part, str) and (part in ("int", "float", "str") or "[" in part)


def _fault(noun: type[Any], found: Mapping[str, Any]) -> Fault:
    location = [str(part) for part in found["loc"] if not _is_type(part)]
    where = ".".join(location)
    if found["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        hint = "the file's name is the name" if location == ["name"] else nearest(location[-1], _keys_at(noun, location[:-1]))
        return Fault(where, "unknown key", hint)
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
