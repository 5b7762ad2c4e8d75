"""Device profiles: found by name or path, laid over the profile that they extend, checked whole; and whether this machine is one of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgedistill import plugins, schemes
from edgedistill.checking import read_toml, validate
from edgedistill.errors import ConfigError, Fault, nearest
from edgedistill.profiles._faults import faults_of
from edgedistill.profiles._known import CPUS
from edgedistill.profiles._machine import cpu_features, is_of_system, is_this_machine, kernels
from edgedistill.spec import Target

__all__ = [
    "CPUS",
    "EVERY",
    "Explanation",
    "chosen",
    "cpu_features",
    "explain",
    "is_of_system",
    "is_this_machine",
    "kernels",
    "load_target",
    "only",
    "warning",
]
Document = dict[str, Any]
EVERY = "all"  # the name that stands for every shipped profile
VALUE = re.compile(r"(?P<fact>.+)\.value(\.\d+)?")


def load_target(which: str) -> Target:
    """A checked target profile, by its shipped name or by the path of a TOML file. Raises ConfigError with every fault."""
    layers = _layers(which)
    whole = _laid_over(layers.base, layers.own)
    more = faults_of(whole)
    target, faults = validate(Target, whole, layers.file.stem)
    faults = _one_each([*map(_of_a_value, faults), *more])
    if faults or target is None:
        raise ConfigError(_placed(fault, layers) for fault in faults)
    return target


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layers:
    """A profile as it is written, and the one that it is laid over: itself and an empty one where it extends nothing."""

    file: Path
    own: Document
    base_file: Path
    base: Document


def _layers(which: str) -> _Layers:
    """Raises ConfigError when a file cannot be read, or extends what it cannot."""
    file = _file(which)
    own = read_toml(file)
    base_file, base = _base(file, own)
    return _Layers(file=file, own=own, base_file=base_file, base=base)


def _file(which: str) -> Path:
    """The file of a profile, by its shipped name or its own path."""
    return Path(which) if which.endswith(".toml") or "/" in which else plugins.data_file("targets", which)


def chosen(names: Sequence[str]) -> list[str]:
    """The names that were asked for, once each; `all` stands for every shipped profile."""
    return list(dict.fromkeys(one for name in names for one in (plugins.data_files("targets") if name == EVERY else (name,))))


def warning(target: Target) -> str | None:
    """What somebody who builds for this target must hear first; None where there is nothing."""
    if target.status != "deprecated":
        return None
    return f"the target '{target.name}' is DEPRECATED: {target.runtime.provider.note or target.summary} ({target.runtime.provider.source})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a profile says of a scheme: `allowed` (at which `rank`, 1 is tried first), `forbidden` or `not listed`, and on whose word."""

    target: str
    scheme: str
    verdict: str
    why: str
    rank: int | None = None
    note: str = ""
    source: str = ""


def explain(target: Target, scheme: str) -> Explanation:
    """Whether a target takes a scheme, and why. Raises ConfigError with the nearest names for an unknown scheme."""
    schemes.parse(scheme)
    allowed = target.quantization.allowed
    for rank, entry in enumerate(allowed, 1):
        if entry.scheme == scheme:
            why = f"number {rank} of the {len(allowed)} that a build tries, best first"
            return Explanation(target=target.name, scheme=scheme, verdict="allowed", why=why, rank=rank, note=entry.note, source=entry.source)
    place = _refusal(target, scheme)
    if place is not None:
        refused = target.quantization.forbidden[place]
        why = refused.why if refused.scheme == scheme else f"it follows its base scheme '{refused.scheme}', which is forbidden: {refused.why}"
        return Explanation(target=target.name, scheme=scheme, verdict="forbidden", why=why, source=refused.source)
    why = "no source of this profile speaks for it or against it; a build does not try it"
    return Explanation(target=target.name, scheme=scheme, verdict="not listed", why=why, note=f"tried are {', '.join(one.scheme for one in allowed)}")


def _refusal(target: Target, scheme: str) -> int | None:
    """The place of the entry that forbids a scheme, its own or that of the scheme that a `-mixed` one follows; None where nothing does."""
    forbidden = [one.scheme for one in target.quantization.forbidden]
    return next((forbidden.index(name) for name in (scheme, schemes.parse(scheme).unmixed) if name in forbidden), None)


