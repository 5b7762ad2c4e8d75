"""The parity ladder and counted instructions: answers and sums by hand, a planted saturation, real kernels under qemu."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from engine_cases import BERT, WORDS, source, texts
from onnx import TensorProto, helper, numpy_helper

from edgedistill import config, devices, pipeline, plugins, profiles, runtime, search
from edgedistill.devices import _toolchain, qemu
from edgedistill.errors import DeviceError, StageError
from edgedistill.measure import report
from edgedistill.progress import Event, Progress, silent
from edgedistill.quantizers import onnxruntime
from edgedistill.spec import Candidate
from edgedistill.stages import _counts
from edgedistill.stages import _ladder as ladder
from edgedistill.tasks import Row, text_classification, text_regression

SATURATES = {"avx2"}  # what has none of the 32-bit sums
LIMITS = ladder.Limits(fp32_max_abs=1e-4, agreement=0.97, kernel_max_abs=0.1, kernel_agreement=0.99)
TALK = Progress(silent, "check")
TRUE_PATH = os.environ["PATH"]


def answers(*logits: list[float]) -> ladder.Answers:
    return [[np.array([one])] for one in logits]


def examples(count: int, task: Any = text_classification) -> ladder.Examples:
    return ladder.Examples(task=task, rows={10 * index: [Row(ids=[index])] for index in range(count)}, pad_id=0)


# ── by hand ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rung_counts_and_lists_what_differs_when_answers_are_given_by_hand() -> None:
    """Of four examples the second and the fourth are decided otherwise; before, their largest answers led by 0.25 and by 2."""
    before = answers([1.0, 0.0], [0.25, 0.0], [0.0, 1.0], [0.0, 2.0])
    after = answers([1.5, 0.0], [0.0, 0.5], [0.0, 1.0], [0.5, 0.0])
    found = ladder.rung("after", "before", examples(4), (after, before), max_abs_limit=2.0, agreement_limit=0.5)
    assert (found.rows, found.max_abs, found.agreement, found.holds) == (4, 2.0, 0.5, True)
    assert found.differing == ({"example": 30, "off": 2.0, "margin": 2.0}, {"example": 10, "off": 0.5, "margin": 0.25})


@pytest.mark.parametrize(
    ("max_abs_limit", "agreement_limit", "rule"), [(1.99, None, (1.99, 2.0)), (None, 0.51, (0.51, 0.5)), (1.99, 0.51, (1.99, 2.0))]
)
def test_verdict_fails_with_the_broken_figure_when_a_limit_is_passed(max_abs_limit: Any, agreement_limit: Any, rule: tuple[float, float]) -> None:
    sides = answers([2.0, 0.0], [1.0, 0.0]), answers([0.0, 1.0], [1.0, 0.0])
    found = ladder.rung("a", "b", examples(2), sides, max_abs_limit=max_abs_limit, agreement_limit=agreement_limit)
    verdict = ladder.verdict(found)
    assert (found.holds, verdict.ok, (verdict.limit, verdict.value)) == (False, False, rule)


def test_answer_that_is_no_number_breaks_every_limit_when_it_comes() -> None:
    found = ladder.rung("a", "b", examples(2), (answers([np.nan, 1.0], [0.0, 1.0]), answers([0.0, 1.0], [0.0, 1.0])), max_abs_limit=1e6)
    assert (found.max_abs, found.holds) == (ladder.FARTHEST, False)


def test_agreement_on_some_breaks_a_limit_of_all_only_beyond_chance() -> None:
    """95 of 100 may be 0.97 of all: 0.95 + 2.33 · √(0.95 · 0.05 / 100) = 1.0008; 85 may not: 0.85 + 0.083."""
    right, wrong = [0.0, 1.0], [1.0, 0.0]
    for share, holds in ((95, True), (85, False)):
        sides = answers(*[right] * share, *[wrong] * (100 - share)), answers(*[right] * 100)
        assert ladder.rung("a", "b", examples(100), sides, agreement_limit=0.97, sampled=True).holds is holds
        assert ladder.rung("a", "b", examples(100), sides, agreement_limit=0.97).holds is False


def test_margin_is_none_when_answers_are_no_choice() -> None:
    found = ladder.rung("a", "b", examples(3, text_regression), (answers([0.0], [5.0], [1.0]), answers([0.0], [0.5], [1.0])))
    assert [one["margin"] for one in found.differing] == [None]
    assert found.holds


def test_examples_are_spread_over_the_split_when_some_are_taken() -> None:
    rows = [[Row(ids=[index])] for index in range(101)]
    assert list(ladder.some(text_classification, rows, 5, 0).rows) == [0, 25, 50, 75, 100]
    assert len(ladder.some(text_classification, rows, 500, 0).rows) == 101


def test_cpu_is_unmeasured_with_the_command_when_no_emulator_is_here(planted: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    (found,) = ladder.kernels(planted["examples"], planted["full"], planted["here"](planted["full"]), LIMITS, ["cortex-a53"], TALK)
    assert (found.provenance, found.holds, found.rows) == ("unmeasured", None, 0)
    assert "apt-get install qemu-user" in ladder.sentence(found)


def test_counts_win_and_are_called_instructions_when_a_receipt_is_asked() -> None:
    """Bytes ¼ of fp32's: 0.25 · 1.2 = 0.3 for the first, 0.25 · 0.8 = 0.2 for the second."""
    emulated = Candidate(scheme="u8", engine="e", status="lost", reason="", bytes=100, latency="emulated", latency_ratio=1.2, cost=0.3)
    rows = search.choose([emulated, replace(emulated, scheme="s8", latency_ratio=0.8, cost=0.2)])
    assert [one.reason for one in rows] == [
        "lost: 1 × the bytes of s8 at 1.5 × its instructions",
        "chosen: the least bytes × instructions, 0.200 of fp32's",
    ]
    assert search.choose(rows) == rows


