"""A tiny project through the whole pipeline with real torch, ONNX and ONNX Runtime, as its user sees it."""

from __future__ import annotations

import csv
import json
import resource
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from conftest import build_json, run_cli, write_project, write_rows
from tokenizers import Tokenizer

from edgedistill import samples, search
from edgedistill.devices import qemu
from edgedistill.spec import Candidate


def test_build_prints_one_document_with_every_field_when_asked_for_json(built: dict[str, Any]) -> None:
    assert built["schema"] == "edgedistill.build/1"
    assert (built["target"], built["metric"], built["n_test"]) == ("linux-x64", "accuracy", 90)
    assert built["bytes"] == (Path(built["bundle"]) / "model.onnx").stat().st_size
    assert built["retention"] == pytest.approx(built["bundle_score"] / built["teacher"])
    assert 0 <= built["agreement"] <= 1
    assert [step["stage"] for step in built["steps"]][-3:] == ["quantize", "check", "pack"]
    assert all(not step["cached"] and len(step["key"]) == 64 for step in built["steps"])


def test_student_learns_the_task_when_a_word_decides_it(built: dict[str, Any]) -> None:
    assert built["teacher"] >= 0.9  # chance is 1/3
    assert built["bundle_score"] >= 0.8


def test_bundle_scores_what_the_document_says_when_run_with_onnxruntime_alone(project: Path, built: dict[str, Any]) -> None:
    """The independent truth: tokenizers and onnxruntime by hand on the prepared test split."""
    import pyarrow.parquet as pq

    bundle = Path(built["bundle"])
    prepare = next(step["key"] for step in built["steps"] if step["stage"] == "prepare")
    table = pq.read_table(project / ".edgedistill" / "prepare" / prepare / "files" / "test.parquet").to_pydict()
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    tokenizer.enable_truncation(24)
    session = ort.InferenceSession(str(bundle / "model.onnx"), providers=["CPUExecutionProvider"])
    right = 0
    for example, label in zip(table["example"], table["target"], strict=True):
        text = json.loads(example)["text"]
        ids = np.array([tokenizer.encode(text).ids], np.int64)
        logits = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]
        right += int(logits[0].argmax() == json.loads(label))
    assert right / 90 == pytest.approx(built["bundle_score"])


def test_splits_share_no_text_and_are_stratified_when_prepared(project: Path, built: dict[str, Any]) -> None:
    import pyarrow.parquet as pq

    prepare = next(step["key"] for step in built["steps"] if step["stage"] == "prepare")
    folder = project / ".edgedistill" / "prepare" / prepare / "files"
    splits = {name: pq.read_table(folder / f"{name}.parquet").to_pydict() for name in ("train", "validation", "test", "transfer")}
    texts = [text for split in splits.values() for text in split["example"]]
    assert len(texts) == len(set(texts)) == 600 + 300
    assert [splits["test"]["target"].count(str(label)) for label in range(3)] == [30, 30, 30]
    assert json.loads((folder / "labels.json").read_text()) == ["negative", "neutral", "positive"]


