"""Bundles on their way: line ends, litter, git-lfs, downloads that stop. What happened is said, and how to undo it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from edgedistill.bundle import reader, sums
from edgedistill.errors import IntegrityError
from edgedistill.files import AS_PACKED, GIT

MODEL = b"\x08\x09onnx\n\r\n\0" + bytes(range(256)) * 8
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 2058\n"


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The files of one, by hand: what their digests say is all that is looked at."""
    return make(tmp_path / "bundle")


def make(folder: Path, old: bool = False) -> Path:
    folder.mkdir()
    held = {"model.onnx": MODEL, "tokenizer.json": b'{"a":\n1}\n', "windows.txt": b"one\r\ntwo\r\n"} | ({} if old else {GIT: AS_PACKED.encode()})
    for name, content in held.items():
        (folder / name).write_bytes(content)
    listed = {name: {"sha256": digest(content), "bytes": len(content)} for name, content in held.items()}
    (folder / "manifest.json").write_text(json.dumps({"files": listed}, indent=1) + "\n")
    names = sorted(file.name for file in folder.iterdir())
    (folder / sums.SUMS).write_text("".join(f"{digest((folder / name).read_bytes())}  {name}\n" for name in names))
    return folder


def refusal(bundle: Path) -> tuple[str, str]:
    with pytest.raises(IntegrityError) as caught:
        sums.check(bundle)
    assert caught.value.exit_code == 6
    return str(caught.value.args[0]), caught.value.hint


@pytest.mark.parametrize(
    ("name", "change", "what", "undo"),
    [
        ("tokenizer.json", lambda found: found.replace(b"\n", b"\r\n"), "its line ends became CRLF", "core.autocrlf false"),
        ("model.onnx", lambda found: found.replace(b"\n", b"\r\n"), "its line ends became CRLF", "core.autocrlf false"),  # FTP as text
        ("manifest.json", lambda found: found.replace(b"\n", b"\r\n"), "its line ends became CRLF", "core.autocrlf false"),
        ("windows.txt", lambda found: found.replace(b"\r\n", b"\n"), "its line ends were CRLF and became LF", "fetch it again as binary"),
        ("tokenizer.json", lambda found: b"\xef\xbb\xbf" + found, "a byte-order mark in front", "fetch it again"),
        ("tokenizer.json", lambda found: found[:-1], "an editor took away the last line end", "fetch it again"),
        ("tokenizer.json", lambda found: found + b"\n", "an editor added a line end", "fetch it again"),
        ("model.onnx", lambda found: found[:1000], "it has 1,000 of 2,058 bytes: the copy or download was cut off", "fetch it again"),
        ("model.onnx", lambda found: b"", "it has 0 of 2,058 bytes", "fetch it again"),
        ("manifest.json", lambda found: b"", "it is empty", "fetch it again"),
        ("model.onnx", lambda found: POINTER.format(digest(MODEL)).encode(), "a git-lfs pointer: the file itself was not fetched", "git lfs pull"),
        ("model.onnx", lambda found: POINTER.format("0" * 64).encode(), "a git-lfs pointer (of another version of the file)", "git lfs pull"),
        ("model.onnx", lambda found: b"\n<!DOCTYPE html><html>", "it is a web page", "the link of the file itself"),
        ("model.onnx", lambda found: found[:-1] + b"x", "its digest is not the one in SHA256SUMS", "pull or build the bundle again"),
    ],
)
def test_change_is_named_with_the_way_back_when_it_is_a_usual_one(
    bundle: Path, name: str, change: Callable[[bytes], bytes], what: str, undo: str
) -> None:
    file = bundle / name
    file.write_bytes(change(file.read_bytes()))
    said, hint = refusal(bundle)
    assert said.startswith(f"{file}: its digest is not the one in SHA256SUMS")
    assert what in said
    assert undo in hint
    assert said.count("\n") == 0


def test_each_way_back_is_said_once_when_all_files_changed(bundle: Path) -> None:
    for name in ("tokenizer.json", "manifest.json", "model.onnx", GIT):
        file = bundle / name
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    said, hint = refusal(bundle)
    assert said.count("became CRLF") == 3
    assert hint.count("autocrlf") == 1


