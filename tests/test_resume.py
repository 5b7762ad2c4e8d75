"""Killed with SIGKILL in the middle of a training or of the labelling, the same command goes on and ends with the same weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import RECIPE, build_json, write_project

WORDS = ("--target", "linux-x64", "--no-bench", "--set", "gates.retention=0.1")


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose student trains long enough to be killed, with dropout so that the random state matters."""
    folder = write_project(tmp_path_factory.mktemp("longer"))
    text = RECIPE.replace("epochs = 12", "epochs = 2").replace("schedule = { epochs = 8,", "schedule = { epochs = 16, dropout = 0.1, patience = 99,")
    (folder / "recipe.toml").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def whole(longer: Path) -> dict[str, str]:
    """The digests of the weights and soft labels of an uninterrupted build."""
    build_json(longer, *WORDS, gates=False, store=longer / "whole")
    return digests(longer / "whole")


def digests(store: Path) -> dict[str, str]:
    receipts = [json.loads(file.read_text()) for file in sorted(store.glob("*/*/receipt.json"))]
    return {
        f"{one['stage']}/{one['key']}/{name}": entry["sha256"]
        for one in receipts
        for name, entry in one["files"].items()
        if name.endswith((".safetensors", ".npy", ".npz"))
    }


def kill_when(folder: Path, store: Path, reached: Callable[[], bool], **environment: str) -> None:
    """Start the build and SIGKILL it as soon as the store shows that it got there."""
    command = [sys.executable, "-c", EAGER, "build", *WORDS, "--store", str(store)]
    settings = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", **environment}
    running = subprocess.Popen(command, cwd=folder, env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 90
        while not reached():
            assert running.poll() is None, "the build ended before it could be killed"
            assert time.monotonic() < deadline, "the build never got there"
            time.sleep(0.005)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()


# the same program, only more eager to save: a checkpoint every fifth of a second
EAGER = """
import sys
from edgedistill.training import checkpoint
checkpoint.EVERY_S = 0.2
from edgedistill.cli import main
sys.argv[0] = "edgedistill"
main()
"""


def test_weights_equal_an_uninterrupted_run_when_killed_in_distil(longer: Path, whole: dict[str, str]) -> None:
    store = longer / "killed-in-distil"

    def trained_a_while() -> bool:
        return any(
            int(step.name.removeprefix("step-")) >= 60 for step in store.glob("unfinished/distil/*/files/resume/step-*") if step.suffix != ".part"
        )

    kill_when(longer, store, trained_a_while)
    assert list(store.glob("unfinished/distil/*"))
    assert not list(store.glob("distil/*"))
    document = build_json(longer, *WORDS, gates=False, store=store)
    assert [step["stage"] for step in document["steps"] if step["cached"]] == ["prepare", "teach", "student", "export", "label"]
    assert digests(store) == whole


def test_weights_equal_an_uninterrupted_run_when_killed_in_teach(longer: Path, whole: dict[str, str]) -> None:
    store = longer / "killed-in-teach"
    kill_when(longer, store, lambda: any(step.suffix != ".part" for step in store.glob("unfinished/teach/*/files/resume/step-*")))
    build_json(longer, *WORDS, gates=False, store=store)
    assert digests(store) == whole


def test_labels_equal_an_uninterrupted_run_when_killed_in_label(longer: Path, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The first shard is there, the second is not: the rerun keeps the one and makes the other."""
    store = longer / "killed-in-label"
    kill_when(longer, store, lambda: bool(list(store.glob("unfinished/label/*/files/train-00000.npz"))))
    left = next(store.glob("unfinished/label/*/files/train-00000.npz"))
    written = left.stat().st_mtime_ns
    build_json(longer, *WORDS, gates=False, store=store)
    kept = next(store.glob("label/*/files/train-00000.npz"))
    assert kept.stat().st_mtime_ns == written
    assert digests(store) == whole


def test_message_says_how_to_go_on_when_interrupted(longer: Path) -> None:
    store = longer / "interrupted"
    command = [sys.executable, "-m", "edgedistill", "build", *WORDS, "--store", str(store)]
    settings = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background job, and all that it starts, is deaf to it
    running = subprocess.Popen(command, cwd=longer, env=settings, preexec_fn=heard, **pipes)
    deadline = time.monotonic() + 300
    while not list(store.glob("unfinished/teach/*/files/resume/*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, story = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "stopped; the same command goes on from here" in story
    assert "Traceback" not in story


def test_build_goes_on_when_killed_while_a_checkpoint_is_written(longer: Path, whole: dict[str, str]) -> None:
    """A half-written checkpoint is a folder that ends in .part; the rerun clears it away and goes on from the whole one before."""
    store = longer / "killed-in-checkpoint"
    kill_when(longer, store, lambda: any(step.suffix != ".part" for step in store.glob("unfinished/distil/*/files/resume/step-*")))
    half = next(store.glob("unfinished/distil/*/files/resume")) / "step-00000099.part"
    half.mkdir(exist_ok=True)
    (half / "model.safetensors").write_bytes(b"half")
    build_json(longer, *WORDS, gates=False, store=store)
    assert digests(store) == whole
    assert not list(store.rglob("*.part"))


def test_training_goes_on_where_it_stopped_when_the_checkpoint_is_the_last_step(longer: Path, whole: dict[str, str]) -> None:
    """Killed between the last checkpoint and the rename: nothing is trained again."""
    store = longer / "killed-at-the-end"

    def done_training() -> bool:
        return any(step.name == f"step-{TOTAL:08d}" for step in store.glob("unfinished/distil/*/files/resume/step-*"))

    kill_when(longer, store, done_training)
    document = build_json(longer, *WORDS, gates=False, store=store)
    assert digests(store) == whole
    assert next(step["seconds"] for step in document["steps"] if step["stage"] == "distil") < 10


TOTAL = 16 * -(-750 // 32)  # epochs × batches of the 450 training and 300 transfer rows