def test_build_does_nothing_and_loads_no_torch_when_repeated(project: Path, built: dict[str, Any]) -> None:
    code = (
        "import sys; from edgedistill.cli import main\n"
        "sys.argv = ['edgedistill', 'build', '--target', 'linux-x64', '--json']\n"
        "try: main()\nexcept SystemExit as end: assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    again = json.loads(_python(code, project))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3  # of the processor: other jobs do not count
    assert all(step["cached"] and step["seconds"] == 0 for step in again["steps"])
    assert again["bundle"] == built["bundle"]


def test_second_target_retrains_nothing_when_the_first_is_built(project: Path, built: dict[str, Any]) -> None:
    second = build_json(project, "--target", "android-arm64")
    fresh = [step["stage"] for step in second["steps"] if not step["cached"]]
    assert fresh == ["quantize", "check", "pack"]
    history = json.loads((Path(second["bundle"]) / "history.json").read_text(encoding="utf-8"))
    rungs = {rung["name"]: rung for rung in history["ladder"]}
    scheme = next(one["scheme"] for one in history["candidates"] if one["status"] == "chosen")
    assert list(rungs) == ["fp32 ONNX", scheme, "cortex-a53", "cortex-a76"]
    assert all(rung["provenance"] == "unmeasured" or (rung["holds"] and rung["rows"] >= 90) for rung in rungs.values())
    assert all(rung["note"].startswith("unmeasured: ") for rung in rungs.values() if rung["provenance"] == "unmeasured")


@pytest.mark.qemu
def test_instructions_decide_and_the_report_says_so_when_the_core_can_be_emulated(project: Path, built: dict[str, Any]) -> None:
    """The choice comes out again from what the bundle holds."""
    if why := qemu.lacking("cortex-a72"):
        pytest.skip(why)
    done = build_json(project, "--target", "linux-arm64-pi4", "--no-bench")
    history = json.loads((Path(done["bundle"]) / "history.json").read_text(encoding="utf-8"))
    candidates = [Candidate(**one) for one in history["candidates"]]
    assert [asdict(one) for one in search.choose(candidates)] == [asdict(Candidate(**one)) for one in history["candidates"]]
    chosen = next(one for one in candidates if one.chosen)
    assert (chosen.latency, chosen.facts["instructions"]["cpu"], chosen.facts["instructions"]["classes"]["int_dot"]) == ("emulated", "cortex-a72", 0)
    assert "bytes × instructions" in chosen.reason
    assert [rung["name"] for rung in history["ladder"]][2:] == ["cortex-a72"]
    told = run_cli("report", done["bundle"], "--format", "md", cwd=project).stdout
    assert "On an emulated cortex-a72" in told
    assert "instructions ÷ fp32" in told


def test_attention_stays_plain_when_the_runtime_knows_no_fused_one(project: Path, built: dict[str, Any]) -> None:
    """WebGPU's fused attention refuses a padding mask: nothing of ONNX Runtime's own operators is in that file but 4-bit products."""
    done = build_json(project, "--target", "web-webgpu", "--no-bench")
    own = {node.op_type for node in onnx.load(Path(done["bundle"]) / "model.onnx").graph.node if node.domain == "com.microsoft"}
    assert own <= {"MatMulNBits", "GatherBlockQuantized"}
    fused = {node.op_type for node in onnx.load(Path(built["bundle"]) / "model.onnx").graph.node if node.domain == "com.microsoft"}
    assert any("Attention" in name for name in fused)


def test_report_shows_the_scores_when_built(project: Path, built: dict[str, Any]) -> None:
    page = project / built["report"]
    text = page.read_text(encoding="utf-8")
    assert "<svg" in text
    report = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    scores = {subject["name"]: subject["score"] for subject in report["subjects"]}
    assert scores["bundle"] == built["bundle_score"]
    assert scores["teacher"] == built["teacher"]


def test_predict_and_eval_need_no_torch_when_run_on_new_text(project: Path, built: dict[str, Any], tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "new.csv", 60, seed=77)
    code = (
        "import sys; from edgedistill.packages import OPTIONAL; sys.modules.update(dict.fromkeys(OPTIONAL))\n"
        "from edgedistill.cli import main\n"
        "sys.argv = ['edgedistill', *{words}]\n"
        "main()"
    )
    words = ["eval", built["bundle"], "--data", str(rows), "--text", "review", "--label", "verdict", "--json"]
    found = json.loads(_python(code.format(words=words), project))
    assert (found["schema"], found["metric"], found["n"]) == ("edgedistill.eval/1", "accuracy", 60)
    assert found["score"] >= 0.8
    assert found["teacher"] >= 0.9
    with rows.open(newline="") as file:
        first = next(csv.DictReader(file))
    answer = json.loads(_python(code.format(words=["predict", built["bundle"], first["review"], "--json"]), project))
    assert answer["answers"][0]["label"] in {"positive", "negative", "neutral"}
    assert sum(answer["answers"][0]["all"].values()) == pytest.approx(1, abs=1e-4)


def test_eval_says_no_teacher_when_the_bundle_left_its_store(built: dict[str, Any], tmp_path: Path) -> None:
    moved = tmp_path / "bundle"
    shutil.copytree(built["bundle"], moved)
    rows = write_rows(tmp_path / "new.csv", 9)
    found = json.loads(run_cli("eval", str(moved), "--data", str(rows), "--text", "review", "--label", "verdict", "--json", cwd=tmp_path).stdout)
    assert found["teacher"] is None


def test_bench_measures_all_three_in_fresh_processes_when_in_the_store(project: Path, built: dict[str, Any]) -> None:
    done = run_cli("bench", built["bundle"], "--mode", "smoke", "--json", "--out", "measured", cwd=project)
    document = json.loads(done.stdout)
    assert len(done.stdout) < 200_000
    latency = {one["subject"]: one for one in samples.unpacked(document)["measurements"] if one["metric"] == "latency_ms"}
    assert set(latency) == {"teacher", "student", "bundle"}
    assert all(len(one["samples"]) >= 64 and one["warmups"] for one in latency.values())
    low, high = document["devices"][0]["ratios"]["bundle"]["interval"]
    assert 0 < low <= document["devices"][0]["ratios"]["bundle"]["median_ratio"] <= high
    rendered = run_cli("report", "measured/bench.json", "--format", "md", cwd=project).stdout
    assert "bundle" in rendered


def test_both_builds_succeed_and_leave_one_copy_when_started_at_once(project: Path, built: dict[str, Any], tmp_path: Path) -> None:
    store = tmp_path / "store"
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: build_json(project, "--target", "linux-x64", "--no-bench", store=store), range(2)))
    assert both[0]["bundle"] == both[1]["bundle"]
    assert [step["key"] for step in both[0]["steps"]] == [step["key"] for step in both[1]["steps"]]
    assert len(list(store.glob("*/*/receipt.json"))) == len(built["steps"])
    assert not list(store.glob("unfinished/*/*"))
    assert "ok" in run_cli("cache", "verify", "--store", str(store), cwd=project).stdout


