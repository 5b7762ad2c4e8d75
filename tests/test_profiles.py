"""Profiles of one's own: laid over a base, every fault with its file and place, exit codes, what `explain` says, which machine is meant."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
from conftest import run_cli

from edgedistill import plugins, profiles
from edgedistill.errors import ConfigError
from edgedistill.faces import targets as face

HEAD = """
summary = "a box"
status = "stable"
"""
TABLES = """
[platform]
os = "linux"
arch = "x86_64"
abi = "x86_64-gnu"
requires = ["avx2"]
[runtime]
package = { value = "pypi:onnxruntime", source = "https://s.example" }
min_ort = { value = "1.20", source = "https://s.example" }
provider = { value = "CPUExecutionProvider", source = "https://s.example" }
threads = { value = 1, source = "https://one.example", note = "of the base" }
opset = { value = 17, source = "https://s.example" }
ir_version_max = { value = 10, source = "https://s.example" }
[graph]
shapes = { value = "dynamic", source = "https://s.example" }
[quantization]
allowed = [{ scheme = "int8-dynamic", source = "https://dynamic.example", note = "noted" }, { scheme = "fp32", source = "https://s.example" }]
forbidden = [{ scheme = "fp16", why = "it is slow", source = "https://half.example" }]
[budget]
model_mb = { value = 10.0, source = "https://s.example" }
accuracy_drop = { value = 0.03, source = "https://s.example" }
[parity]
fp32_max_abs = { value = 1e-4, source = "https://s.example" }
int8_agreement = { value = 0.97, source = "https://s.example" }
int8_drop = { value = 0.01, source = "https://s.example" }
"""
WHOLE = HEAD + TABLES


def written(folder: Path, text: str, name: str = "mine") -> str:
    (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return str(folder / f"{name}.toml")


def changed(before: str, after: str) -> str:
    assert WHOLE.count(before) == 1
    return WHOLE.replace(before, after)


def faults_of(file: str) -> dict[str, tuple[str, str]]:
    """The faults of a profile: `FILE: place` with the file's stem → (what, hint)."""
    with pytest.raises(ConfigError) as caught:
        profiles.load_target(file)
    assert caught.value.exit_code == 2
    places = [fault.where.partition(".toml: ") for fault in caught.value.faults]
    found = {f"{Path(path).stem}: {place}": (fault.what, fault.hint) for (path, _, place), fault in zip(places, caught.value.faults, strict=True)}
    assert len(found) == len(caught.value.faults)
    return found


# ── extends ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_profile_is_whole_when_written_by_hand(tmp_path: Path) -> None:
    target = profiles.load_target(written(tmp_path, WHOLE))
    assert (target.name, target.extends, target.transport, target.runtime.options) == ("mine", "", "local", {})


def test_tables_merge_and_lists_are_replaced_when_a_profile_extends_one_beside_it(tmp_path: Path) -> None:
    base = profiles.load_target(written(tmp_path, WHOLE, "base"))
    child = """
        extends = "base"
        summary = "another box"
        platform.requires = ["avx2", "fma"]
        runtime.options.device = { value = "x", source = "https://s.example" }
        [quantization]
        allowed = [{ scheme = "fp32", source = "https://s.example" }]
    """
    target = profiles.load_target(written(tmp_path, child))
    assert (target.extends, target.summary, target.status) == ("base", "another box", "stable")
    assert (target.platform.os, target.platform.requires) == ("linux", ("avx2", "fma"))
    assert target.runtime.options["device"].value == "x"
    assert target.runtime.threads == base.runtime.threads
    assert [entry.scheme for entry in target.quantization.allowed] == ["fp32"]
    assert target.quantization.forbidden == base.quantization.forbidden


def test_fact_brings_its_own_source_and_note_when_it_replaces_one(tmp_path: Path) -> None:
    written(tmp_path, WHOLE, "base")
    file = written(tmp_path, 'extends = "base"\nruntime.threads = { value = 2, source = "https://two.example" }')
    fact = profiles.load_target(file).runtime.threads
    assert (fact.value, fact.source, fact.note) == (2, "https://two.example", "")
    file = written(tmp_path, 'extends = "base"\nruntime.threads = { value = 2 }')
    assert faults_of(file) == {"mine: runtime.threads.source": ("is missing", "")}


