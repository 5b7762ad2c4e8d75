"""Disks that are full, limits on files, and folders that are read-only: one sentence, nothing by halves, and the step goes on."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgedistill import files, streams
from edgedistill.bundle import reader
from edgedistill.cache import Store, key_of, write_json
from edgedistill.errors import ConfigError, DataError, EdgedistillError, StageError, WriteError
from edgedistill.faces import bundle as face
from edgedistill.foreign import guard, pack, prepare
from edgedistill.init import write_recipe
from edgedistill.search import _find
from edgedistill.spec import Step

ROOT = pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting a small disk needs root on Linux")
SIZE = 64 * 1024


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(place)], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a disk")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def step(**asked: Any) -> Step:
    return Step(stage="teach", params=None, needs={}, places={}, asked=asked, key=key_of({"stage": "teach", **asked}))


# ── whose words they are ──

WRITERS = """
import resource, sys
from pathlib import Path
import numpy as np, onnx, pyarrow, torch
from onnx import TensorProto, helper, numpy_helper
from pyarrow import parquet
from safetensors.torch import save_file
from tokenizers import Tokenizer, models
import onnxruntime
from edgedistill.files import unwritten, write_text

out = Path(sys.argv[1])
values = np.random.default_rng(0).random((64, 64)).astype(np.float32)
x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in "xy")
graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [numpy_helper.from_array(values, "w")])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.save(model, str(out / "source.onnx"))
options = onnxruntime.SessionOptions()
options.log_severity_level, options.optimized_model_filepath = 4, str(out / "optimised.onnx")
tokenizer = Tokenizer(models.WordLevel({f"word{index}": index for index in range(2000)}, unk_token="word0"))
writers = {
    "torch": lambda: torch.save({"a": torch.rand(64, 64)}, str(out / "a.pt")),
    "safetensors": lambda: save_file({"a": torch.rand(64, 64)}, str(out / "a.safetensors")),
    "tokenizers": lambda: tokenizer.save(str(out / "tokenizer.json")),
    "pyarrow": lambda: parquet.write_table(pyarrow.table({"a": values.ravel()}), str(out / "a.parquet")),
    "numpy": lambda: np.save(out / "a.npy", values),
    "zipfile": lambda: np.savez(out / "a.npz", a=values),
    "onnx": lambda: onnx.save(model, str(out / "a.onnx")),
    "onnxruntime": lambda: onnxruntime.InferenceSession(str(out / "source.onnx"), options, providers=["CPUExecutionProvider"]),
    "ours": lambda: write_text(out / "a.txt", "x" * 9000),
}
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
for name, write in writers.items():
    try:
        write()
        print(name, "wrote it")
    except Exception as error:
        print(name, unwritten(error) or repr(error), sep=": ")
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of a POSIX process")
def test_every_library_is_understood_when_its_file_may_not_grow(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", WRITERS, str(tmp_path)], capture_output=True, text=True, check=True, timeout=120)
    told = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    vague = "a file could not be written whole"
    assert told == {
        **dict.fromkeys(("safetensors", "tokenizers", "pyarrow", "zipfile", "onnx", "ours"), os.strerror(errno.EFBIG)),
        **dict.fromkeys(("torch", "numpy", "onnxruntime"), vague),
    }
    assert not list(tmp_path.glob(".*"))  # ours left nothing


@pytest.mark.parametrize("number", files.FULL)
def test_reason_is_found_when_it_is_behind_another_error(number: int) -> None:
    def odd() -> None:
        try:
            raise OSError(number, os.strerror(number))
        except OSError as error:
            raise ValueError("odd") from error

    with pytest.raises(ValueError, match="odd") as caught:
        odd()
    assert files.unwritten(caught.value) == os.strerror(number)


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "no"),
        PermissionError(errno.EACCES, "no"),
        ValueError("28"),
        DataError("label 'No space left on device' is no class of the bundle"),
    ],
)
def test_no_reason_is_found_when_the_disk_has_room(error: Exception) -> None:
    assert files.unwritten(error) == ""


# ── a disk that is full ──


@ROOT
def test_old_file_stays_whole_when_there_is_no_room_for_the_new_one(small: Path) -> None:
    write_json(small / "a.json", {"old": 1})
    with pytest.raises(OSError, match="No space left"):
        write_json(small / "a.json", {"new": "x" * SIZE})
    assert [(file.name, file.read_text()) for file in small.iterdir()] == [("a.json", '{\n "old": 1\n}\n')]


@ROOT
def test_step_goes_on_from_what_it_had_when_there_is_room_again(small: Path) -> None:
    store, runs = Store(small / "store"), []

    def run(out: Path) -> dict[str, Any]:
        runs.append(sorted(file.name for file in out.iterdir()))
        (out / "shard-0").write_bytes(b"whole")
        (out / f"shard-1{files.PART}").write_bytes(b"x" * SIZE)
        return {}

    with pytest.raises(WriteError, match=r"the step 'teach' stopped, .* cannot be written: No space left on device") as caught:
        store.fill(step(), run)
    assert (caught.value.exit_code, caught.value.hint) == (3, files.ROOM)
    assert store.find(step()) is None
    assert store.verify() == []
    subprocess.run(["mount", "-o", f"remount,size={4 * SIZE}", str(small)], check=True)
    assert (store.fill(step(), run).path / "shard-0").read_bytes() == b"whole"
    assert runs == [[], ["shard-0"]]


