"""targets and explain: the profiles as a list, one as a page, a verdict on a scheme, a check of profiles of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from textwrap import wrap
from typing import Any

from edgedistill import plugins, profiles
from edgedistill.errors import ConfigError, Fault
from edgedistill.faces import print_json
from edgedistill.spec import Fact, Target, plain

WIDTH = 110
MARGIN = 16
STATUS = {
    "stable": "stable",
    "experimental": "experimental: the way to run it is young, and nobody here has timed such a device",
    "unmeasured": "unmeasured: every rule has its source, but nobody here has timed such a device",
}
USAGE = "`targets`, `targets show NAME` or `targets check FILE…`"


def run(words: Sequence[str], *, as_json: bool) -> None:
    """List the profiles; `show NAME`, or just `NAME`, prints one; `check FILE…` validates profiles of one's own."""
    verb, names = (words[0], words[1:]) if words and words[0] in ("show", "check") else ("show" if words else "", words)
    if (verb and not names) or (verb == "show" and len(names) > 1):
        raise ConfigError(f"edgedistill targets {' '.join(words)}: expected {USAGE}")
    if verb == "check":
        check(names, as_json=as_json)
    elif verb == "show":
        show(names[0], as_json=as_json)
    else:
        listing(as_json=as_json)


def listing(*, as_json: bool) -> None:
    """Every shipped profile: name, status, summary."""
    targets = [profiles.load_target(name) for name in plugins.data_files("targets")]
    if as_json:
        rows = {target.name: {"status": target.status, "summary": target.summary} for target in targets}
        print_json({"schema": "edgedistill.targets/1", "targets": rows})
        return
    widths = max(len(target.name) for target in targets), max(len(target.status) for target in targets)
    for target in targets:
        print(f"{target.name:{widths[0]}}  {target.status:{widths[1]}}  {target.summary}")


def show(name: str, *, as_json: bool) -> None:
    """One profile, as a page or as `edgedistill.target/1`."""
    target = profiles.load_target(name)
    if as_json:
        print_json({"schema": "edgedistill.target/1", **plain(target)})
    else:
        print("\n".join(page(target)))


def check(files: Sequence[str], *, as_json: bool) -> None:
    """Say that profiles are sound. Raises ConfigError with every fault of all of them."""
    faults: list[Fault] = []
    sound = []
    for file in files:
        try:
            sound.append(profiles.load_target(file))
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError(faults)
    if as_json:
        print_json({"schema": "edgedistill.check/1", "sound": list(files)})
        return
    for file, target in zip(files, sound, strict=True):
        print(f"{file}: sound, {_count(target)}")


def explain(name: str, scheme: str, *, as_json: bool) -> None:
    """Whether a target takes a scheme, why, and on whose word."""
    found = profiles.explain(profiles.load_target(name), scheme)
    if as_json:
        print_json({"schema": "edgedistill.explain/1", **asdict(found)})
        return
    print(f"{found.scheme} on {found.target}: {found.verdict}")
    for label, text in (("why", found.why), ("note", found.note), ("source", found.source)):
        if text:
            print("\n".join(_entry(label, text, "")))


def page(target: Target) -> Iterator[str]:
    """A profile's page, line by line; sources are footnotes."""
    notes = _Footnotes()
    yield f"{target.name} — {target.summary}"
    yield from _status(target)
    yield from _platform(target)
    yield from _facts("runtime", {name: fact for name, fact in _named(target.runtime) if isinstance(fact, Fact)}, notes)
    yield from _facts("session options", target.runtime.session, notes)
    yield from _facts("provider options", target.runtime.options, notes)
    yield from _facts("never install", {f"{index}.": fact for index, fact in enumerate(target.runtime.known_bad, 1)}, notes)
    yield from _facts("graph", {name: fact for name, fact in _named(target.graph) if fact is not None}, notes)
    yield from _schemes(target, notes)
    yield from _facts("budget", dict(_named(target.budget)), notes)
    yield from _facts("parity", {name: fact for name, fact in _named(target.parity) if isinstance(fact, Fact)}, notes)
    kept = dict(_named(target.parity.fidelity)) if target.parity.fidelity else {}
    yield from _facts("fidelity of models that came as ONNX", {name: fact for name, fact in kept.items() if fact is not None}, notes)
    yield from _facts("largest difference between CPUs, by scheme", target.parity.kernels, notes)
    yield from _facts("check", {name: fact for name, fact in _named(target.check) if fact is not None} if target.check else {}, notes)
    yield from ("", "sources", *notes.lines())


class _Footnotes:
    """Numbers for addresses, in the order in which they are met."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, source: str) -> str:
        return f"[{self._numbers.setdefault(source, len(self._numbers) + 1)}]"

    def lines(self) -> list[str]:
        return [f"  {f'[{number}]':>5} {source}" for source, number in self._numbers.items()]


def _status(target: Target) -> Iterator[str]:
    loud = profiles.warning(target)
    if loud is not None:
        yield from ("", "!" * WIDTH, *wrap(loud, WIDTH), "!" * WIDTH)
    else:
        yield STATUS[target.status]
    based = f", laid over {target.extends}" if target.extends else ""
    yield f"reached by {target.transport}{based}"


def _platform(target: Target) -> Iterator[str]:
    platform = target.platform
    yield from ("", "platform", f"  {'system':{MARGIN}} {platform.os} on {platform.arch} ({platform.abi})")
    for label, names in (("requires", platform.requires), ("prefers", platform.prefers), ("lacks", platform.lacks)):
        if names:
            yield f"  {label:{MARGIN}} {', '.join(names)}"
    yield f"  {'this machine':{MARGIN}} {'is one of them' if profiles.is_this_machine(target) else 'is not one of them'}"


def _facts(title: str, facts: Mapping[str, Fact], notes: _Footnotes) -> Iterator[str]:
    if facts:
        yield from ("", title)
    for name, fact in facts.items():
        shown = ", ".join(map(str, fact.value)) or "none" if isinstance(fact.value, tuple) else str(fact.value)
        yield from _entry(name, f"{shown} {notes.mark(fact.source)}", fact.note)


def _schemes(target: Target, notes: _Footnotes) -> Iterator[str]:
    yield from ("", "schemes that a build tries, best first")
    for rank, entry in enumerate(target.quantization.allowed, 1):
        yield from _entry(f"{rank}.", f"{entry.scheme} {notes.mark(entry.source)}", entry.note, margin=4)
    if target.quantization.forbidden:
        yield from ("", "forbidden")
    for refused in target.quantization.forbidden:
        yield from _entry("−", f"{refused.scheme} {notes.mark(refused.source)}", refused.why, margin=4)


def _entry(label: str, text: str, note: str, *, margin: int = MARGIN) -> Iterator[str]:
    """A label, its text, and the note below; long labels get a line of their own."""
    indent = " " * (margin + 3)
    if len(label) > margin:
        yield f"  {label}"
        label = ""
    yield from wrap(text, WIDTH, initial_indent=f"  {label:{margin}} ", subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)
    yield from wrap(note, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)


def _named(noun: Any) -> list[tuple[str, Any]]:
    return [(name, getattr(noun, name)) for name in noun.__dataclass_fields__]


def _count(target: Target) -> str:
    count = len(target.quantization.allowed)
    return f"{count} scheme{'s' if count > 1 else ''} for the profile '{target.name}'"