def test_shipped_profile_is_the_base_when_its_name_is_given(tmp_path: Path) -> None:
    file = written(tmp_path, 'extends = "linux-arm64"\nbudget.model_mb = { value = 1.5, source = "https://product.example" }')
    target, base = profiles.load_target(file), profiles.load_target("linux-arm64")
    assert target.budget.model_mb.value == 1.5
    assert (target.runtime, target.quantization) == (base.runtime, base.quantization)


@pytest.mark.parametrize(
    ("extends", "words"),
    [
        ("mine", "cannot extend itself"),
        ("mine.toml", "cannot extend itself"),
        ("linux-x46", "unknown target 'linux-x46'"),
        ("other", "a cycle: 'other' extends this profile"),
        ("linux-x64-vnni", "itself extends 'linux-x64'; one level"),
    ],
)
def test_base_is_a_fault_when_it_cannot_be_one(tmp_path: Path, extends: str, words: str) -> None:
    written(tmp_path, 'extends = "mine"' + WHOLE, "other")  # with mine, a cycle
    found = faults_of(written(tmp_path, f'extends = "{extends}"'))
    assert list(found) == ["mine: extends"]
    assert words in found["mine: extends"][0]
    if extends == "linux-x46":
        assert found["mine: extends"][1].startswith("did you mean 'linux-x64'?")


def test_fault_names_the_base_when_it_is_in_there(tmp_path: Path) -> None:
    written(tmp_path, changed("opset = { value = 17", "opset = { value = 0"), "base")
    found = faults_of(written(tmp_path, 'extends = "base"\nstatsu = "stable"'))
    assert found.keys() == {"base: runtime.opset.value", "mine: statsu"}


# ── faults ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("before", "after", "place", "words"),
    [
        ('opset = { value = 17, source = "https://s.example" }', "opset = { value = 17 }", "runtime.opset.source", "is missing"),
        ('opset = { value = 17, source = "https://s.example" }', 'opset = { value = 17, source = " " }', "runtime.opset.source", "is empty"),
        (
            'scheme = "fp16", why = "it is slow", source = "https://half.example"',
            'scheme = "fp16", why = "w"',
            "quantization.forbidden.0.source",
            "is missing",
        ),
        ('source = "https://half.example"', 'source = ""', "quantization.forbidden.0.source", "is empty"),
        ('source = "https://dynamic.example", note', "note", "quantization.allowed.0.source", "is missing"),
        ('why = "it is slow"', 'why = ""', "quantization.forbidden.0.why", "is empty"),
        ('scheme = "int8-dynamic"', 'scheme = "int8-dynamik"', "quantization.allowed.0.scheme", "unknown scheme 'int8-dynamik'"),
        ('scheme = "int8-dynamic"', 'scheme = "int8-qoperator-s8s8"', "quantization.allowed.0.scheme", "can only forbid"),
        ('scheme = "fp16"', 'scheme = "fp61"', "quantization.forbidden.0.scheme", "unknown scheme 'fp61'"),
        ('scheme = "int8-dynamic"', 'scheme = "fp32"', "quantization.allowed.1.scheme", "listed twice"),
        ("threads = { value = 1,", "threads = { value = 0,", "runtime.threads.value", "at least 1"),
        ("threads = { value = 1,", "threads = { value = true,", "runtime.threads.value", "number"),
        ("threads = { value = 1,", 'threads = { value = [1, "a"],', "runtime.threads.value", "list of whole numbers or of texts"),
        ('value = "dynamic"', 'value = "elastic"', "graph.shapes.value", "dynamic, bucketed, fixed"),
        ('value = "dynamic"', 'value = "bucketed"', "graph.buckets", "is missing"),
        ("model_mb = { value = 10.0", "model_mb = { value = nan", "budget.model_mb.value", "above 0"),
        ('status = "stable"', 'status = "fine"', "status", "'stable'"),
        ('arch = "x86_64"', 'arch = "x68"', "platform.arch", "'wasm32'"),
        ('[graph]\nshapes = { value = "dynamic", source = "https://s.example" }', "", "graph", "is missing"),
        ("[platform]", '[platform]\nlack = ["i8mm"]', "platform.lack", "unknown key"),
    ],
)
def test_profile_is_a_fault_with_its_place_when_something_is_wrong(tmp_path: Path, before: str, after: str, place: str, words: str) -> None:
    found = faults_of(written(tmp_path, changed(before, after)))
    assert list(found) == [f"mine: {place}"]
    assert words in found[f"mine: {place}"][0]


