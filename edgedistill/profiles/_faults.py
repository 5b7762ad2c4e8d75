"""What types cannot say about a profile: sources, schemes, names, bounds. Read from the tables, so that one wrong key does not hide the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from edgedistill import schemes
from edgedistill.errors import ConfigError, Fault, nearest
from edgedistill.profiles import _known

SOURCE_HINT = "say where this comes from, as https://…: a page, an issue, a paper, a measurement of your own"
ATTENTION = ("fused", "plain")
SHAPES = ("dynamic", "bucketed", "fixed")
WORDS = {"source": SOURCE_HINT, "why": "say what goes wrong with it: whoever asks for the scheme is told"}


def faults_of(document: Mapping[str, Any]) -> list[Fault]:
    """Every fault, with its dotted place."""
    parts = (_silent, _platform_faults, _scheme_faults, _bound_faults, _runtime_faults, _shape_faults, _check_faults, _cpu_faults)
    return [fault for part in parts for fault in part(document)]


def _silent(node: Any, where: str = "") -> Iterator[Fault]:
    """Sources and reasons that are there, but empty, and sources that nobody can follow."""
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        place = f"{where}.{key}" if where else str(key)
        if key in WORDS and isinstance(value, str) and not value.strip():
            yield Fault(place, "is empty", WORDS[str(key)])
        elif key == "source" and isinstance(value, str) and not _known.ADDRESS.fullmatch(value):
            yield Fault(place, f"is no address (found {value!r})", SOURCE_HINT)
        yield from _silent(value, place)


def _platform_faults(document: Mapping[str, Any]) -> Iterator[Fault]:
    system = _at(document, "platform.os")
    if isinstance(system, str) and system not in _known.SYSTEMS:
        yield Fault("platform.os", f"unknown system '{system}'", nearest(system, _known.SYSTEMS))
    for group in ("requires", "prefers", "lacks"):
        for index, name in _items(document, f"platform.{group}"):
            if name not in _known.FEATURES:
                yield Fault(f"platform.{group}.{index}", f"unknown feature '{name}'", nearest(name, _known.FEATURES))
    required = [name for _, name in _items(document, "platform.requires")]
    for index, name in _items(document, "platform.lacks"):
        if name in required:
            where = f"platform.requires.{required.index(name)}"
            yield Fault(f"platform.lacks.{index}", f"'{name}' is required as well ({where}): no device is of this kind")


def _items(document: Mapping[str, Any], dotted: str) -> Iterator[tuple[int, str]]:
    """The texts of a list, with their places in it."""
    found = _at(document, dotted)
    return ((index, item) for index, item in enumerate(found if isinstance(found, list) else ()) if isinstance(item, str))


def _scheme_faults(document: Mapping[str, Any]) -> Iterator[Fault]:
    seen: dict[str, str] = {}
    for group in ("allowed", "forbidden"):
        for index, name in _names(document, group):
            where = f"quantization.{group}.{index}.scheme"
            if name in seen:
                twice = seen[name].startswith(f"quantization.{group}.")
                yield Fault(where, f"'{name}' is listed twice" if twice else f"'{name}' is both allowed and forbidden")
                if not twice:
                    yield Fault(seen[name], f"'{name}' is forbidden too", "a list of your own in [quantization] forbidden replaces an extended one")
                continue
            seen[name] = where
            yield from _unknown(where, name)
            if group == "allowed" and name in schemes.REFUSED:
                yield Fault(where, f"'{name}' is a scheme that nobody should ship: a profile can only forbid it")
    if _at(document, "quantization.allowed") == []:
        yield Fault("quantization.allowed", "is empty", "fp32 runs almost everywhere")


def _names(document: Mapping[str, Any], group: str) -> Iterator[tuple[int, str]]:
    entries = _at(document, f"quantization.{group}")
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, Mapping) and isinstance(entry.get("scheme"), str):
            yield index, entry["scheme"]


def _unknown(where: str, name: str) -> Iterator[Fault]:
    try:
        schemes.parse(name)
    except ConfigError as error:
        yield Fault(where, f"unknown scheme '{name}'", error.faults[0].hint)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and value >= 1


def _not_negative(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value < math.inf


def _above_zero(value: Any) -> bool:
    return _not_negative(value) and value > 0


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text, value)) and len(set(value)) == len(value)


def _version(value: Any) -> bool:
    return isinstance(value, str) and _known.VERSION.fullmatch(value) is not None


def _one_of(numbers: range) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: isinstance(value, int) and value in numbers), f"a whole number from {numbers[0]} to {numbers[-1]}"


def _share(value: Any) -> bool:
    return _not_negative(value) and value <= 1


def _rising(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_whole, value)) and value == sorted(set(value))


BOUNDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "runtime.package": (_text, "a text"),
    "runtime.min_ort": (_version, 'a version as a text, such as "1.22"'),
    "runtime.provider": (_text, "a text"),
    "runtime.threads": (_whole, "a whole number, at least 1"),
    "runtime.opset": _one_of(_known.OPSETS),
    "runtime.ir_version_max": _one_of(_known.IR_VERSIONS),
    "graph.shapes": (lambda value: value in SHAPES, f"one of {', '.join(SHAPES)}"),
    "graph.attention": (lambda value: value in ATTENTION, f"one of {', '.join(ATTENTION)}"),
    "graph.buckets": (_rising, "a list of token counts that rises"),
    "budget.model_mb": (_above_zero, "a number above 0"),
    "budget.accuracy_drop": (_share, "a share from 0 to 1"),
    "parity.fp32_max_abs": (_above_zero, "a number above 0"),
    "parity.int8_agreement": (_share, "a share from 0 to 1"),
    "parity.int8_drop": (_share, "a share from 0 to 1"),
    "parity.kernel_agreement": (_share, "a share from 0 to 1"),
    "parity.fidelity.cosine": (_share, "a share from 0 to 1"),
    "parity.fidelity.sqnr_db": (_not_negative, "decibels, a number from 0"),
    "parity.fidelity.items": (_share, "a share from 0 to 1"),
    "parity.fidelity.not_finite": (_share, "a share from 0 to 1"),
    "check.emulate": (_texts, "a list of CPUs, each once, empty for none"),
    "check.rows": (_whole, "a whole number, at least 1"),
    "check.cost": (_text, "the name of a CPU"),
}


def _bound_faults(document: Mapping[str, Any]) -> Iterator[Fault]:
    kernels = _at(document, "parity.kernels")
    tolerances = {f"parity.kernels.{scheme}": (_above_zero, "a number above 0") for scheme in kernels} if isinstance(kernels, Mapping) else {}
    for where, (holds, expected) in (BOUNDS | tolerances).items():
        fact = _at(document, where)
        if isinstance(fact, Mapping) and "value" in fact and (isinstance(fact["value"], bool) or not holds(fact["value"])):
            yield Fault(f"{where}.value", f"expected {expected} (found {fact['value']!r})")


def _runtime_faults(document: Mapping[str, Any]) -> Iterator[Fault]:
    name = _at(document, "runtime.provider.value")
    if _text(name) and name not in _known.RUNNERS:
        yield Fault("runtime.provider.value", f"unknown provider '{name}'", nearest(name, _known.RUNNERS))
    bad = _at(document, "runtime.known_bad")
    for index, fact in enumerate(bad if isinstance(bad, list) else ()):
        if isinstance(fact, Mapping) and "value" in fact and not (_text(fact["value"]) and fact["value"][0].isdigit()):
            yield Fault(f"runtime.known_bad.{index}.value", f'expected a version as a text, such as "1.21.0" (found {fact["value"]!r})')


def _shape_faults(document: Mapping[str, Any]) -> Iterator[Fault]:
    shapes, buckets = _at(document, "graph.shapes.value"), _at(document, "graph.buckets")
    if shapes == "bucketed" and buckets is None:
        yield Fault("graph.buckets", "is missing: bucketed shapes need the token counts to choose from")
    if shapes == "dynamic" and buckets is not None:
        yield Fault("graph.buckets", "says nothing where shapes are dynamic", "shapes = bucketed takes the smallest that holds the texts")


def _check_faults(document: Mapping[str, Any]) -> Iterator[Fault]:
    """Whoever emulates says what may differ, for every scheme that may come of a build."""
    kernels = _at(document, "parity.kernels")
    for scheme in kernels if isinstance(kernels, Mapping) else ():
        if not any(schemes.begins([scheme], name) for name in schemes.names()):
            yield Fault(f"parity.kernels.{scheme}", f"no scheme's name begins with '{scheme}'", "fp32, int8, int8-dynamic, int4 …")
    if not _at(document, "check.emulate.value"):
        return
    if _at(document, "parity.kernel_agreement") is None:
        yield Fault("parity.kernel_agreement", "is missing: an emulated CPU is held against this machine by it")
    known = list(kernels) if isinstance(kernels, Mapping) else []
    for _, name in _names(document, "allowed"):
        if schemes.begins(known, name) is None:
            yield Fault(
                "parity.kernels", f"says nothing of '{name}', which an emulated CPU may get", 'for example: int8 = { value = 0.1, source = "…" }'
            )
            return


def _cpu_faults(document: Mapping[str, Any]) -> Iterator[Fault]:
    """CPUs that qemu does not have here, or that run another instruction set than the device."""
    arch, cost, emulated = _at(document, "platform.arch"), _at(document, "check.cost.value"), list(_items(document, "check.emulate.value"))
    for index, name in emulated:
        cpu = _known.CPUS.get(name)
        if cpu is None:
            yield Fault(f"check.emulate.value.{index}", f"unknown emulated CPU '{name}'", nearest(name, _known.CPUS))
        elif isinstance(arch, str) and cpu.arch != arch:
            yield Fault(f"check.emulate.value.{index}", f"'{name}' is {cpu.arch}, and platform.arch is '{arch}'", _of_arch(arch))
    names = [name for _, name in emulated]
    if _text(cost) and cost not in names:
        yield Fault("check.cost.value", f"'{cost}' is not among check.emulate", nearest(cost, names))


def _of_arch(arch: str) -> str:
    names = [name for name, cpu in _known.CPUS.items() if cpu.arch == arch]
    return f"of {arch}: {', '.join(names)}" if names else f"no {arch} is emulated: an empty list says so"


def _at(document: Mapping[str, Any], dotted: str) -> Any:
    """What stands at a dotted place; None where nothing does."""
    node: Any = document
    for part in dotted.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node
