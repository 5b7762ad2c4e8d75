"""Packages that the base install leaves out: whoever needs one says which, and the smallest thing to install. They are hidden, not removed."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from device_cases import apart, classifier, summed
from test_foreign_hostile import asked

from edgedistill import graphs, packages
from edgedistill.bundle.reader import open_bundle
from edgedistill.errors import ConfigError
from edgedistill.foreign import run
from edgedistill.measure import subjects
from edgedistill.measure.subjects import of_file
from edgedistill.progress import silent

HIDE = "import sys; sys.modules.update(dict.fromkeys({hidden!r})); sys.argv = ['edgedistill', *{words!r}]; from edgedistill.cli import main; main()"


def hide(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.parametrize(
    ("modules", "said", "command"),
    [
        (["onnx"], "x needs the package 'onnx'", "pip install onnx"),
        (["PIL.Image"], "x needs the package 'pillow'", "pip install pillow"),
        (["sklearn", "onnx", "scipy"], "x needs the packages 'onnx', 'scikit-learn' and 'scipy'", "pip install onnx scikit-learn scipy"),
        (["neural_compressor"], "x needs the package 'neural-compressor'", "pip install 'neural-compressor[pt]'"),
        (["onnx", "torch"], "x needs the packages 'onnx' and 'torch'", "pip install 'edgedistill[build]'"),
    ],
)
def test_command_brings_what_is_missing_and_no_more_when_nothing_is_trained(modules: list[str], said: str, command: str) -> None:
    refused = packages.refusal("x", modules)
    assert (refused.args[0], refused.hint) == (said, command)


@pytest.mark.parametrize(("modules", "command"), [(("onnx", "sympy"), "pip install onnx sympy"), (("sympy",), "pip install sympy")])
def test_quantize_is_refused_before_it_looks_when_a_package_is_missing(
    modules: tuple[str, ...], command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, *modules)
    with pytest.raises(ConfigError, match="quantising an ONNX file needs") as caught:
        run.quantize(asked(classifier(tmp_path / "x.onnx")), silent)
    assert caught.value.hint == command
    assert not (tmp_path / "out").exists()


def test_bench_of_a_file_needs_onnx_alone_and_of_junk_says_so_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, junk = summed(tmp_path / "x.onnx"), tmp_path / "junk.onnx"
    junk.write_text("no model", encoding="utf-8")
    hide(monkeypatch, *packages.OPTIONAL)
    with pytest.raises(ConfigError, match="an ONNX file that is no bundle needs the package 'onnx'") as caught:
        of_file(model, {})
    assert caught.value.hint == "pip install onnx"
    with pytest.raises(ConfigError, match="is not a model"):
        of_file(junk, {})


def test_weights_beside_a_graph_are_those_that_onnx_names_when_onnx_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `bench --device ssh:…` of a bundle carries over."""
    model = apart(tmp_path / "x.onnx")
    tensors = onnx.load(str(model), load_external_data=False).graph.initializer
    named = {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}
    hide(monkeypatch, *packages.OPTIONAL)
    assert named
    assert {file.relative_to(tmp_path).as_posix() for file in graphs.beside(model)} == named
    assert set(graphs.parts(model)) == {"x.onnx", *named}
    assert graphs.size(model) == sum((tmp_path / name).stat().st_size for name in {"x.onnx", *named})


def test_golden_examples_stand_in_with_the_command_when_the_test_split_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle: Any = SimpleNamespace(path=tmp_path / "bundle", manifest={"lineage": {"data": "prepare/key"}})
    told = subjects._test_split(bundle, tmp_path / "store", 8)[2]
    assert told == f"the test split is not in the store {tmp_path / 'store'}"
    (tmp_path / "store" / "prepare" / "key" / "files").mkdir(parents=True)
    hide(monkeypatch, *packages.OPTIONAL)
    told = subjects._test_split(bundle, tmp_path / "store", 8)[2]
    assert told == "reading the test split needs the package 'pyarrow' (pip install pyarrow)"


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_file_travels_alone_when_it_is_no_whole_graph(cut: int, tmp_path: Path) -> None:
    model = apart(tmp_path / "x.onnx")
    model.write_bytes(model.read_bytes()[:-cut])
    with pytest.raises(ValueError, match=r"protobuf|number"):
        graphs.beside(model)
    assert list(graphs.parts(model)) == ["x.onnx"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["quantize", "x.onnx", "--target", "linux-x64", "--out", "q"], "hint: pip install onnx sympy\n"),
        (["init", "rows.parquet"], "error: reading parquet needs the package 'pyarrow'\nhint: pip install pyarrow\n"),
    ],
)
def test_exit_is_2_with_the_command_when_the_install_is_the_base_one(words: list[str], told: str, tmp_path: Path) -> None:
    classifier(tmp_path / "x.onnx")
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    code = HIDE.format(hidden=list(packages.OPTIONAL), words=words)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("module", "code"), [("scipy.stats", 2), ("edgedistill.nowhere", 1)])
def test_import_that_nobody_foresaw_is_a_request_only_when_the_package_is_optional(
    module: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgedistill import cli

    def fail(*args: object, **named: object) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(sys, "argv", ["edgedistill", "eval", "x"])
    if code == 1:
        with pytest.raises(ModuleNotFoundError):
            cli.main()
        return
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == code
    assert "error: edgedistill eval needs the package 'scipy'\nhint: pip install scipy" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["b.zip", "b.tar.gz", "b.tar"])
def test_bundle_is_to_be_unpacked_when_it_is_packed(name: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}", encoding="utf-8")
    if name.endswith("zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.write(tmp_path / "manifest.json", "b/manifest.json")
    else:
        with tarfile.open(tmp_path / name, "w:gz" if name.endswith("gz") else "w") as packed:
            packed.add(tmp_path / "manifest.json", "b/manifest.json")
    with pytest.raises(ConfigError, match="is a packed bundle: it has to be unpacked first") as caught:
        open_bundle(tmp_path / name)
    words = caught.value.hint.partition("   ")[0].split()
    subprocess.run([sys.executable, *words[1:]], check=True, capture_output=True)
    assert (tmp_path / "b" / "b" / "manifest.json").is_file()


def test_archive_of_something_else_is_no_bundle(tmp_path: Path) -> None:
    """Weights of torch are zip files too."""
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("model/data.pkl", b"")
    with pytest.raises(ConfigError, match="is not a model"):
        of_file(tmp_path / "model.pt", {})
