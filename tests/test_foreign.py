"""Other people's ONNX: a bundle that its user can feed, or a refusal that names what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import run_cli
from device_cases import until
from foreign_models import CLASSES, VOCABULARY, classifier, picture, save, save_apart
from onnx import TensorProto, helper

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("foreign")


@pytest.fixture(scope="module")
def done(place: Path) -> dict[str, Any]:
    """The small classifier, bundled from rows of a file."""
    model = save(classifier(), place / "classifier.onnx")
    draw = np.random.default_rng(5)
    ids = draw.integers(0, VOCABULARY, (400, 12))
    mask = (np.arange(12) < draw.integers(3, 13, (400, 1))).astype(np.int64)
    np.savez(place / "rows.npz", ids=ids, mask=mask)
    words = ["--calibration", str(place / "rows.npz"), "--out", str(place / "bundle"), "--json"]
    ran = run_cli("quantize", str(model), "--target", "linux-x64", *words, cwd=place)
    document: dict[str, Any] = json.loads(ran.stdout)
    return {**document, "stderr": ran.stderr}


def manifest(bundle: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    return found


def test_document_says_what_was_made_when_rows_are_given(done: dict[str, Any], place: Path) -> None:
    assert done["schema"] == "edgedistill.quantize/1"
    assert Path(done["bundle"]) == (place / "bundle").resolve()
    assert done["samples"]["source"] == "file"
    assert done["samples"]["judged_from_file"] + done["samples"]["judged_synthetic"] == done["rows"] == 256
    assert done["agreement"] >= 0.99
    assert all(one["reason"] for one in done["candidates"])
    assert "SYNTHETIC" not in done["stderr"]


@pytest.mark.parametrize("bad", [0, 7])
def test_row_is_named_when_the_model_does_not_take_it(bad: int, place: Path, tmp_path: Path) -> None:
    """A table of 50 has no row 5000: ONNX Runtime says so at the row that asks for it, wherever in the file that is."""
    model = save(classifier(), tmp_path / "classifier.onnx")
    ids = np.arange(16 * 12).reshape(16, 12) % VOCABULARY
    ids[bad, 3] = 5000
    np.savez(tmp_path / "rows.npz", ids=ids, mask=np.ones_like(ids))
    refused = run_cli("quantize", str(model), "--target", "linux-x64", "--calibration", "rows.npz", "--out", "out", cwd=tmp_path, check=2)
    assert f"rows.npz: sample {bad} (from 0): the model does not run on it" in refused.stderr
    assert "ids within its tables" in refused.stderr


def test_bundle_holds_these_files_when_packed(done: dict[str, Any]) -> None:
    wanted = [".gitattributes", "README.md", "SHA256SUMS", "golden.json", "golden.npz", "history.json", "manifest.json", "model.onnx"]
    assert sorted(file.name for file in Path(done["bundle"]).iterdir()) == wanted


def test_bundle_agrees_with_the_original_when_held_against_it_anew(done: dict[str, Any], place: Path) -> None:
    """Counted here from scratch, on rows that neither calibrated nor judged."""
    import onnxruntime

    sessions = [onnxruntime.InferenceSession(str(file)) for file in (place / "classifier.onnx", Path(done["bundle"]) / "model.onnx")]
    draw = np.random.default_rng(77)
    feeds = [{"ids": draw.integers(0, VOCABULARY, (1, 12)), "mask": np.ones((1, 12), np.int64)} for _ in range(256)]
    ours, theirs = ([int(session.run(None, feed)[0].argmax()) for feed in feeds] for session in sessions)
    assert np.mean([one == other for one, other in zip(ours, theirs, strict=True)]) >= 0.97
    assert len(set(theirs)) == CLASSES


def test_verify_report_and_bench_work_when_the_bundle_has_no_task(done: dict[str, Any], place: Path) -> None:
    assert "golden answers" in run_cli("verify", done["bundle"], cwd=place).stdout
    assert "the original's fidelity" in run_cli("report", done["bundle"], "--format", "md", cwd=place).stdout
    measured = json.loads(run_cli("bench", done["bundle"], "--mode", "smoke", "--json", cwd=place).stdout)
    assert measured["absent"] == []
    assert {one["subject"] for one in measured["measurements"]} == {"original", "bundle"}
    assert measured["devices"][0]["ratios"]["bundle"]["median_ratio"] > 0


@pytest.mark.parametrize("words", [["predict", "BUNDLE", "text"], ["eval", "BUNDLE", "--data", "rows.csv"]])
def test_exit_is_2_when_a_task_is_asked_of_tensors(done: dict[str, Any], place: Path, words: list[str]) -> None:
    (place / "rows.csv").write_text("text,label\na,b\n", encoding="utf-8")
    refused = run_cli(*[done["bundle"] if word == "BUNDLE" else word for word in words], cwd=place, check=2)
    assert "no task" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_verify_exits_6_when_a_golden_answer_was_changed(done: dict[str, Any], tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(done["bundle"], tmp_path / "bundle"))
    (bundle / "golden.npz").write_bytes((bundle / "golden.npz").read_bytes()[:-1] + b"x")
    for command in ("verify", "report"):
        assert "golden.npz" in run_cli(command, str(bundle), cwd=tmp_path, check=6).stderr


def test_receipt_holds_every_scheme_with_its_fidelity_when_packed(done: dict[str, Any]) -> None:
    history = json.loads((Path(done["bundle"]) / "history.json").read_text(encoding="utf-8"))
    judged = [one for one in history["candidates"] if one["score"] is not None]
    assert {"fp32", "int8-dynamic"} <= {one["scheme"] for one in judged}
    assert all({"sqnr_db", "max_abs", "cosine", "agreement"} <= one["facts"]["fidelity"][0].keys() for one in judged)


def test_synthetic_is_said_everywhere_when_no_rows_are_given(place: Path, tmp_path: Path) -> None:
    """And again into the same folder, which is replaced; and an android profile leaves latency unmeasured."""
    model = save(classifier(opset=13), place / "again.onnx")
    words = ["quantize", str(model), "--target", "android-arm64", "--out", "out"]
    first, again = run_cli(*words, cwd=tmp_path), run_cli(*words, cwd=tmp_path)
    assert first.stdout == again.stdout == f"{(tmp_path / 'out').resolve()}\n"
    bundle = tmp_path / "out"
    history = json.loads((bundle / "history.json").read_text(encoding="utf-8"))
    told = (
        first.stderr,
        (bundle / "README.md").read_text(encoding="utf-8"),
        manifest(bundle)["calibration"]["sentence"],
        str(history["calibration"]),
        run_cli("report", str(bundle), "--format", "md", cwd=tmp_path).stdout.splitlines()[0],
    )
    assert all("SYNTHETIC" in text for text in told)
    assert {one["latency"] for one in history["candidates"]} == {"unmeasured"}
    assert next(one for one in history["candidates"] if one["status"] == "chosen")["reason"].startswith("chosen: the first in the profile's order")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".edgedistill", "out"]
    inputs = {one["name"]: one for one in manifest(bundle)["inputs"]}
    assert (inputs["ids"]["kind"], inputs["ids"]["high"]) == ("ids", VOCABULARY)
    assert inputs["mask"]["kind"] == "mask"


def test_exit_is_2_and_nothing_is_lost_when_out_is_somebody_elses(tmp_path: Path) -> None:
    model = save(classifier(), tmp_path / "in" / "model.onnx")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years", encoding="utf-8")
    assert "not empty" in run_cli("quantize", str(model), "-t", "linux-x64", "--out", "out", cwd=tmp_path, check=2).stderr
    assert (tmp_path / "out" / "thesis.txt").read_text(encoding="utf-8") == "years"


@pytest.mark.parametrize(
    ("scheme", "told"),
    [
        ("fp16", ["is forbidden", "2 × slower", "issues/16778"]),
        ("int8-static-s8s8", ["is not listed", "int8-dynamic"]),
        ("int8-dynamical", ["unknown scheme", "int8-dynamic"]),
    ],
)
def test_exit_is_2_with_the_profiles_words_when_a_scheme_is_not_to_be_had(tmp_path: Path, scheme: str, told: list[str]) -> None:
    model = save(classifier(), tmp_path / "model.onnx")
    refused = run_cli("quantize", str(model), "-t", "linux-x64", "--out", "out", "--scheme", scheme, cwd=tmp_path, check=2)
    assert all(part in refused.stderr for part in told)


def refused(folder: Path, model: onnx.ModelProto, *words: str) -> str:
    file = save(model, folder / "model.onnx")
    ran = run_cli("quantize", str(file), "-t", "linux-x64", "--out", "out", *words, cwd=folder, check=2)
    assert "Traceback" not in ran.stderr
    assert not (folder / "out").exists()
    return ran.stderr


def test_operator_is_named_when_onnx_runtime_does_not_know_it(tmp_path: Path) -> None:
    assert "com.nobody::Surprise" in refused(tmp_path, classifier(domain="com.nobody"))


def test_input_is_named_when_it_is_text(tmp_path: Path) -> None:
    node = helper.make_node("StringNormalizer", ["words"], ["upper"])
    values = [helper.make_tensor_value_info(name, TensorProto.STRING, ["n"]) for name in ("words", "upper")]
    model = helper.make_model(helper.make_graph([node], "text", values[:1], values[1:]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert "words" in refused(tmp_path, model) or "upper" in refused(tmp_path, model)


def test_output_is_named_when_fp32_itself_answers_nan(tmp_path: Path) -> None:
    nodes = [helper.make_node("Sub", ["x", "x"], ["zero"]), helper.make_node("Div", ["zero", "zero"], ["y"])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    model = helper.make_model(helper.make_graph(nodes, "nan", values[:1], values[1:]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert "NaN" in refused(tmp_path, model)


def test_faults_are_all_listed_when_the_file_does_not_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", idz=np.zeros((9, 12), np.int64))
    message = refused(tmp_path, classifier(), "--calibration", "rows.npz")
    assert all(part in message for part in ("'idz'", "did you mean 'ids'?", "'ids': is missing", "'mask': is missing"))


def test_shape_is_refused_when_the_graph_says_another(tmp_path: Path) -> None:
    assert "--shape says" in refused(tmp_path, picture(), "--shape", "x=1,4,32,32")


def test_opset_is_named_when_the_target_is_older_and_it_cannot_be_lowered(tmp_path: Path) -> None:
    model = classifier(opset=21, ir_version=10)
    model.graph.node.append(helper.make_node("Gelu", ["logits"], ["soft"]))  # of opset 20
    model.graph.output[0].name = "soft"
    message = refused(tmp_path, model)
    assert "opset 21" in message
    assert "17" in message


def in_process(folder: Path, model: onnx.ModelProto, **asked: Any) -> dict[str, Any]:
    """The verb without the command line."""
    from edgedistill.config import load_target
    from edgedistill.foreign.run import Asked, quantize
    from edgedistill.progress import silent

    file = save(model, folder / "model.onnx")
    options = {"calibration": None, "scheme": None, "rows": 256, "shapes": {}, "store": folder / "store", "target": load_target("linux-x64"), **asked}
    return quantize(Asked(model=file, out=folder / "out", **options), silent)


def test_files_of_newer_versions_are_lowered_when_nothing_in_them_is_new(tmp_path: Path) -> None:
    from edgedistill.foreign import guard

    found = in_process(tmp_path, classifier(opset=18, ir_version=11), scheme="fp32")
    made = onnx.load(str(tmp_path / "out" / "model.onnx"))
    assert made.ir_version <= 10
    assert next(one.version for one in made.opset_import if one.domain == "") == 17
    assert any("IR version 11 lowered to 10" in note for note in found["notes"])
    assert guard.GIB == 2**30


def test_open_sizes_of_an_image_are_the_users_when_given(tmp_path: Path) -> None:
    in_process(tmp_path, picture(), scheme="fp32", shapes={"x": (1, 3, 20, 20)})
    assert manifest(tmp_path / "out")["inputs"][0]["sizes"] == [1, 3, 20, 20]
    assert manifest(tmp_path / "out")["inputs"][0]["kind"] == "image"


def test_weights_beside_the_model_are_read_when_they_lie_in_its_folder(tmp_path: Path) -> None:
    from edgedistill import graphs
    from edgedistill.config import load_target
    from edgedistill.foreign.run import Asked, quantize
    from edgedistill.progress import silent

    file = save_apart(classifier(), tmp_path / "model" / "model.onnx")
    asked = Asked(
        model=file,
        out=tmp_path / "out",
        target=load_target("linux-x64"),
        calibration=None,
        scheme=None,
        rows=256,
        shapes={},
        store=tmp_path / "store",
    )
    dynamic = next(one for one in quantize(asked, silent)["candidates"] if one["scheme"] == "int8-dynamic")
    assert dynamic["score"] > 0.95
    assert dynamic["bytes"] < graphs.size(file) / 2
    assert set(manifest(tmp_path / "out")["original"]["sha256"]) == {"model.onnx", "weights.bin"}


def test_no_torch_is_loaded_when_a_model_is_quantised(tmp_path: Path) -> None:
    """A package of that name that breaks on import stands in the way of the real one, in the guarded process too."""
    (tmp_path / "path" / "torch").mkdir(parents=True)
    (tmp_path / "path" / "torch" / "__init__.py").write_text("raise SystemExit('torch was imported')", encoding="utf-8")
    model = save(classifier(), tmp_path / "model.onnx")
    path = os.pathsep.join([str(tmp_path / "path"), *filter(None, [os.environ.get("PYTHONPATH")])])
    words = ["quantize", str(model), "-t", "linux-x64", "--scheme", "fp32", "--out", "out"]
    run_cli(*words, cwd=tmp_path, PYTHONPATH=path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "inception_v1"])
def test_light_model_is_bundled_and_agrees_when_held_against_the_original(name: str, tmp_path: Path) -> None:
    run_cli("quantize", str(LIGHT / f"light_{name}.onnx"), "-t", "linux-x64", "--out", "out", cwd=tmp_path)
    assert "WEAK" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")  # their weights are constants
    assert held_against(LIGHT / f"light_{name}.onnx", tmp_path / "out") >= 0.99


@pytest.mark.slow
def test_magika_is_bundled_and_agrees_when_held_against_the_original(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--target",
        str(tmp_path / "m"),
        "magika",
    ]
    if subprocess.run(command, check=False, capture_output=True, timeout=300).returncode:
        pytest.skip("the package magika cannot be had here")
    model = next((tmp_path / "m").rglob("*.onnx"))
    run_cli("quantize", str(model), "-t", "linux-x64", "--out", "out", cwd=tmp_path)
    assert held_against(model, tmp_path / "out") >= 0.99
    assert manifest(tmp_path / "out")["inputs"][0]["high"] == 257


def held_against(original: Path, bundle: Path) -> float:
    """Argmax agreement on the judging inputs, counted here."""
    import onnxruntime

    from edgedistill.foreign.inputs import Input, draw
    from edgedistill.foreign.samples import JUDGING_FROM

    inputs = [Input(**{**one, "shape": tuple(one["shape"]), "sizes": tuple(one["sizes"])}) for one in manifest(bundle)["inputs"]]
    ours, theirs = (onnxruntime.InferenceSession(str(file)) for file in (bundle / "model.onnx", original))
    feeds = (draw(inputs, JUDGING_FROM + row) for row in range(256))
    return float(np.mean([ours.run(None, feed)[0].argmax() == theirs.run(None, feed)[0].argmax() for feed in feeds]))


def test_weights_stay_beside_the_graph_when_one_message_cannot_hold_them(tmp_path: Path) -> None:
    """Protobuf's limit is lowered to a small model's size: what is over it takes the way of models over 2 GB."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text("from edgedistill import graphs\ngraphs.LARGE = 1000\n", encoding="utf-8")
    path = os.pathsep.join([str(tmp_path / "path"), *filter(None, [os.environ.get("PYTHONPATH")])])
    file = save_apart(classifier(), tmp_path / "in" / "model.onnx")
    run_cli("quantize", str(file), "-t", "linux-x64", "--scheme", "fp32", "--out", "plain", cwd=tmp_path, PYTHONPATH=path)
    assert (tmp_path / "plain" / "fp32.onnx.data").stat().st_size > 10_000
    assert manifest(tmp_path / "plain")["model"]["files"] == ["model.onnx", "fp32.onnx.data"]
    assert manifest(tmp_path / "plain")["model"]["bytes"] > 10_000
    run_cli("verify", "plain", cwd=tmp_path)
    run_cli("quantize", str(file), "-t", "linux-x64", "--out", "whole", "--json", cwd=tmp_path, PYTHONPATH=path)
    history = json.loads((tmp_path / "whole" / "history.json").read_text(encoding="utf-8"))
    assert {one["scheme"]: one["status"] for one in history["candidates"]}["int8-dynamic"] != "not made"
    run_cli("verify", "whole", cwd=tmp_path)