@ROOT
def test_nothing_is_left_by_halves_when_a_command_writes_beyond_the_disk(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\n" + "".join(f"fine {index},{index % 2}\n" for index in range(60)))
    (small / "filler").write_bytes(b"x" * (SIZE - 4096))
    commands = {
        "recipe.toml": lambda out: write_recipe(rows, out),
        "report.html": lambda out: face.report(tmp_path, "html", out),
        "bundle": lambda out: packed(tmp_path, out),
    }
    monkeypatch.setattr(face, "_open", lambda path: None)
    monkeypatch.setattr(reader, "check_model", lambda bundle: None)
    monkeypatch.setattr(face, "_render", lambda *asked: "x" * SIZE)
    (small / "rest").write_bytes(b"x" * 4095)  # a whole page
    for name, command in commands.items():
        with pytest.raises(WriteError, match=rf"{small / name}: cannot be written: No space left on device"):
            command(small / name)
    assert sorted(file.name for file in small.iterdir()) == ["filler", "rest"]


@ROOT
def test_disk_is_blamed_and_not_the_model_when_temporary_files_have_no_room(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(small))
    (small / "filler").write_bytes(b"x" * (SIZE - 4096))  # the folder takes what is left
    with pytest.raises(WriteError, match=rf"the temporary file {small}/.*job.json: cannot be written: No space left on device"):
        guard.run("look", {"model": "x" * 8192}, guard.Limits(memory_bytes=guard.GIB, cpu_s=1, wall_s=1))


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 3, "error: a file cannot be written or read: No space left on device\nhint: make room"),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), 3, "error: a/b cannot be written or read: Permission denied\nhint: make room"),
        (WriteError("full", hint="make room"), 3, "error: full\nhint: make room"),
        (ConfigError("wrong"), 2, "error: wrong"),
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(5), 5, ""),
    ],
)
def test_program_ends_with_one_sentence_when_nobody_else_caught_it(
    error: BaseException, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        streams.run(fail)
    assert caught.value.code == code
    assert capsys.readouterr().err.startswith(told)


def test_bug_is_not_hidden_when_it_is_no_fault_of_a_disk() -> None:
    def fail() -> None:
        raise FileNotFoundError(errno.ENOENT, "no such file", "a")

    with pytest.raises(FileNotFoundError):
        streams.run(fail)


def packed(folder: Path, out: Path) -> None:
    """The part of `quantize` that writes a bundle."""

    class Searched:
        path, facts = folder, {"beside": []}

    (folder / "model.onnx").write_bytes(b"x" * SIZE)
    with pack.workplace(out) as place:
        pack.write(None, folder, {}, Searched(), place, out)  # type: ignore[arg-type]


# ── folders that may not be written ──


@ROOT
def test_store_says_so_when_its_disk_is_read_only(small: Path) -> None:
    store = Store(small / "store")
    store.fill(step(), lambda out: {})
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    assert store.find(step()) is not None  # what is there can be used
    for place in (store, Store(small / "other")):
        with pytest.raises(StageError, match=rf"cannot write to the store {place.root}: Read-only file system") as caught:
            place.fill(step(seed=1), lambda out: {})
        assert caught.value.hint == "name another one with --store DIR"
    with pytest.raises(ConfigError, match=r"--out .*: cannot be written: Read-only file system"), files.writing(f"--out {small}"):
        files.write_text(small / "a", "x")


@pytest.mark.parametrize(("number", "kind"), [(errno.EDQUOT, WriteError), (errno.ENOSPC, WriteError), (errno.EACCES, ConfigError)])
def test_place_is_wrong_only_when_no_other_would_be_full_too(number: int, kind: type[EdgedistillError]) -> None:
    with pytest.raises(kind) as caught, files.writing("--out a"):
        raise OSError(number, os.strerror(number))
    assert type(caught.value) is kind
    assert str(caught.value).startswith(f"--out a: cannot be written: {os.strerror(number)}")


# ── what a full disk must not decide ──


class Engine:
    """Writes half a file."""

    @staticmethod
    def make(scheme: str, source: Any, file: Path) -> dict[str, Any]:
        file.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_search_stops_when_a_candidate_has_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_find.quantizers, "engine_of", lambda scheme: Engine)
    monkeypatch.setattr(_find, "_short", lambda engine: "engine")
    with pytest.raises(OSError, match="No space left"):
        _find._try("int8-dynamic", None, None, None, tmp_path, {})  # type: ignore[arg-type]


def test_graph_is_not_left_as_it_is_when_its_change_has_no_room(tmp_path: Path) -> None:
    notes: list[str] = []
    with pytest.raises(OSError, match="No space left"):
        prepare._try("folding", lambda: Engine.make("", None, tmp_path / "a"), tmp_path / "a", lambda file: "", notes)
    assert notes == []


# ── where a file is no file ──


def test_device_and_link_stay_what_they_are_when_written_to(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    files.write_text(tmp_path / "link", "new \udce9")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new \\udce9"
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        end = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        files.write_text(tmp_path / "pipe", "through")
        assert os.read(end, 100) == b"through"
        assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
        os.close(end)
