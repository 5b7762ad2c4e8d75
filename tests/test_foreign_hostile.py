"""Model files that mean harm, or are damaged: exit 2 or 3 in less than a minute and 2 GB, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import run_cli
from foreign_models import MUTATIONS, classifier, endless, mutated, pointing, save, save_apart

from edgedistill.config import load_target
from edgedistill.errors import EdgedistillError, StageError
from edgedistill.foreign import guard, run

SECONDS, BYTES = 60, 2 * 2**30


def asked(model: Path) -> run.Asked:
    target = load_target("linux-x64")
    return run.Asked(model=model, target=target, out=model.parent / "out", calibration=None, scheme=None, rows=256, shapes={}, store=model.parent)


def look(model: Path) -> tuple[int, str, float]:
    """The exit code that a look would end with (0: taken), the message and the seconds."""
    wanted, started = asked(model), time.monotonic()
    limits = run._look_limits(wanted)
    assert limits.memory_bytes <= BYTES
    try:
        guard.run("look", run._looking(wanted), limits)
    except EdgedistillError as error:
        return error.exit_code, str(error), time.monotonic() - started
    return 0, "", time.monotonic() - started


def check_all(folder: Path, count: int) -> None:
    with ThreadPoolExecutor(2) as pool:
        kinds, files = zip(*mutated(folder, count), strict=True)
        found = list(pool.map(look, files))
    assert set(kinds) == {mutate.__name__ for mutate in MUTATIONS}
    for kind, file, (code, message, seconds) in zip(kinds, files, found, strict=True):
        assert seconds < SECONDS, file
        assert "Traceback" not in message, file
        assert code in (2, 3) or (code == 0 and kind == "_flipped"), f"{file}: {code} {message}"  # a bit may fall where it matters to nobody


def test_damaged_files_are_refused_when_looked_at(tmp_path: Path) -> None:
    check_all(tmp_path, 24)


@pytest.mark.slow
def test_two_hundred_damaged_files_are_refused_when_looked_at(tmp_path: Path) -> None:
    check_all(tmp_path, 200)


WATCH = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
open("peak", "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


def watched(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command line under a process that has no other children, and writes the largest memory of them into `peak`, in KiB."""
    command = [sys.executable, "-c", WATCH, sys.executable, "-m", "edgedistill", *words]
    return subprocess.run(command, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)


def test_damaged_files_end_the_command_with_exit_2_or_3_within_a_minute_and_2_gb(tmp_path: Path) -> None:
    sound = []
    for kind, file in mutated(tmp_path, 20):
        started = time.monotonic()
        done = watched("quantize", str(file), "-t", "linux-x64", "--scheme", "fp32", "--out", str(file.parent / "out"), folder=file.parent)
        assert time.monotonic() - started < SECONDS, file
        assert "Traceback" not in done.stderr, file
        assert done.returncode in (2, 3) or (kind == "_flipped" and done.returncode == 0), f"{file}: {done.returncode} {done.stderr}"
        assert done.returncode == 0 or (done.stdout == "" and done.stderr.count("error:") == 1), file
        sound += [file] if done.returncode == 0 else []
        assert int((file.parent / "peak").read_text(encoding="ascii")) * 1024 < BYTES, file
    assert len(sound) <= 2


def test_exit_is_3_when_the_model_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LOOK_S", 8.0)
    code, message, seconds = look(endless(tmp_path / "endless"))
    assert code == 3
    assert "8 s" in message or "CPU time" in message
    assert seconds < 20


@pytest.mark.parametrize(
    "location", ["/etc/passwd", "../outside.bin", "inner/../../outside.bin", "C:\\outside.bin", "", "gone.bin", "link.bin", "door/weights.bin"]
)
def test_place_is_named_when_weights_lie_outside_or_nowhere(location: str, tmp_path: Path) -> None:
    (tmp_path / "outside.bin").write_bytes(bytes(100_000))
    (tmp_path / "weights.bin").write_bytes(bytes(100_000))
    file = pointing(tmp_path / "model" / "model.onnx", location)
    (file.parent / "link.bin").symlink_to(tmp_path / "outside.bin")
    (file.parent / "door").symlink_to(tmp_path)
    code, message, _ = look(file)
    assert code == 2
    assert "tensor 'table'" in message