def test_both_places_are_named_when_a_scheme_is_allowed_and_forbidden(tmp_path: Path) -> None:
    """One of them may be of the profile that is extended: the reader has to see his own."""
    found = faults_of(written(tmp_path, changed('scheme = "fp16"', 'scheme = "fp32"')))
    assert set(found) == {"mine: quantization.allowed.1.scheme", "mine: quantization.forbidden.0.scheme"}
    assert "both allowed and forbidden" in found["mine: quantization.forbidden.0.scheme"][0]
    assert "replaces an extended one" in found["mine: quantization.allowed.1.scheme"][1]


CHECK = 'check = { emulate = { value = ["haswell"], source = "https://s.example" }, rows = { value = 8, source = "https://s.example" } }\n'
KERNELS = """kernel_agreement = { value = 0.99, source = "https://s.example" }
kernels = { fp32 = { value = 1e-3, source = "https://s.example" }, int8-dynamic = { value = 0.1, source = "https://s.example" } }
"""


def test_profile_says_what_is_emulated_when_it_says_what_may_differ(tmp_path: Path) -> None:
    target = profiles.load_target(written(tmp_path, CHECK + WHOLE + KERNELS))
    assert target.check is not None
    assert (target.check.emulate.value, target.check.rows.number, target.check.cost) == (("haswell",), 8, None)
    assert target.parity.kernels["int8-dynamic"].number == 0.1
    written(tmp_path, CHECK + WHOLE + KERNELS, "base")
    without = profiles.load_target(written(tmp_path, 'extends = "base"\ncheck.emulate = { value = [], source = "https://s.example" }\n'))
    assert without.check is not None
    assert (without.check.emulate.value, without.check.rows.number) == ((), 8)


@pytest.mark.parametrize(
    ("before", "after", "place", "words"),
    [
        (KERNELS, "", "parity.kernel_agreement", "is missing"),
        ("kernel_agreement = { value = 0.99", "kernel_agreement = { value = 1.5", "parity.kernel_agreement.value", "a share"),
        ("int8-dynamic = { value", "int8-static = { value", "parity.kernels", "says nothing of 'int8-dynamic'"),
        ("int8-dynamic = { value", "int8-dinamic = { value", "parity.kernels.int8-dinamic", "no scheme's name begins"),
        ("fp32 = { value = 1e-3", "fp32 = { value = 0", "parity.kernels.fp32.value", "above 0"),
        ('fp32 = { value = 1e-3, source = "https://s.example" }', "fp32 = { value = 1e-3 }", "parity.kernels.fp32.source", "is missing"),
        ('["haswell"], source = "https://s.example"', '["haswell"]', "check.emulate.source", "is missing"),
        ('["haswell"]', '["a", "a"]', "check.emulate.value", "each once"),
        ("rows = { value = 8", "rows = { value = 0", "check.rows.value", "at least 1"),
        (', rows = { value = 8, source = "https://s.example" }', "", "check.rows", "is missing"),
        ("rows =", 'cost = { value = "", source = "https://s.example" }, rows =', "check.cost.value", "name of a CPU"),
    ],
)
def test_profile_is_a_fault_when_what_is_emulated_is_not_said_whole(tmp_path: Path, before: str, after: str, place: str, words: str) -> None:
    whole = CHECK + WHOLE + KERNELS
    assert whole.count(before) == 1
    found = faults_of(written(tmp_path, whole.replace(before, after)))
    assert f"mine: {place}" in found
    assert words in found[f"mine: {place}"][0]