def test_one_scheme_of_a_profile_of_ones_own_is_tried_when_both_are_named(tmp_path: Path) -> None:
    model = save(classifier(), tmp_path / "model.onnx")
    (tmp_path / "ours.toml").write_text('extends = "linux-x64"\nsummary = "ours"\nstatus = "unmeasured"\n', encoding="utf-8")
    run_cli("quantize", str(model), "-t", "ours.toml", "--scheme", "fp32", "--out", "out", cwd=tmp_path)
    assert manifest(tmp_path / "out")["model"]["scheme"] == "fp32"


def test_search_goes_on_from_its_candidates_when_it_was_killed(tmp_path: Path) -> None:
    """A word is planted in what the killed run left of a candidate: it is in the receipt, so that candidate was not made again."""
    model = save(classifier(), tmp_path / "model.onnx")
    words = ["quantize", str(model), "-t", "linux-x64", "--out", "out", "--json"]
    killed = subprocess.Popen([sys.executable, "-m", "edgedistill", *words], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    place = tmp_path / ".edgedistill" / "unfinished" / "search"
    until(lambda: bool(list(place.glob("*/files/resume/int8-dynamic.made.json"))), 120)
    killed.kill()
    killed.wait()
    (left,) = place.glob("*/files/resume/int8-dynamic.made.json")
    left.write_text('{"planted": true}', encoding="utf-8")
    first = json.loads(run_cli(*words, cwd=tmp_path).stdout)
    assert next(one["facts"] for one in first["candidates"] if one["scheme"] == "int8-dynamic")["planted"] is True
    assert not list(place.iterdir())
    run_cli("verify", "out", cwd=tmp_path)
    shutil.rmtree(tmp_path / "out")
    assert json.loads(run_cli(*words, cwd=tmp_path).stdout) == first  # found in the store, times and all
    run_cli("verify", "out", cwd=tmp_path)


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.INT8, TensorProto.UINT16, TensorProto.UINT64, TensorProto.DOUBLE])
def test_inputs_of_any_number_are_taken_when_the_graph_casts_them(kind: int, tmp_path: Path) -> None:
    weights = helper.make_tensor("w", TensorProto.FLOAT, [32, 8], np.random.default_rng(0).normal(size=256))
    nodes = [helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT), helper.make_node("MatMul", ["f", "w"], ["y"])]
    inputs, outputs = (helper.make_tensor_value_info(*told) for told in (("x", kind, [1, 32]), ("y", TensorProto.FLOAT, [1, 8])))
    graph = helper.make_graph(nodes, "g", [inputs], [outputs], [weights])
    file = save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), tmp_path / "model.onnx")
    run_cli("quantize", str(file), "-t", "linux-x64", "--out", "out", cwd=tmp_path)
    run_cli("verify", "out", cwd=tmp_path)
