"""What a scheme's name means: a base, then modifiers in one order. Profiles and engines read the same grammar.

    fp32 · fp16 · int8-dynamic[-per-channel][-reduced] · int8-dynamic-u8u8 · int8-dynamic-int4-embeddings
    int8-static-{s8s8,u8s8,u8u8}[-per-channel][-reduced][-percentile|-entropy] · int16-static-u16u8 · int4-weights · int8-pt2e

Any int8-dynamic… and int8-static… but the one with 4-bit embeddings may end in `-mixed`: the operators that hurt stay fp32, found by measuring.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product

from edgedistill.errors import ConfigError

Number = str  # a number's type as profiles write it: fp32, fp16, u8, s8, u16, s4


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A way to quantise before it is modified. Each of `choices` is a place in the name, where one of them or nothing may stand."""

    activations: Number
    weights: Number
    choices: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """A name, taken apart. `reduced` weights have 7 bits; `calibration` is how ranges of activations are found, empty where none are needed."""

    name: str
    base: str
    activations: Number
    weights: Number
    per_channel: bool = False
    reduced: bool = False
    calibration: str = ""
    mixed: bool = False

    @property
    def unmixed(self) -> str:
        """The name without `-mixed`."""
        return self.name.removesuffix("-mixed")


CHANNELS, RANGE, CALIBRATION, MIXED = ("per-channel",), ("reduced",), ("percentile", "entropy"), ("mixed",)
STATIC = (CHANNELS, RANGE, CALIBRATION, MIXED)

SCHEMES = {
    "fp32": Base(activations="fp32", weights="fp32"),
    "fp16": Base(activations="fp16", weights="fp16"),
    "int8-dynamic": Base(activations="u8", weights="s8", choices=(CHANNELS, RANGE, MIXED)),
    "int8-dynamic-u8u8": Base(activations="u8", weights="u8", choices=(MIXED,)),
    "int8-dynamic-int4-embeddings": Base(activations="u8", weights="s8"),
    "int8-static-s8s8": Base(activations="s8", weights="s8", choices=STATIC),
    "int8-static-u8s8": Base(activations="u8", weights="s8", choices=STATIC),
    "int8-static-u8u8": Base(activations="u8", weights="u8", choices=STATIC),
    "int16-static-u16u8": Base(activations="u16", weights="u8"),
    "int4-weights": Base(activations="fp32", weights="s4"),
    "int8-pt2e": Base(activations="u8", weights="s8"),
    "int8-qoperator-s8s8": Base(activations="s8", weights="s8"),
}
REFUSED = frozenset({"int8-qoperator-s8s8"})  # no engine builds these: a profile may only forbid them
CALIBRATED = ("int8-static-", "int16-static-", "int8-pt2e", "int8-qoperator-")


def parse(name: str) -> Scheme:
    """The scheme behind a name. Raises ConfigError with the nearest known names."""
    for base in sorted(SCHEMES, key=len, reverse=True):  # int8-dynamic-u8u8 before int8-dynamic
        modifiers = _modifiers(name, base)
        if modifiers is not None:
            return _scheme(name, base, modifiers)
    raise ConfigError(f"unknown scheme '{name}'", hint=_near(name))


def names() -> tuple[str, ...]:
    """Every scheme that an engine builds, the plain ones first."""
    return tuple(name for base in SCHEMES if base not in REFUSED for name in _family(base))


def begins(known: Iterable[str], scheme: str) -> str | None:
    """The longest of the names that begin a scheme's name as whole words: `int8` and `int8-dynamic` both begin `int8-dynamic-reduced`."""
    return max((one for one in known if scheme == one or scheme.startswith(f"{one}-")), key=len, default=None)


def _family(base: str) -> Iterable[str]:
    for chosen in product(*(("", *choice) for choice in SCHEMES[base].choices)):
        yield "-".join([base, *filter(None, chosen)])


def _modifiers(name: str, base: str) -> frozenset[str] | None:
    """The modifiers that stand after a base; None where the name is not of this base, or goes on with something else."""
    if not name.startswith(base):
        return None
    rest, found = name.removeprefix(base), set()
    for choice in SCHEMES[base].choices:
        for modifier in choice:
            if rest == f"-{modifier}" or rest.startswith(f"-{modifier}-"):
                rest = rest.removeprefix(f"-{modifier}")
                found.add(modifier)
                break
    return None if rest else frozenset(found)


def _scheme(name: str, base: str, modifiers: frozenset[str]) -> Scheme:
    ranges = next((modifier for modifier in CALIBRATION if modifier in modifiers), "minmax" if base.startswith(CALIBRATED) else "")
    return Scheme(
        name=name,
        base=base,
        activations=SCHEMES[base].activations,
        weights=SCHEMES[base].weights,
        per_channel="per-channel" in modifiers,
        reduced="reduced" in modifiers,
        calibration=ranges,
        mixed="mixed" in modifiers,
    )


def _near(name: str) -> str:
    """The three nearest names, and the bases: all names would fill a screen."""
    close = get_close_matches(name, [*names(), *REFUSED], n=3, cutoff=0.5)
    bases = f"bases: {', '.join(SCHEMES)}; modifiers, in this order: -per-channel -reduced -percentile|-entropy -mixed"
    return f"did you mean {' or '.join(repr(one) for one in close)}? ({bases})" if close else bases