@pytest.mark.parametrize(
    ("before", "after", "place", "words"),
    [
        ('os = "linux"', 'os = "linus"', "platform.os", "unknown system 'linus'"),
        ('requires = ["avx2"]', 'requires = ["fma", "avx9"]', "platform.requires.1", "unknown feature 'avx9'"),
        ('requires = ["avx2"]', 'prefers = ["avx512_vni"]', "platform.prefers.0", "unknown feature 'avx512_vni'"),
        ('requires = ["avx2"]', 'lacks = ["haswell"]', "platform.lacks.0", "unknown feature 'haswell'"),
        ('requires = ["avx2"]', 'requires = ["fma", "avx2"]\nlacks = ["i8mm", "avx2"]', "platform.lacks.1", "required as well (platform.requires.1)"),
        ('"CPUExecutionProvider"', '"CpuExecutionProvider"', "runtime.provider.value", "unknown provider 'CpuExecutionProvider'"),
        ('"CPUExecutionProvider"', '"cpu"', "runtime.provider.value", "unknown provider 'cpu'"),
        ('min_ort = { value = "1.20"', 'min_ort = { value = "latest"', "runtime.min_ort.value", "a version"),
        ('min_ort = { value = "1.20"', 'min_ort = { value = "1..20"', "runtime.min_ort.value", "a version"),
        (
            "[runtime]",
            '[runtime]\nknown_bad = [{ value = 1.21, source = "https://s.example" }]',
            "runtime.known_bad.0.value",
            "a version as a text",
        ),
        ("opset = { value = 17", "opset = { value = 6", "runtime.opset.value", "from 7 to 26"),
        ("opset = { value = 17", "opset = { value = 99", "runtime.opset.value", "from 7 to 26"),
        ("opset = { value = 17", "opset = { value = 17.0", "runtime.opset.value", "a whole number"),
        ("ir_version_max = { value = 10", "ir_version_max = { value = 3", "runtime.ir_version_max.value", "from 4 to 13"),
        ("ir_version_max = { value = 10", "ir_version_max = { value = 14", "runtime.ir_version_max.value", "from 4 to 13"),
        ("accuracy_drop = { value = 0.03", "accuracy_drop = { value = 3.0", "budget.accuracy_drop.value", "a share from 0 to 1"),
        ("int8_drop = { value = 0.01", "int8_drop = { value = 1.01", "parity.int8_drop.value", "a share from 0 to 1"),
        ("int8_agreement = { value = 0.97", "int8_agreement = { value = -0.1", "parity.int8_agreement.value", "a share from 0 to 1"),
        ("kernel_agreement = { value = 0.99", "kernel_agreement = { value = 99", "parity.kernel_agreement.value", "a share from 0 to 1"),
        ('["haswell"]', '["haswell", "haswel"]', "check.emulate.value.1", "unknown emulated CPU 'haswel'"),
        ('["haswell"]', '["cortex-a72"]', "check.emulate.value.0", "'cortex-a72' is aarch64, and platform.arch is 'x86_64'"),
        ("rows =", 'cost = { value = "cortex-a72", source = "https://s.example" }, rows =', "check.cost.value", "not among check.emulate"),
        ("https://half.example", "half", "quantization.forbidden.0.source", "is no address (found 'half')"),
        ("https://half.example", "see https://half.example", "quantization.forbidden.0.source", "is no address"),
    ],
)
def test_fact_is_the_one_fault_when_it_cannot_mean_anything(tmp_path: Path, before: str, after: str, place: str, words: str) -> None:
    whole = CHECK + WHOLE + KERNELS
    assert whole.count(before) == 1
    found = faults_of(written(tmp_path, whole.replace(before, after)))
    assert list(found) == [f"mine: {place}"]
    assert words in found[f"mine: {place}"][0]


@pytest.mark.parametrize(
    ("before", "after", "hint"),
    [
        ('os = "linux"', 'os = "linus"', "did you mean 'linux'?"),
        ('requires = ["avx2"]', 'requires = ["avx512_vni"]', "did you mean 'avx512_vnni'?"),
        ('"CPUExecutionProvider"', '"CpuExecutionProvider"', "did you mean 'CPUExecutionProvider'?"),
        ('["haswell"]', '["haswel"]', "did you mean 'haswell'?"),
        ('["haswell"]', '["cortex-a72"]', "of x86_64: haswell"),
    ],
)
def test_fault_has_the_nearest_name_when_a_fact_is_misspelt(tmp_path: Path, before: str, after: str, hint: str) -> None:
    found = faults_of(written(tmp_path, (CHECK + WHOLE + KERNELS).replace(before, after)))
    assert [told.startswith(hint) for _, told in found.values()] == [True]


@pytest.mark.parametrize("buckets", ["[]", "[64, 32]", "[32, 32]", '["a"]', "[0, 8]", "32"])
def test_buckets_are_a_fault_when_they_do_not_rise(tmp_path: Path, buckets: str) -> None:
    shapes = f'shapes = {{ value = "bucketed", source = "https://s.example" }}\nbuckets = {{ value = {buckets}, source = "https://s.example" }}'
    assert list(faults_of(written(tmp_path, changed('shapes = { value = "dynamic", source = "https://s.example" }', shapes)))) == [
        "mine: graph.buckets.value"
    ]


def test_every_fault_is_told_when_a_key_is_missing_too(tmp_path: Path) -> None:
    text = changed('os = "linux"', "").replace('"int8-dynamic"', '"int8-dynamik"').replace('source = "https://half.example"', 'source = ""')
    assert faults_of(written(tmp_path, text)).keys() == {
        "mine: platform.os",
        "mine: quantization.allowed.0.scheme",
        "mine: quantization.forbidden.0.source",
    }


