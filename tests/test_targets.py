"""Target profiles: every number sourced, every scheme known, every fault with the nearest name."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from edgedistill import plugins
from edgedistill.config import load_target
from edgedistill.errors import ConfigError
from edgedistill.quantizers.onnxruntime import SCHEMES
from edgedistill.spec import Fact

TARGETS = plugins.data_files("targets")
assert len(TARGETS) >= 3


def written(folder: Path, text: str, name: str = "mine.toml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def numbers(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every number of a TOML document, with the source that stands in the same table."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from numbers(item, f"{path}.{index}")
    elif isinstance(node, dict):
        for key, value in node.items():
            if isinstance(value, int | float):
                yield f"{path}.{key}", str(node.get("source", ""))
            yield from numbers(value, f"{path}.{key}")


@pytest.mark.parametrize("name", TARGETS)
def test_target_loads_and_is_named_after_its_file_when_shipped(name: str) -> None:
    assert load_target(name).name == name


@pytest.mark.parametrize("name", TARGETS)
def test_numbers_of_a_target_have_a_source_when_shipped(name: str) -> None:
    document = tomllib.loads(TARGETS[name].read_text(encoding="utf-8"))
    found = list(numbers(document))
    assert len(found) >= 8
    unsourced = [where for where, source in found if urlsplit(source).scheme != "https" or "." not in urlsplit(source).netloc]
    assert not unsourced


@pytest.mark.parametrize("name", TARGETS)
def test_schemes_of_a_target_are_known_and_sourced_when_shipped(name: str) -> None:
    quantization = load_target(name).quantization
    allowed, forbidden = [entry.scheme for entry in quantization.allowed], [entry.scheme for entry in quantization.forbidden]
    assert allowed
    assert set(allowed) <= SCHEMES.keys()
    assert not set(allowed) & set(forbidden)
    assert len(set(allowed + forbidden)) == len(allowed + forbidden)
    assert all(urlsplit(entry.source).scheme == "https" for entry in (*quantization.allowed, *quantization.forbidden))


@pytest.mark.parametrize("name", TARGETS)
def test_budgets_of_a_target_can_be_held_when_shipped(name: str) -> None:
    target = load_target(name)
    for fact in (target.budget.model_mb, target.budget.accuracy_drop, target.parity.fp32_max_abs, target.parity.int8_agreement):
        assert isinstance(fact, Fact)
        assert isinstance(fact.value, float | int)
        assert fact.value > 0
    assert target.parity.int8_agreement.value <= 1  # type: ignore[operator]


def test_target_loads_when_given_by_path(tmp_path: Path) -> None:
    text = TARGETS["linux-x64"].read_text(encoding="utf-8")
    target = load_target(str(written(tmp_path, text, "my-box.toml")))
    assert target.name == "my-box"
    assert target.runtime == load_target("linux-x64").runtime


def test_target_lists_every_fault_when_keys_are_unknown_or_missing(tmp_path: Path) -> None:
    text = TARGETS["linux-x64"].read_text(encoding="utf-8").replace('arch = "', 'arhc = "').replace('status = "', 'statsu = "')
    with pytest.raises(ConfigError) as caught:
        load_target(str(written(tmp_path, text)))
    found = {fault.where.rpartition(": ")[2]: fault for fault in caught.value.faults}
    assert found.keys() == {"statsu", "status", "platform.arhc", "platform.arch"}
    assert found["platform.arhc"].hint.startswith("did you mean 'arch'?")
    assert found["platform.arch"].what == "is missing"


def test_target_is_a_fault_when_a_scheme_is_allowed_and_forbidden(tmp_path: Path) -> None:
    text = TARGETS["linux-x64"].read_text(encoding="utf-8").replace("forbidden = [", 'forbidden = [{ scheme = "fp32", why = "w", source = "s" },')
    with pytest.raises(ConfigError, match="'fp32' is both allowed and forbidden"):
        load_target(str(written(tmp_path, text)))


def test_unknown_target_names_the_nearest_when_misspelt() -> None:
    with pytest.raises(ConfigError) as caught:
        load_target("andriod-arm64")
    assert "unknown target 'andriod-arm64'" in str(caught.value)
    assert "did you mean 'android-arm64'?" in str(caught.value)
    assert all(name in str(caught.value) for name in TARGETS)