@pytest.mark.parametrize(("offset", "length"), [("99999999", "8"), ("-4", "8"), ("0", "1e9"), ("0", "999999999")])
def test_reach_is_named_when_it_is_beyond_the_file(offset: str, length: str, tmp_path: Path) -> None:
    file = pointing(tmp_path / "model.onnx", "weights.bin", offset=offset, length=length)
    (tmp_path / "weights.bin").write_bytes(bytes(100_000))
    code, message, _ = look(file)
    assert code == 2
    assert "tensor 'table'" in message


def test_look_takes_the_model_when_it_is_sound(tmp_path: Path) -> None:
    assert look(save(classifier(), tmp_path / "model.onnx"))[0] == 0
    assert look(save_apart(classifier(), tmp_path / "apart" / "model.onnx"))[0] == 0


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"{}", b"PK\3\4" + b"x" * 50])
def test_file_is_named_when_it_is_no_model(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    code, message, _ = look(tmp_path / "model.onnx")
    assert code == 2
    assert "model.onnx" in message


def test_exit_is_2_when_the_model_is_a_folder_or_a_device(tmp_path: Path) -> None:
    for place in (tmp_path, Path("/dev/zero"), tmp_path / "nowhere.onnx"):
        assert "no model file" in run_cli("quantize", str(place), "-t", "linux-x64", "--out", str(tmp_path / "out"), cwd=tmp_path, check=2).stderr


WORKS = {
    "crash": "import os\ndef run(job, hear):\n    hear({'kind': 'advance', 'note': 'int8-dynamic'})\n    os.kill(os.getpid(), 11)\n",
    "bomb": "def run(job, hear):\n    return {'size': len(bytearray(3 * 2**30))}\n",
    "sleep": "import time\ndef run(job, hear):\n    time.sleep(60)\n",
    "burn": "def run(job, hear):\n    while True:\n        pass\n",
    "shout": "import os\ndef run(job, hear):\n    print('hello')\n    os.write(1, b'x' * 5000000)\n    return {'said': True}\n",
}


def guarded(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **limits: Any) -> tuple[dict[str, Any], list[Any]]:
    """A child that does what `WORKS` says in the place of a look."""
    (folder / "planted.py").write_text(WORKS[name], encoding="utf-8")
    (folder / "sitecustomize.py").write_text("import sys, planted\nsys.modules['edgedistill.foreign.look'] = planted\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    heard: list[Any] = []
    bounds = {"memory_bytes": BYTES, "cpu_s": 20, "wall_s": 30, **limits}
    return guard.run("look", {"model": "m"}, guard.Limits(**bounds), heard.append), heard


def test_crash_is_told_with_its_signal_when_the_child_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(guard.DiedError, match="SIGSEGV") as told:
        guarded("crash", tmp_path, monkeypatch)
    assert told.value.during["note"] == "int8-dynamic"
    assert isinstance(told.value, StageError)


def test_memory_is_told_when_the_child_wants_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StageError, match=r"2\.0 GiB"):
        guarded("bomb", tmp_path, monkeypatch)


@pytest.mark.parametrize(("name", "limits", "told"), [("sleep", {"wall_s": 3}, "no answer in 3 s"), ("burn", {"cpu_s": 1}, "CPU time|killed")])
def test_time_is_told_when_the_child_takes_too_long(name: str, limits: Any, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(guard.DiedError, match=told):
        guarded(name, tmp_path, monkeypatch, **limits)


def test_answer_comes_through_when_libraries_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert guarded("shout", tmp_path, monkeypatch)[0] == {"said": True}


def test_search_goes_on_without_the_scheme_when_one_kills_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is replaced by one that crashes on a name; the others are tried again and the receipt says why it is not there."""
    killer = """
import os, signal
from edgedistill.quantizers import onnxruntime as engine
make = engine.make
def planted(scheme, source, out):
    if scheme == "int8-dynamic":
        os.kill(os.getpid(), signal.SIGSEGV)
    return make(scheme, source, out)
engine.make = planted
"""
    (tmp_path / "sitecustomize.py").write_text(killer, encoding="utf-8")
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    model = save(classifier(), tmp_path / "model.onnx")
    done = run_cli("quantize", str(model), "-t", "linux-x64", "--out", "out", "--json", cwd=tmp_path, **environment)
    reasons = {one["scheme"]: one["reason"] for one in json.loads(done.stdout)["candidates"]}
    assert "SIGSEGV" in reasons["int8-dynamic"]
    assert "fp32" in reasons


def test_folder_of_the_model_is_no_place_for_modules_when_the_child_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A downloaded model may come with an `onnx.py` beside it."""
    for name in ("onnx", "numpy", "selectors"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('planted code ran')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert look(save(classifier(), tmp_path / "model.onnx"))[0] == 0