def test_control_is_built_and_reported_when_asked_for(project: Path, built: dict[str, Any]) -> None:
    document = build_json(project, "--target", "linux-x64", "--set", "controls=true", "--no-bench")
    assert 0 <= document["control"] <= 1
    fresh = [step["stage"] for step in document["steps"] if not step["cached"]]
    assert fresh == ["distil", "export", "check", "pack"]


def test_build_exits_4_and_keeps_the_bundle_when_a_gate_breaks(project: Path, built: dict[str, Any]) -> None:
    done = run_cli("build", "--target", "linux-x64", "--set", "gates.retention=1.9", "--no-bench", cwd=project, check=4)
    assert "gate" in done.stderr
    assert "Traceback" not in done.stderr
    kept = done.stderr.rsplit("the bundle is kept: ", 1)[1].split()[0]
    assert (project / kept / "model.onnx").is_file()


def test_plan_lists_the_same_steps_as_the_build_when_nothing_changed(project: Path, built: dict[str, Any]) -> None:
    document = json.loads(run_cli("plan", "--target", "linux-x64", "--json", cwd=project).stdout)
    assert [step["key"] for step in document["steps"]] == [step["key"] for step in built["steps"]]
    assert all(step["cached"] for step in document["steps"])


def test_retention_is_undefined_when_the_teacher_has_learned_nothing(project: Path, built: dict[str, Any]) -> None:
    """A student that copies a teacher at chance keeps all of nothing: exit 4 with the reason, null in the document, the bundle kept."""
    quick = ["--set", "teach.epochs=1", "--set", "teach.learning_rate=1e-9", "--set", "rounds.0.schedule.epochs=1", "--set", "gates.retention=0.01"]
    done = run_cli("build", "--target", "linux-x64", "--no-bench", "--json", *quick, cwd=project, check=4)
    document = json.loads(done.stdout)
    assert (document["retention"], document["retention_interval"]) == (None, None)
    assert document["chance"]["score"] == pytest.approx(1 / 3)
    assert document["warnings"][0].startswith("the teacher is no better than always answering '")
    assert "retention is undefined, and at least 0.01 is asked for" in done.stderr
    assert Path(document["bundle"]).is_dir()
    lines = run_cli("build", "--target", "linux-x64", "--no-bench", *quick, cwd=project, check=4).stdout.splitlines()
    assert lines[0].startswith("warning: the teacher is no better than always answering '")
    assert any("retention undefined: the teacher is no better than" in line for line in lines)


def test_keys_do_not_change_when_the_project_moves(project: Path, built: dict[str, Any], tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(project, moved, ignore=shutil.ignore_patterns(".edgedistill"))
    document = json.loads(run_cli("plan", "--target", "linux-x64", "--json", cwd=moved).stdout)
    assert [step["key"] for step in document["steps"]] == [step["key"] for step in built["steps"]]


def test_recipe_from_init_builds_without_editing_when_the_csv_has_three_string_labels(tmp_path: Path) -> None:
    folder = write_project(tmp_path / "own")
    (folder / "recipe.toml").unlink()
    (folder / "more.txt").unlink()
    run_cli("init", ".", cwd=folder)
    text = (folder / "recipe.toml").read_text(encoding="utf-8")
    assert 'text = "review"' in text
    assert 'label = "verdict"' in text
    quick = ["--set", "teacher.model=teacher", "--set", "student.vocabulary=100", "--set", "teach.epochs=14"]
    document = build_json(folder, "--target", "linux-x64", "--no-bench", *quick, "--set", "gates.retention=0.01", "--set", "teach.learning_rate=2e-3")
    assert document["n_test"] == 120


def _python(code: str, cwd: Path) -> str:
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