def only(target: Target, scheme: str, which: str = "") -> Target:
    """The target, asked for as `which`, with one scheme allowed.

    Raises ConfigError, with the place in the file and the profile's reason and source, when it does not allow the scheme.
    """
    found, asked = explain(target, scheme), which or target.name
    if found.verdict == "forbidden":
        where = f"quantization.forbidden.{_refusal(target, scheme)}"
        raise ConfigError([_placed(Fault(where, f"'{scheme}' is forbidden: {found.why}", f"its source: {found.source}"), _layers(asked))])
    if found.verdict != "allowed":
        known = ", ".join(one.scheme for one in target.quantization.allowed)
        raise ConfigError([Fault(f"{asked}: quantization.allowed", f"'{scheme}' is not listed", f"listed: {known}")])
    allowed = tuple(one for one in target.quantization.allowed if one.scheme == scheme)
    return replace(target, quantization=replace(target.quantization, allowed=allowed))


def _base(file: Path, own: Document) -> tuple[Path, Document]:
    """The profile that one extends, and its file; an empty one where it extends nothing. One level is all there is."""
    name = own.get("extends")
    if not name or not isinstance(name, str):
        return file, {}
    found = _base_file(file, name)
    where = f"{file}: extends"
    if found.resolve() == file.resolve():
        raise ConfigError([Fault(where, "a profile cannot extend itself")])
    base = read_toml(found)
    if "extends" in base:
        cycle = isinstance(base["extends"], str) and _base_file(found, base["extends"]).resolve() == file.resolve()
        what = f"a cycle: '{name}' extends this profile" if cycle else f"'{name}' itself extends '{base['extends']}'; one level is all there is"
        raise ConfigError([Fault(where, what, "" if cycle else f"extend '{base['extends']}', and copy what you need of '{name}'")])
    return found, base


def _base_file(file: Path, name: str) -> Path:
    """A shipped profile of that name, else a file beside."""
    shipped = plugins.data_files("targets")
    beside = file.parent / (name if name.endswith(".toml") else f"{name}.toml")
    if name in shipped:
        return shipped[name]
    if not beside.is_file():
        known = {*shipped, *(one.stem for one in file.parent.glob("*.toml") if one != file)}
        raise ConfigError([Fault(f"{file}: extends", f"unknown target '{name}'", nearest(name.removesuffix(".toml"), known))])
    return beside


def _laid_over(base: Document, own: Document) -> Document:
    """Tables merge key by key. A list replaces a list, and a fact replaces a fact: its note and source belong to its value."""
    whole = dict(base)
    for key, value in own.items():
        before = base.get(key)
        merges = isinstance(value, dict) and isinstance(before, dict) and "value" not in {*value, *before}
        whole[key] = _laid_over(before, value) if merges and isinstance(before, dict) else _copied(value)
    return {key: _copied(value) for key, value in whole.items()}


def _copied(value: Any) -> Any:
    """Tables of its own: the check leaves out of them what is wrong."""
    return {key: _copied(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def _of_a_value(fault: Fault) -> Fault:
    """A value may be of five kinds: one sentence instead of a fault for each."""
    match = VALUE.fullmatch(fault.where)
    if match is None or fault.what in ("is missing", "unknown key"):
        return fault
    found = fault.what[fault.what.rindex("(found") :] if "(found" in fault.what else ""
    return Fault(f"{match['fact']}.value", f"a number, a text, or a list of whole numbers or of texts {found}".strip())


def _one_each(faults: Iterable[Fault]) -> list[Fault]:
    """The first fault of each place: a value of the wrong kind is out of bounds as well."""
    first: dict[str, Fault] = {}
    for fault in faults:
        first.setdefault(fault.where, fault)
    return list(first.values())


def _placed(fault: Fault, layers: _Layers) -> Fault:
    """The fault with the file that it is in."""
    holder = layers.base_file if _is_inherited(layers.own, layers.base, fault.where.split(".")) else layers.file
    return Fault(f"{holder}: {fault.where}", fault.what, fault.hint)


def _is_inherited(own: Any, base: Any, place: Sequence[str]) -> bool:
    """Whether what stands at a place is the base's: merged tables go on, lists and facts were replaced whole."""
    for part in place:
        if not isinstance(own, dict) or not isinstance(base, dict) or "value" in {*own, *base}:
            return False
        if part not in own:
            return part in base
        own, base = own[part], base.get(part)
    return False