def test_keys_differ_only_where_it_matters_when_the_emulator_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from conftest import write_project

    recipe, base = config.load_recipe(str(write_project(tmp_path / "p") / "recipe.toml"))

    def steps(target: str) -> dict[str, Any]:
        return {step.stage: step for step in pipeline.plan(recipe, config.load_target(target), base)}

    with_qemu = {name: steps(name) for name in ("linux-arm64-pi4", "linux-x64", "android-arm64")}
    monkeypatch.setenv("PATH", "/nowhere")
    without = {name: steps(name) for name in with_qemu}
    assert without["linux-arm64-pi4"]["quantize"].params.counted == without["linux-x64"]["quantize"].params.counted == ""
    assert (without["linux-x64"]["check"].params.emulate, without["linux-arm64-pi4"]["check"].params.emulate) == ((), ("cortex-a72",))
    assert without["linux-x64"]["pack"].key == with_qemu["linux-x64"]["pack"].key
    if not qemu_lacks("cortex-a72"):
        assert with_qemu["linux-arm64-pi4"]["quantize"].params.counted == "cortex-a72"
        assert with_qemu["linux-arm64-pi4"]["quantize"].key != without["linux-arm64-pi4"]["quantize"].key
        assert with_qemu["android-arm64"]["quantize"].key == without["android-arm64"]["quantize"].key
        assert with_qemu["android-arm64"]["check"].key != without["android-arm64"]["check"].key


