"""Target profiles: every number sourced, every scheme known, every fault with the nearest name."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from edgedistill import plugins, schemes
from edgedistill.config import load_target
from edgedistill.errors import ConfigError
from edgedistill.faces.targets import WIDTH, page
from edgedistill.spec import Fact, plain

TARGETS = plugins.data_files("targets")
assert len(TARGETS) >= 16


def written(folder: Path, text: str, name: str = "mine.toml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def numbers(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every number of a TOML document, with the source that stands in the same table; those of a list are its table's."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from numbers(item, f"{path}.{index}")
    elif isinstance(node, dict):
        for key, value in node.items():
            if isinstance(value, int | float) or (isinstance(value, list) and value and isinstance(value[0], int)):
                yield f"{path}.{key}", str(node.get("source", ""))
            yield from numbers(value, f"{path}.{key}")


def facts(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every table of a profile that must have a source: those with a value, and the schemes."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
    if isinstance(node, dict) and node.keys() & {"value", "scheme"}:
        yield path, node
    for key, value in items:
        yield from facts(value, f"{path}.{key}")


def is_address(source: str) -> bool:
    return urlsplit(source).scheme == "https" and "." in urlsplit(source).netloc


@pytest.mark.parametrize("name", TARGETS)
def test_target_loads_and_is_named_after_its_file_when_shipped(name: str) -> None:
    assert load_target(name).name == name


@pytest.mark.parametrize("name", TARGETS)
def test_numbers_of_a_target_have_a_source_when_written_down(name: str) -> None:
    found = list(numbers(tomllib.loads(TARGETS[name].read_text(encoding="utf-8"))))
    assert [where for where, source in found if not is_address(source)] == []


@pytest.mark.parametrize("name", TARGETS)
def test_every_fact_of_a_target_has_an_address_when_shipped(name: str) -> None:
    found = list(facts(plain(load_target(name))))
    assert len(found) >= 15  # runtime 6, graph 1, budget 2, parity 3, and at least two schemes allowed and one forbidden
    assert [where for where, fact in found if not is_address(fact["source"])] == []


@pytest.mark.parametrize("name", TARGETS)
def test_schemes_of_a_target_are_known_and_apart_when_shipped(name: str) -> None:
    quantization = load_target(name).quantization
    allowed, forbidden = [entry.scheme for entry in quantization.allowed], [entry.scheme for entry in quantization.forbidden]
    assert 1 <= len(allowed) <= 9
    assert [schemes.parse(scheme).name for scheme in allowed + forbidden] == allowed + forbidden
    assert set(allowed) <= set(schemes.names())
    assert len(set(allowed + forbidden)) == len(allowed + forbidden)
    assert all(entry.why for entry in quantization.forbidden)


@pytest.mark.parametrize("name", TARGETS)
def test_floating_point_is_reachable_when_every_quantised_scheme_fails(name: str) -> None:
    assert load_target(name).quantization.allowed[-1].scheme == "fp32"


@pytest.mark.parametrize("name", TARGETS)
def test_target_reads_as_a_page_when_shown(name: str) -> None:
    target = load_target(name)
    lines = list(page(target))
    assert max(map(len, lines)) <= WIDTH or all(" " not in line.strip() for line in lines[: lines.index("sources")] if len(line) > WIDTH)
    text = " ".join(" ".join(lines).split())
    assert lines[0] == f"{name} — {target.summary}"
    for entry in (*target.quantization.allowed, *target.quantization.forbidden):
        assert f"{entry.scheme} [" in text
    marked = {int(number) for number in re.findall(r"\[(\d+)\]", " ".join(lines[: lines.index("sources")]))}
    listed = lines[lines.index("sources") + 1 :]
    assert marked == set(range(1, len(listed) + 1))
    assert {line.split("] ")[1] for line in listed} == {fact["source"] for _, fact in facts(plain(target))}


@pytest.mark.parametrize("name", TARGETS)
def test_target_names_a_sound_base_when_it_extends_one(name: str) -> None:
    base = tomllib.loads(TARGETS[name].read_text(encoding="utf-8")).get("extends", "")
    assert load_target(name).extends == base
    assert not base or "extends" not in tomllib.loads(TARGETS[base].read_text(encoding="utf-8"))


# ── what the sources say, held profile by profile ─────────────────────────────────────────────────────────────────────


def lists(name: str) -> tuple[list[str], set[str]]:
    quantization = load_target(name).quantization
    return [entry.scheme for entry in quantization.allowed], {entry.scheme for entry in quantization.forbidden}


def test_static_int8_is_qdq_when_any_target_allows_it() -> None:
    assert all("qoperator" not in scheme for name in TARGETS for scheme in lists(name)[0])


def test_signed_pairs_come_first_among_static_ones_when_the_cpu_is_arm64() -> None:
    for name in TARGETS:
        target = load_target(name)
        if (target.platform.arch, target.runtime.provider.value) == ("aarch64", "CPUExecutionProvider"):
            assert next(scheme for scheme in lists(name)[0] if "-static-" in scheme) == "int8-static-s8s8"


def test_half_precision_is_forbidden_when_a_cpu_provider_runs_it() -> None:
    cpus = [name for name in TARGETS if load_target(name).runtime.provider.value in ("CPUExecutionProvider", "wasm")]
    assert len(cpus) >= 9
    assert all("fp16" in lists(name)[1] for name in cpus)


def test_weights_per_channel_have_a_reduced_range_when_sums_saturate() -> None:
    allowed, forbidden = lists("linux-x64-avx2")
    assert all(schemes.parse(scheme).reduced for scheme in allowed if schemes.parse(scheme).per_channel)
    assert {"int8-dynamic-per-channel", "int8-static-u8s8-per-channel"} <= forbidden
    assert "int8-static-u8s8-reduced" in allowed


@pytest.mark.parametrize(
    ("name", "allowed", "forbidden"),
    [
        ("linux-x64-vnni", "int8-static-u8s8", "int8-static-u8u8"),
        ("ios-arm64", "fp16", "int8-static-s8s8"),
        ("android-qnn", "int16-static-u16u8", "int8-dynamic"),
        ("android-arm64-nnapi", "int8-static-u8s8", "int8-dynamic"),
        ("jetson-orin", "int8-static-s8s8", "int8-static-u8s8"),
        ("linux-armv7", "int8-dynamic-u8u8", "int8-static-s8s8"),
        ("web-webgpu", "int4-weights", "fp16"),
        ("intel-npu", "int8-static-u8s8", "int8-dynamic"),
        ("linux-arm64-pi4", "int8-static-s8s8", "int4-weights"),
    ],
)
def test_rule_of_a_device_holds_when_it_is_looked_up(name: str, allowed: str, forbidden: str) -> None:
    assert allowed in lists(name)[0]
    assert forbidden in lists(name)[1]


@pytest.mark.parametrize("name", ["android-qnn", "android-arm64-nnapi", "ios-arm64", "intel-npu"])
def test_shapes_are_fixed_when_the_provider_takes_no_others(name: str) -> None:
    target = load_target(name)
    assert (target.graph.shapes.value, target.runtime.opset.value) == ("fixed", 17)


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


def test_profile_is_covered_by_the_contract_when_a_file_is_added() -> None:
    assert set(TARGETS) == {file.stem for file in next(iter(TARGETS.values())).parent.glob("*.toml")}
