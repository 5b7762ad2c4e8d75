"""The names of quantisation schemes: a base, then what changes it, in a fixed order.

    fp32 · fp16 · int4-weights · int8-pt2e · int16-static-u16u8 · int8-dynamic-u8u8 · int8-dynamic-int4-embeddings
    int8-dynamic[-per-channel][-reduced][-mixed]
    int8-static-{s8s8,u8s8,u8u8}[-per-channel][-reduced][-percentile|-entropy][-mixed]

`s8s8` says activations, then weights. `per-channel` has one scale for each output channel of a weight; `reduced` keeps weights in seven bits,
so that two products fit the 16 bits of AVX2's multiply-add; `percentile` and `entropy` are how calibration clips activations; `mixed` leaves
the operators that hurt most in fp32, found by measuring. `int8-qoperator-s8s8` is named only to be forbidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from edgedistill.errors import ConfigError, nearest

MIXED = "-mixed"
REFUSED = ("int8-qoperator-s8s8",)  # no engine makes them
PLAIN = ("fp32", "fp16", "int4-weights", "int8-pt2e", "int16-static-u16u8", "int8-dynamic-u8u8", "int8-dynamic-int4-embeddings", *REFUSED)
TYPES = ("s8s8", "u8s8", "u8u8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """A parsed name. `activations` and `weights` are types such as `u8`, empty where the base has none; `calibration` is `minmax` if unsaid."""

    name: str
    base: str
    activations: str = ""
    weights: str = ""
    per_channel: bool = False
    reduced: bool = False
    calibration: str = "minmax"
    mixed: bool = False

    @property
    def unmixed(self) -> str:
        """The name without `-mixed`."""
        return self.name.removesuffix(MIXED)


def names() -> list[str]:
    """Every name of the grammar."""
    return [*PLAIN, *_FAMILIES]


def parse(name: str) -> Scheme:
    """What a name says. Raises ConfigError with the nearest known names when it is none."""
    if name in _FAMILIES:
        return _FAMILIES[name]
    if name not in PLAIN:
        raise ConfigError(f"unknown scheme '{name}'", hint=nearest(name, names()))
    types = {"int16-static-u16u8": ("u16", "u8"), "int8-dynamic-u8u8": ("u8", "u8"), "int8-dynamic-int4-embeddings": ("u8", "s8")}
    activations, weights = types.get(name, ("", ""))
    return Scheme(name=name, base=name, activations=activations, weights=weights)


def _families() -> dict[str, Scheme]:
    found = {}
    bases: list[tuple[str, str, str, tuple[str, ...]]] = [("int8-dynamic", "u8", "s8", ("minmax",))]
    bases += [(f"int8-static-{types}", types[:2], types[2:], ("minmax", "percentile", "entropy")) for types in TYPES]
    for base, activations, weights, calibrations in bases:
        for per_channel, reduced, calibration, mixed in product((False, True), (False, True), calibrations, (False, True)):
            parts = ("per-channel" if per_channel else "", "reduced" if reduced else "", calibration.replace("minmax", ""), "mixed" if mixed else "")
            name = "-".join([base, *filter(None, parts)])
            found[name] = Scheme(
                name=name,
                base=base,
                activations=activations,
                weights=weights,
                per_channel=per_channel,
                reduced=reduced,
                calibration=calibration,
                mixed=mixed,
            )
    return found


_FAMILIES = _families()