def qemu_lacks(cpu: str) -> bool:
    """Asked with the true PATH."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", TRUE_PATH)
        return bool(qemu.lacking(cpu))


def test_tools_are_made_once_when_threads_ask_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEDISTILL_TOOLS", str(tmp_path))
    made: list[Path] = []

    def fill(folder: Path) -> None:
        made.append(folder)
        time.sleep(0.2)
        (folder / "whole").write_text("yes", encoding="ascii")

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: _toolchain.kept("tool", fill), range(4)))
    assert len(made) == 1
    assert {(folder / "whole").read_text(encoding="ascii") for folder in found} == {"yes"}


# ── a planted saturation ─────────────────────────────────────────────────────────────────────────────────────────────

PAIRS = 32


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A classifier of one token: its vector in uint8 times int8 weights. In exact sums the first class wins, by little.

    A pair of its weights is (127, 127) and then (0, 0): 255 · 254 = 64,770 and 0, 32,385 on the mean. A pair of the second is (64, 60): 31,620,
    which 16 bits hold. Sums in 16 bits stop at 32,767, so there the first has 16,384 on the mean and loses.
    """
    folder = tmp_path_factory.mktemp("planted")
    vectors = np.random.default_rng(0).integers(250, 256, (24, 2 * PAIRS)).astype(np.uint8)
    weights = np.array([[127, 127, 0, 0] * (PAIRS // 2), [64, 60] * PAIRS], np.int8).T
    files = {name: classifier(folder / f"{name}.onnx", vectors, each) for name, each in (("full", weights), ("reduced", weights // 2))}
    some = ladder.Examples(task=text_classification, rows={index: [Row(ids=[index])] for index in range(24)}, pad_id=0)

    def here(asked: ladder.Files) -> ladder.Answers:
        session = runtime.open_session(asked.chosen, threads=1)
        return runtime.run_examples(session, text_classification, list(some.rows.values()), 0, batch_size=1)

    exact = {"full": vectors.astype(int) @ weights, "reduced": vectors.astype(int) @ (weights // 2)}
    asked = {name: ladder.Files(torch=folder, fp32=file, chosen=file, scheme="int8-static-u8s8") for name, file in files.items()}
    return {**asked, "examples": some, "here": here, "exact": exact}


def classifier(file: Path, vectors: np.ndarray, weights: np.ndarray) -> Path:
    """input_ids [1, 1] → the token's vector [1, k] → its sums with the weights, in ten-thousandths [1, 2]."""
    nodes = [
        helper.make_node("Gather", ["vectors", "input_ids"], ["rows"]),
        helper.make_node("Reshape", ["rows", "flat"], ["a"]),
        helper.make_node("MatMulInteger", ["a", "weights"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["wide", "scale"], ["logits"]),
    ]
    tensors = {"vectors": vectors, "weights": weights, "flat": np.array([-1, vectors.shape[1]]), "scale": np.float32(1e4)}
    given = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])
    found = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph(nodes, "g", [given], [found], [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), file)
    return file


emulated = pytest.mark.usefixtures("tools")
under_qemu = [pytest.mark.qemu, emulated]


@pytest.fixture(scope="module")
def tools() -> None:
    """What emulation needs, fetched and built once; where something is missing its error is the reason to skip."""
    try:
        for cpu in ("cortex-a76", "haswell"):
            qemu.ready(cpu)
        _toolchain.counter()
    except DeviceError as error:
        pytest.skip(str(error))


class TestSaturation:
    pytestmark = under_qemu

    def test_sums_are_exact_on_a76_and_saturate_on_haswell_when_weights_have_their_full_range(self, planted: dict[str, Any]) -> None:
        """Truth is NumPy's in 64 bits."""
        feeds = [{"input_ids": np.array([[index]])} for index in range(24)]
        for cpu, name, right in (("cortex-a76", "full", True), ("haswell", "full", False), ("haswell", "reduced", True)):
            raw = qemu.connect(cpu).run(devices.untimed(planted[name].chosen, feeds), 120).answers
            sums = np.rint(np.concatenate(raw) * 1e4).astype(int)
            assert np.array_equal(sums, planted["exact"][name]) is right, (cpu, name)

    def test_rung_of_haswell_fails_when_sums_saturate_and_holds_with_a_reduced_range(self, planted: dict[str, Any]) -> None:
        if profiles.kernels() in SATURATES:
            pytest.skip("this machine's own kernels saturate: there is nothing to hold an emulated Haswell against")
        for name, holds, agreement in (("full", False, 0.0), ("reduced", True, 1.0)):
            (found,) = ladder.kernels(planted["examples"], planted[name], planted["here"](planted[name]), LIMITS, ["haswell"], TALK)
            verdict = ladder.verdict(found)
            assert (found.provenance, found.agreement, verdict.ok) == ("emulated", agreement, holds), verdict.sentence
            assert len(found.differing) == (0 if holds else ladder.LISTED)

    def test_arm_holds_beside_haswell_and_bar_moves_when_both_are_asked(self, planted: dict[str, Any]) -> None:
        if profiles.kernels() in SATURATES:
            pytest.skip("this machine's own kernels saturate")
        seen: list[Event] = []
        progress = Progress(seen.append, "check")
        found = ladder.kernels(planted["examples"], planted["full"], planted["here"](planted["full"]), LIMITS, ["cortex-a76", "haswell"], progress)
        assert [(one.name, one.holds, one.max_abs == 0) for one in found] == [("cortex-a76", True, True), ("haswell", False, False)]
        assert [(one.done, one.total, one.unit) for one in seen] == [(24, 48, "emulated rows"), (48, 48, "emulated rows")]


# ── instructions ─────────────────────────────────────────────────────────────────────────────────────────────────────


def one_text(length: int) -> list[dict[str, np.ndarray]]:
    return [{"input_ids": np.random.default_rng(0).integers(5, WORDS, (1, length)), "attention_mask": np.ones((1, length), np.int64)}]


class TestInstructions:
    pytestmark = under_qemu

    @pytest.fixture(scope="class")
    def files(self, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
        """Two layers of MiniLM's sizes, and two quantised forms of it: narrower ones spend their instructions around the products."""
        import torch
        import transformers

        from edgedistill.exporters import torchscript

        folder = tmp_path_factory.mktemp("bert")
        torch.manual_seed(0)
        sizes = BERT | {"hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 12}
        model = transformers.BertForSequenceClassification(transformers.BertConfig(**sizes)).eval()
        model.set_attn_implementation("eager")
        torchscript.export(model, text_classification.forward, one_text(8)[0], folder, opset=17, ir_version=10)
        graphs = source(folder / "model.onnx", folder / "fused.onnx", texts)
        made = {"fp32": folder / "fused.onnx"}
        for scheme in ("int8-dynamic-u8u8", "int8-dynamic"):
            made[scheme] = folder / f"{scheme}.onnx"
            onnxruntime.make(scheme, graphs, made[scheme])
        return made

    def test_int8_takes_at_most_half_of_fp32s_instructions_when_the_core_has_the_dot_product(self, files: dict[str, Path]) -> None:
        fp32, int8 = (sum(qemu.mean(qemu.counts("cortex-a76", files[name], one_text(32))).values()) for name in ("fp32", "int8-dynamic"))
        assert int8 <= 0.5 * fp32

    def test_signed_weights_win_by_instructions_when_the_core_has_no_dot_product(self, files: dict[str, Path]) -> None:
        names = ["int8-dynamic-u8u8", "int8-dynamic", "fp32"]
        paces = _counts.clock("cortex-a53", one_text(32), TALK)([files["fp32"], *(files[name] for name in names)])
        base, *rest = (float(pace.samples.mean()) for pace in paces)
        unsigned, signed, same = (one / base for one in rest)
        assert (same, paces[0].latency) == (1.0, "emulated")
        assert signed < 1 < unsigned
        assert paces[2].facts["instructions"]["classes"]["int_dot"] == 0 < paces[2].facts["instructions"]["classes"]["int_multiply"]

    def test_clock_warns_and_tells_nothing_when_a_process_dies(self, files: dict[str, Path], tmp_path: Path) -> None:
        broken = tmp_path / "broken.onnx"
        broken.write_bytes(b"no model")
        seen: list[Event] = []
        assert _counts.clock("cortex-a53", one_text(8), Progress(seen.append, "quantize"))([broken]) == []
        assert any(event.kind == "warn" and "the profile's order decides" in event.text for event in seen)
        with pytest.raises(StageError, match="crashed"):
            qemu.counts("cortex-a53", broken, one_text(8))


def test_cpus_of_shipped_profiles_are_ones_that_can_be_emulated() -> None:
    targets = [profiles.load_target(name) for name in plugins.data_files("targets")]
    named = {cpu for target in targets if target.check for cpu in target.check.emulate.value}  # type: ignore[union-attr]
    named |= {target.check.cost.value for target in targets if target.check and target.check.cost}
    assert {"cortex-a53", "cortex-a72", "cortex-a76", "haswell"} <= named <= set(qemu.CPUS)


@pytest.mark.parametrize(
    ("cpu", "classes", "words"),
    [
        ("cortex-a72", {"int_dot": 0, "int_multiply": 14_000_000, "other": 20_000_000}, "14.0 M are multiplies of 8 products each: this core has no"),
        ("cortex-a76", {"int_dot": 7_000_000, "int_multiply": 1000, "other": 9_999_000}, "7.0 M are dot products of 16 products each"),
    ],
)
def test_report_says_what_a_cores_products_are_made_of_when_instructions_were_counted(cpu: str, classes: dict[str, int], words: str) -> None:
    """Of fp32's 40 M, 34 M are 0.85 and 17 M are 0.42 (0.425)."""
    counted = dict.fromkeys(qemu.CLASSES, 0) | classes
    fp32 = dict.fromkeys(qemu.CLASSES, 0) | {"float_multiply_add": 29_000_000, "other": 11_000_000}
    said = report.instructions({"scheme": "int8-dynamic", "facts": {"instructions": {"cpu": cpu, "rows": 8, "classes": counted, "fp32": fp32}}})
    total = sum(classes.values()) / 1e6
    assert said.startswith(f"On an emulated {cpu} int8-dynamic takes {total:.1f} M instructions an input, {total / 40:.2f} of fp32's 40.0 M.")
    assert words in said
    assert said.endswith("fp32 has 29.0 M multiply-adds of 4. A count is not a time.")
