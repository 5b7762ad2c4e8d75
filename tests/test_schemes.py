"""The grammar of schemes: held against a regular expression that was written beside the sentence, not read from the table."""

from __future__ import annotations

import re
from itertools import permutations

import pytest

from edgedistill import quantizers, schemes
from edgedistill.errors import ConfigError

DYNAMIC = r"int8-dynamic(((-per-channel)?(-reduced)?|-u8u8)(-mixed)?|-int4-embeddings)"
STATIC = r"int8-static-(s8s8|u8s8|u8u8)(-per-channel)?(-reduced)?(-percentile|-entropy)?(-mixed)?"
GRAMMAR = re.compile(rf"fp32|fp16|{DYNAMIC}|{STATIC}|int16-static-u16u8|int4-weights|int8-pt2e")


def test_names_are_those_of_the_grammar_when_listed() -> None:
    names = schemes.names()
    assert len(set(names)) == len(names) == 5 + (2 * 2 + 1) * 2 + 1 + 3 * 2 * 2 * 3 * 2  # fixed, dynamic, static: counted by hand
    assert all(GRAMMAR.fullmatch(name) for name in names)


@pytest.mark.parametrize("name", [*schemes.names(), "int8-qoperator-s8s8"])
def test_scheme_says_what_its_name_says_when_parsed(name: str) -> None:
    scheme = schemes.parse(name)
    assert scheme.name == name
    assert name.startswith(scheme.base)
    assert scheme.per_channel == ("per-channel" in name)
    assert scheme.reduced == ("reduced" in name)
    assert scheme.mixed == name.endswith("-mixed")
    for calibration in ("percentile", "entropy"):
        assert (scheme.calibration == calibration) == (calibration in name)


@pytest.mark.parametrize(
    ("name", "activations", "weights", "calibration"),
    [
        ("fp16", "fp16", "fp16", ""),
        ("int8-dynamic-per-channel", "u8", "s8", ""),
        ("int8-dynamic-u8u8-mixed", "u8", "u8", ""),
        ("int8-static-s8s8", "s8", "s8", "minmax"),
        ("int8-static-u8s8-reduced-entropy", "u8", "s8", "entropy"),
        ("int16-static-u16u8", "u16", "u8", "minmax"),
        ("int4-weights", "fp32", "s4", ""),
    ],
)
def test_numbers_of_a_scheme_are_these_when_parsed(name: str, activations: str, weights: str, calibration: str) -> None:
    scheme = schemes.parse(name)
    assert (scheme.activations, scheme.weights, scheme.calibration) == (activations, weights, calibration)


def test_modifiers_have_one_order_when_combined() -> None:
    parts = ("per-channel", "reduced", "entropy", "mixed")
    for order in permutations(parts):
        name = "-".join(["int8-static-u8s8", *order])
        if order == parts:
            assert schemes.parse(name).mixed
        else:
            with pytest.raises(ConfigError):
                schemes.parse(name)


@pytest.mark.parametrize(
    "name",
    ["", "int8", "fp32-mixed", "int8-static", "int8-static-s8u8", "int4-weights-mixed", "int8-dynamic-entropy", "int8-dynamic-", "int8-pt2e-reduced"],
)
def test_scheme_is_a_fault_when_it_is_outside_the_grammar(name: str) -> None:
    assert GRAMMAR.fullmatch(name) is None
    with pytest.raises(ConfigError, match="unknown scheme") as caught:
        schemes.parse(name)
    assert caught.value.exit_code == 2


def test_unknown_scheme_names_the_nearest_when_misspelt() -> None:
    with pytest.raises(ConfigError) as caught:
        schemes.parse("int8-statc-u8s8")
    assert caught.value.hint.startswith("did you mean 'int8-static-u8s8'")


def test_engines_make_every_scheme_of_the_grammar() -> None:
    missing = [name for name in schemes.names() if quantizers.engine_of(name) is None]
    assert not missing