# ── the command line ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_check_says_sound_or_lists_every_fault_when_run(tmp_path: Path) -> None:
    written(tmp_path, WHOLE)
    written(tmp_path, changed("opset = { value = 17", "opset = { value = 0").replace('source = "https://half.example"', 'source = ""'), "bad")
    assert "mine.toml: sound, 2 schemes" in run_cli("targets", "check", "mine.toml", cwd=tmp_path).stdout
    told = run_cli("targets", "check", "mine.toml", "bad.toml", "none.toml", cwd=tmp_path, check=2)
    assert told.stdout == ""
    for words in ("bad.toml: runtime.opset.value: ", "bad.toml: quantization.forbidden.0.source: is empty", "none.toml cannot be read"):
        assert words in told.stderr


@pytest.mark.parametrize("words", [["show"], ["check"], ["show", "linux-x64", "linux-arm64"], ["show", "linux-x46"]])
def test_targets_is_a_fault_when_its_words_are_wrong(words: list[str]) -> None:
    with pytest.raises(ConfigError):
        face.run(words, as_json=False)


def test_listing_has_name_status_and_summary_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    face.run([], as_json=False)
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert rows.keys() == plugins.data_files("targets").keys()
    assert rows["android-arm64-nnapi"].split()[1] == "deprecated"
    face.run([], as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "edgedistill.targets/1"
    assert document["targets"]["linux-x64"] == {"status": "stable", "summary": profiles.load_target("linux-x64").summary}


def test_document_of_a_target_is_its_profile_when_json_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    face.run(["show", written(tmp_path, WHOLE)], as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "edgedistill.target/1"
    assert document["runtime"]["threads"] == {"value": 1, "source": "https://one.example", "note": "of the base"}


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("int8-dynamic", {"verdict": "allowed", "rank": 1, "note": "noted", "source": "https://dynamic.example"}),
        ("fp32", {"verdict": "allowed", "rank": 2, "note": "", "source": "https://s.example"}),
        ("fp16", {"verdict": "forbidden", "rank": None, "why": "it is slow", "note": "", "source": "https://half.example"}),
        ("int4-weights", {"verdict": "not listed", "rank": None, "source": ""}),
    ],
)
def test_explain_gives_verdict_why_and_source_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], scheme: str, expected: dict[str, object]
) -> None:
    file = written(tmp_path, WHOLE)
    face.explain(file, scheme, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document.items() >= {"schema": "edgedistill.explain/1", "target": "mine", "scheme": scheme, **expected}.items()
    face.explain(file, scheme, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{scheme} on mine: {expected['verdict']}"
    for key in ("why", "note", "source"):
        assert not expected.get(key) or any(line.split() == [key, *str(expected[key]).split()] for line in lines)


def test_mixed_scheme_follows_its_base_when_the_base_is_forbidden() -> None:
    pi4 = profiles.load_target("linux-arm64-pi4")
    found = profiles.explain(pi4, "int8-static-u8u8-mixed")
    assert (found.verdict, found.source) == ("forbidden", "https://github.com/microsoft/onnxruntime/pull/9902")
    assert "'int8-static-u8u8'" in found.why
    assert "gain nothing from unsigned weights" in found.why
    assert profiles.explain(pi4, "int8-static-s8s8-mixed").verdict == "allowed"
    assert profiles.explain(pi4, "int8-dynamic-mixed").verdict == "not listed"
    with pytest.raises(ConfigError) as caught:
        profiles.only(pi4, "int8-static-u8u8-mixed")
    assert caught.value.faults[0].where == f"{plugins.data_file('targets', 'linux-arm64-pi4')}: quantization.forbidden.3"


@pytest.mark.parametrize(
    ("own", "scheme", "holder", "place"),
    [
        ("", "fp16", "base.toml", "quantization.forbidden.0"),
        ("quantization.allowed = [{ scheme = 'fp32', source = 'https://s.example' }]", "fp16", "base.toml", "quantization.forbidden.0"),
        ("quantization.forbidden = [{ scheme = 'fp16', why = 'w', source = 'https://s.example' }]", "fp16", "mine.toml", "quantization.forbidden.0"),
        ("", "int4-weights", "mine.toml", "quantization.allowed"),
    ],
)
def test_refused_scheme_is_placed_in_the_file_that_refuses_it_when_it_alone_is_asked(
    tmp_path: Path, own: str, scheme: str, holder: str, place: str
) -> None:
    written(tmp_path, WHOLE, "base")
    file = written(tmp_path, f'extends = "base"\n{own}')
    with pytest.raises(ConfigError) as caught:
        profiles.only(profiles.load_target(file), scheme, file)
    assert [fault.where for fault in caught.value.faults] == [f"{tmp_path / holder}: {place}"]


def test_build_names_the_shipped_base_when_that_forbids_the_scheme(project: Path) -> None:
    (project / "good.toml").write_text('extends = "linux-x64"\n', encoding="utf-8")
    told = run_cli("build", "--target", "good.toml", "--scheme", "fp16", cwd=project, check=2)
    assert "linux-x64.toml: quantization.forbidden.0: 'fp16' is forbidden" in told.stderr
    told = run_cli("build", "--target", "good.toml", "--scheme", "int8-static-s8s8", cwd=project, check=2)
    assert "good.toml: quantization.allowed: 'int8-static-s8s8' is not listed" in told.stderr


@pytest.mark.parametrize(
    ("words", "hint"),
    [(("linux-x46", "fp32"), "did you mean 'linux-x64'?"), (("linux-x64", "int8-dynamik"), "did you mean 'int8-dynamic'")],
)
def test_explain_names_the_nearest_when_a_name_is_unknown(words: tuple[str, str], hint: str, tmp_path: Path) -> None:
    assert hint in run_cli("explain", *words, cwd=tmp_path, check=2).stderr


def test_warning_is_loud_when_a_target_is_deprecated(project: Path) -> None:
    assert profiles.warning(profiles.load_target("linux-x64")) is None
    told = run_cli("plan", "--target", "android-arm64-nnapi", cwd=project)
    assert "warning: the target 'android-arm64-nnapi' is DEPRECATED: NNAPI" in told.stderr
    assert "DEPRECATED" not in told.stdout


def test_every_shipped_profile_is_planned_when_the_target_is_all(project: Path) -> None:
    document = json.loads(run_cli("plan", "--target", "linux-x64", "--target", "all", "--json", cwd=project).stdout)
    assert sorted(plan["target"] for plan in document["plans"]) == sorted(plugins.data_files("targets"))


# ── this machine ─────────────────────────────────────────────────────────────────────────────────────────────────────

XEON = "processor : 0\nflags\t\t: fpu sse4_2 avx2 fma avx512_vnni\n\nprocessor : 1\nflags\t\t: fpu avx2 fma avx512_vnni sse4_2\n"
HASWELL = "processor\t: 0\nmodel name\t: says avx512_vnni, is not\nflags\t\t: fpu avx2 fma\n"
PI5 = "processor\t: 0\nFeatures\t: fp asimd crc32 atomics fphp asimdhp asimddp\nCPU part\t: 0xd0b\n"
PI4 = "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32 cpuid\n"
PI2 = "processor\t: 0\nFeatures\t: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4\n"
MIXED_CORES = "Features : asimd asimddp fphp asimdhp\n\nFeatures : asimd\n"  # required of every core, absent from all of them


@pytest.mark.parametrize(
    ("system", "machine", "cpuinfo", "expected"),
    [
        ("Linux", "x86_64", XEON, {"linux-x64", "linux-x64-vnni"}),
        ("Linux", "x86_64", HASWELL, {"linux-x64", "linux-x64-avx2"}),
        ("Linux", "x86_64", "flags : fpu sse4_2\n", set()),
        ("Linux", "aarch64", PI5, {"linux-arm64", "linux-arm64-pi5"}),
        ("Linux", "aarch64", PI4, {"linux-arm64", "linux-arm64-pi4"}),
        ("Linux", "aarch64", PI5.replace("asimddp", "asimddp i8mm"), {"linux-arm64"}),
        ("Linux", "aarch64", MIXED_CORES, {"linux-arm64"}),
        ("Linux", "armv7l", PI2, {"linux-armv7"}),
        ("Windows", "ARM64", None, set()),
        ("Darwin", "arm64", None, set()),
    ],
)
def test_machine_is_of_the_kinds_that_its_features_say_when_probed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, machine: str, cpuinfo: str | None, expected: set[str]
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    file = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        file.write_text(cpuinfo, encoding="utf-8")
    found = {name for name in plugins.data_files("targets") if profiles.is_this_machine(profiles.load_target(name), file)}
    assert found == expected