def test_sums_name_the_cause_when_they_are_a_pointer_themselves(bundle: Path) -> None:
    (bundle / sums.SUMS).write_text(POINTER.format("0" * 64))
    said, hint = refusal(bundle)
    assert said.endswith("line 1 is damaged; it is a git-lfs pointer: the file itself was not fetched")
    assert "git lfs pull" in hint


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (POINTER.format("0" * 64), "it is a git-lfs pointer"),
        ('{"schema": "edgedistill.bund', "it ends in the middle"),
        ('{"schema": {', "it ends in the middle"),
        ("<html>", "it is a web page"),
        ("no json", "Expecting value"),
    ],
)
def test_every_reader_names_the_cause_when_the_manifest_is_not_json(bundle: Path, content: str, what: str) -> None:
    (bundle / "manifest.json").write_text(content)
    with pytest.raises(IntegrityError, match=rf"manifest.json cannot be read: {what}"):
        reader.open_bundle(bundle)


def test_reader_that_does_not_verify_names_the_cause_when_the_model_is_a_pointer(bundle: Path) -> None:
    opened = reader.Bundle(path=bundle, manifest={**json.loads((bundle / "manifest.json").read_text()), "schema": "", "encoder": {"files": []}})
    (bundle / "model.onnx").write_text(POINTER.format(digest(MODEL)))
    with pytest.raises(IntegrityError, match=r"model.onnx is not the file that was packed: it is a git-lfs pointer"):
        reader.check_model(opened)


# ── litter ──


@pytest.mark.parametrize("old", [False, True])
def test_litter_is_named_and_no_fault_when_systems_add_it(tmp_path: Path, old: bool) -> None:
    bundle = make(tmp_path / "bundle", old=old)
    count = 4 if old else 5
    assert (len(sums.check(bundle)[0]), sums.check(bundle)[1]) == (count, [])
    for name in ("__MACOSX/bundle/._model.onnx", "__MACOSX/._x", ".DS_Store", "._tokenizer.json", "Thumbs.db", ".git/objects/aa/b", ".git/HEAD"):
        (bundle / name).parent.mkdir(parents=True, exist_ok=True)
        (bundle / name).write_bytes(b"x")
    assert sums.check(bundle)[1] == [".DS_Store", "._tokenizer.json", ".git", "Thumbs.db", "__MACOSX"]
    (bundle / "extra.bin").write_bytes(b"x")
    assert refusal(bundle)[0] == f"{bundle / 'extra.bin'}: not in SHA256SUMS"


@pytest.mark.parametrize("name", [".DS_Store", "__MACOSX"])
def test_link_is_a_fault_when_it_has_the_name_of_litter(bundle: Path, tmp_path: Path, name: str) -> None:
    (bundle / name).symlink_to(tmp_path)
    assert refusal(bundle)[0] == f"{bundle / name}: not in SHA256SUMS"


@pytest.mark.parametrize("content", [None, AS_PACKED + "*.onnx filter=lfs diff=lfs merge=lfs -text\n"])
@pytest.mark.parametrize("old", [False, True])
def test_gitattributes_decides_nothing_when_it_is_lost_or_git_lfs_wrote_into_it(tmp_path: Path, content: str | None, old: bool) -> None:
    """Archives of assets leave out what begins with a dot, and bundles of before have none."""
    bundle = make(tmp_path / "bundle", old=old)
    (bundle / GIT).unlink(missing_ok=True)
    if content is not None:
        (bundle / GIT).write_text(content)
    digests, aside = sums.check(bundle)
    assert GIT not in digests
    assert aside == ([] if old and content is None else [GIT])


# ── git itself ──


def git(folder: Path, *words: str) -> None:
    settings = ["-c", "core.autocrlf=true", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *settings, *words], cwd=folder, check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.parametrize("old", [False, True])
def test_git_gives_back_the_bytes_only_when_the_bundle_says_so(tmp_path: Path, old: bool) -> None:
    origin = tmp_path / "origin"
    origin.mkdir()
    (origin / GIT).write_text("* text=auto eol=crlf\n")  # what the repository around it asks for
    make(origin / "bundle", old=old)
    git(origin, "init")
    git(origin, "add", ".")
    git(origin, "commit", "-m", "all")
    git(tmp_path, "clone", str(origin), "copy")
    bundle = tmp_path / "copy" / "bundle"
    if old:
        assert "its line ends became CRLF" in refusal(bundle)[0]
    else:
        assert sums.check(bundle)[1] == []
