"""A bundle that was tampered with is refused, and the message names the file."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from conftest import run_cli

from edgedistill.bundle import reader
from edgedistill.bundle.reader import open_bundle
from edgedistill.measure.report import make_report

FILES = [".gitattributes", "model.onnx", "tokenizer.json", "labels.json", "golden.json", "history.json", "manifest.json", "README.md"]


@pytest.fixture
def bundle(built: dict[str, Any], tmp_path: Path) -> Path:
    return Path(shutil.copytree(built["bundle"], tmp_path / "bundle"))


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


def rewrite_sums(bundle: Path) -> None:
    names = [file.name for file in sorted(bundle.iterdir()) if file.name != "SHA256SUMS"]
    lines = [f"{sha256((bundle / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (bundle / "SHA256SUMS").write_text("".join(lines))


def replace_file(bundle: Path, name: str, content: str) -> None:
    """Another content under a digest that fits, as one who means harm would leave it."""
    (bundle / name).write_text(content)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][name]["sha256"] = sha256(content.encode()).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def plant_wrong_golden(bundle: Path) -> None:
    golden = json.loads((bundle / "golden.json").read_text())
    golden["cases"][0]["outputs"][0][0][0] += 1.0
    replace_file(bundle, "golden.json", json.dumps(golden))


def test_list_of_files_is_the_bundles_when_built(built: dict[str, Any]) -> None:
    assert sorted(file.name for file in Path(built["bundle"]).iterdir()) == sorted([*FILES, "SHA256SUMS"])


def test_verify_passes_when_nothing_changed(bundle: Path) -> None:
    assert "ok" in run_cli("verify", str(bundle), cwd=bundle).stdout


def test_coreutils_agree_when_nothing_changed(bundle: Path) -> None:
    import subprocess

    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=bundle, check=True)


@pytest.mark.parametrize("name", [*FILES[1:], "SHA256SUMS"])
def test_verify_exits_6_and_names_the_file_when_a_byte_changed(bundle: Path, name: str) -> None:
    flip(bundle / name)
    done = run_cli("verify", str(bundle), cwd=bundle, check=6)
    assert name in done.stderr
    assert "Traceback" not in done.stderr


def test_verify_passes_and_names_it_when_systems_add_litter(bundle: Path) -> None:
    (bundle / ".DS_Store").write_bytes(b"x")
    (bundle / ".gitattributes").unlink()
    told = reader.verify(bundle)
    assert told[:2] == ["7 files are what SHA256SUMS says", "left aside, as no part of what was packed: .gitattributes, .DS_Store"]


def test_verify_exits_6_and_tells_of_line_ends_when_git_changed_them(bundle: Path) -> None:
    file = bundle / "golden.json"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    told = run_cli("verify", str(bundle), cwd=bundle, check=6).stderr
    assert "golden.json: its digest is not the one in SHA256SUMS; its line ends became CRLF" in told
    assert "hint: git config core.autocrlf false" in told


def test_verify_exits_6_when_a_file_is_missing_or_was_added(bundle: Path) -> None:
    (bundle / "extra.txt").write_text("surprise")
    assert "extra.txt" in run_cli("verify", str(bundle), cwd=bundle, check=6).stderr
    (bundle / "extra.txt").unlink()
    (bundle / "labels.json").unlink()
    assert "labels.json" in run_cli("verify", str(bundle), cwd=bundle, check=6).stderr


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/hostname", "a/../../outside.txt"])
def test_verify_exits_6_when_a_path_leaves_the_folder(bundle: Path, name: str) -> None:
    (bundle / "SHA256SUMS").write_text(f"{'0' * 64}  {name}\n")
    assert "outside itself" in run_cli("verify", str(bundle), cwd=bundle, check=6).stderr


def test_verify_exits_6_when_a_file_is_a_link(bundle: Path, tmp_path: Path) -> None:
    (bundle / "labels.json").rename(tmp_path / "labels.json")
    (bundle / "labels.json").symlink_to(tmp_path / "labels.json")
    assert "link" in run_cli("verify", str(bundle), cwd=bundle, check=6).stderr


def test_verify_exits_6_when_the_model_answers_differently_though_digests_fit(bundle: Path) -> None:
    plant_wrong_golden(bundle)
    rewrite_sums(bundle)
    assert "answers differently" in run_cli("verify", str(bundle), cwd=bundle, check=6).stderr


def test_bench_exits_6_and_gives_no_latency_when_answers_are_wrong(bundle: Path) -> None:
    plant_wrong_golden(bundle)
    done = run_cli("bench", str(bundle), "--mode", "smoke", "--json", cwd=bundle, check=6)
    document = json.loads(done.stdout)
    assert document["devices"][0]["status"] == "wrong"
    assert document["measurements"] == []


def test_predict_exits_2_when_there_is_no_bundle(tmp_path: Path) -> None:
    assert "no bundle folder" in run_cli("predict", str(tmp_path / "none"), "text", cwd=tmp_path, check=2).stderr


def test_predict_exits_6_when_the_folder_is_not_a_bundle(tmp_path: Path) -> None:
    assert "not a bundle" in run_cli("predict", str(tmp_path), "text", cwd=tmp_path, check=6).stderr


def test_bench_exits_6_when_the_model_is_truncated(bundle: Path) -> None:
    model = bundle / "model.onnx"
    model.write_bytes(model.read_bytes()[:-100])
    assert "model.onnx" in run_cli("bench", str(bundle), cwd=bundle, check=6).stderr


def test_verify_exits_6_when_a_link_to_a_folder_was_added(bundle: Path) -> None:
    (bundle / "p").symlink_to("/etc")
    assert "p: not in SHA256SUMS" in run_cli("verify", str(bundle), cwd=bundle, check=6).stderr


@pytest.mark.parametrize("document", ["[]", "{}", '{"schema": "edgedistill.bundle/1"}', '{"schema": "edgedistill.bundle/2"}', "no json"])
def test_predict_exits_6_when_the_manifest_is_hollow(bundle: Path, document: str) -> None:
    (bundle / "manifest.json").write_text(document)
    done = run_cli("predict", str(bundle), "text", cwd=bundle, check=6)
    assert "manifest.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_predict_exits_6_when_the_task_is_unknown(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps({**manifest, "task": "mind-reading"}))
    assert "mind-reading" in run_cli("predict", str(bundle), "text", cwd=bundle, check=6).stderr


def test_verify_exits_6_when_the_classes_differ_between_files(bundle: Path) -> None:
    replace_file(bundle, "labels.json", '["negative"]')
    rewrite_sums(bundle)
    assert "different classes" in run_cli("verify", str(bundle), cwd=bundle, check=6).stderr


def test_bundle_of_before_is_reported_on_when_it_says_nothing_of_chance(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["chance"]["answer"].startswith("always answering")
    assert manifest["chance"]["lead"][0] > 0
    for name in ("chance", "warnings", "spellings"):
        del manifest[name]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    old = make_report(open_bundle(bundle), None)
    assert (old.warnings, old.retention) == ((), manifest["retention"])
    (bundle / "manifest.json").write_text(json.dumps(manifest | {"retention": None, "retention_interval": None, "warnings": ["the teacher …"]}))
    new = make_report(open_bundle(bundle), None)
    assert (new.warnings, new.retention, new.retention_interval) == (("the teacher …",), None, None)
