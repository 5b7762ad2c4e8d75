"""The store under races, kills and damage: what exists is whole, and is made once."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgedistill.cache import RESUME, Store, canonical, digest_folder, key_of, write_json
from edgedistill.errors import IntegrityError
from edgedistill.spec import Step


def make_step(stage: str = "teach", **asked: Any) -> Step:
    return Step(stage=stage, params=None, needs={}, places={}, asked=asked, key=key_of({"stage": stage, **asked}))


def fill_with(files: Mapping[str, str], facts: Mapping[str, Any] | None = None) -> Any:
    """A run function that writes these files."""

    def run(out: Path) -> Mapping[str, Any]:
        for name, text in files.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text(text)
        return facts or {}

    return run


def never(out: Path) -> Mapping[str, Any]:
    raise AssertionError("a step that is in the store must not run again")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_key_is_the_sha256_of_canonical_json_when_written_by_hand() -> None:
    by_hand = '{"a":[1,2.5,null],"b":{"x":true,"ä":"日本"}}'
    asked = {"b": {"ä": "日本", "x": True}, "a": [1, 2.5, None]}
    assert canonical(asked) == by_hand
    assert key_of(asked) == hashlib.sha256(by_hand.encode("utf-8")).hexdigest()
    assert key_of(asked) == "f65f869f82f1a18f64440b232d8fb81d9d75b090c707b1aa7156c1b201b18e8e"


def test_key_ignores_the_order_of_keys_but_not_of_lists() -> None:
    assert key_of({"a": 1, "b": {"c": 2, "d": 3}}) == key_of({"b": {"d": 3, "c": 2}, "a": 1})
    assert key_of({"a": [1, 2]}) != key_of({"a": [2, 1]})


@pytest.mark.parametrize("other", [{"a": "1"}, {"a": 2}, {"b": 1}, {"a": 1, "b": None}, {"a": [1]}])
def test_key_differs_when_anything_that_is_asked_does(other: dict[str, Any]) -> None:
    assert key_of(other) != key_of({"a": 1})


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_key_is_refused_when_a_number_has_no_json(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        key_of({"a": number})


# ── fill and find ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_fill_runs_once_and_finds_after_when_asked_twice(store: Store) -> None:
    step = make_step(seed=3)
    assert store.find(step) is None
    made = store.fill(step, fill_with({"model.bin": "abc", "deep/er.txt": ""}, {"score": 0.5}))
    for artifact in (made, store.fill(step, never), store.find(step), *store.entries()):
        assert artifact is not None
        assert (artifact.stage, artifact.key, artifact.path) == ("teach", step.key, store.root / "teach" / step.key / "files")
        assert artifact.facts == {"score": 0.5}
        assert artifact.receipt["asked"] == {"seed": 3}
        assert artifact.receipt["files"] == {
            "deep/er.txt": {"sha256": hashlib.sha256(b"").hexdigest(), "bytes": 0},
            "model.bin": {"sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "bytes": 3},  # FIPS 180-2's example
        }
    assert sorted(path.name for path in store.place(step).iterdir()) == ["files", "receipt.json"]
    assert store.verify() == []


def test_steps_have_their_own_artifacts_when_anything_asked_differs(store: Store) -> None:
    for seed in (1, 2):
        store.fill(make_step(seed=seed), fill_with({"seed": str(seed)}))
    assert [(artifact.path / "seed").read_text() for artifact in store.entries()] == ["1", "2"]


def test_resume_folder_is_gone_when_the_step_is_done(store: Store) -> None:
    artifact = store.fill(make_step(), fill_with({f"{RESUME}/step-1/state": "x", "model": "y"}))
    assert digest_folder(artifact.path).keys() == {"model"}
    assert not (artifact.path / RESUME).exists()


def test_fill_leaves_no_artifact_but_its_work_when_the_run_raises(store: Store) -> None:
    step = make_step()

    def broken(out: Path) -> Mapping[str, Any]:
        (out / "shard-0").write_text("whole")
        raise ZeroDivisionError("on the way")

    with pytest.raises(ZeroDivisionError, match="on the way"):
        store.fill(step, broken)
    assert store.find(step) is None
    assert list(store.entries()) == []

    def goes_on(out: Path) -> Mapping[str, Any]:
        return {"found": (out / "shard-0").read_text()}

    assert store.fill(step, goes_on).facts == {"found": "whole"}
    assert not (store.root / "unfinished" / "teach" / step.key).exists()


def test_json_file_keeps_its_old_content_when_the_new_cannot_be_written(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": "é"})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"a": math.inf})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"a": "é"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


# ── damage ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_verify_names_every_file_when_some_are_changed_missing_or_new(store: Store) -> None:
    artifact = store.fill(make_step(), fill_with({"same": "1", "byte": "abc", "gone": "2", "in/side": "3"}))
    (artifact.path / "byte").write_text("abd")
    (artifact.path / "gone").unlink()
    (artifact.path / "in" / "new").write_text("")
    store.fill(make_step(seed=2), fill_with({"other": "whole"}))
    assert store.verify() == [
        f"{artifact.path / 'byte'}: changed",
        f"{artifact.path / 'gone'}: missing",
        f"{artifact.path / 'in' / 'new'}: not in the receipt",
    ]


@pytest.mark.parametrize("damage", [b"", b'{"stage": "teach", "ke', b"[]", b'{"stage": "teach"}', b"\xff\xfe\x00", b"null"])
def test_receipt_is_an_integrity_error_when_damaged(store: Store, damage: bytes) -> None:
    step = make_step()
    receipt = store.fill(step, fill_with({"a": "b"})).path.parent / "receipt.json"
    receipt.write_bytes(damage)
    for read in (lambda: store.find(step), store.verify, lambda: store.fill(step, never)):
        with pytest.raises(IntegrityError) as caught:
            read()
        assert str(receipt) in str(caught.value)
        assert str(receipt.parent) in caught.value.hint


def test_fill_makes_it_again_when_the_hint_was_followed(store: Store) -> None:
    step = make_step()
    receipt = store.fill(step, fill_with({"a": "b"})).path.parent / "receipt.json"
    receipt.write_text("{")
    shutil.rmtree(receipt.parent)
    assert store.fill(step, fill_with({"a": "c"})).path.joinpath("a").read_text() == "c"


def test_collect_keeps_only_what_is_asked_when_it_removes_the_rest(store: Store) -> None:
    kept, gone, unfinished, resumed = (make_step(seed=seed) for seed in range(4))
    store.fill(kept, fill_with({"a": "12345"}))
    store.fill(gone, fill_with({"a": "123", "b": "4567"}))
    for step in (unfinished, resumed):
        with pytest.raises(AssertionError, match="must not run"):
            store.fill(step, never)
    receipt = store.place(gone) / "receipt.json"
    expected = 3 + 4 + receipt.stat().st_size  # the artifact's files and its receipt; the unfinished folder is empty
    assert store.collect({kept.key, resumed.key}) == (2, expected)
    assert [artifact.key for artifact in store.entries()] == [kept.key]
    assert [path.name for path in (store.root / "unfinished" / "teach").iterdir()] == [resumed.key]
    assert store.verify() == []


def test_collect_leaves_a_running_fill_alone_when_it_removes_the_rest(store: Store) -> None:
    def collecting(out: Path) -> dict[str, int]:
        assert store.collect(set()) == (0, 0)
        (out / "a").write_text("1")
        return {}

    assert (store.fill(make_step(), collecting).path / "a").is_file()


def test_fill_replaces_the_folder_when_its_receipt_is_gone(store: Store) -> None:
    step = make_step()
    store.fill(step, fill_with({"a": "old"}))
    (store.place(step) / "receipt.json").unlink()
    assert store.verify() == [f"{store.place(step)}: has no receipt"]
    assert (store.fill(step, fill_with({"a": "new"})).path / "a").read_text() == "new"


def test_artifact_says_whether_it_was_made_or_found_when_filled_twice(store: Store) -> None:
    step = make_step()
    assert [store.fill(step, fill_with({"a": "1"})).cached for _ in range(2)] == [False, True]


# ── other processes ──────────────────────────────────────────────────────────────────────────────────────────────────

CHILD = """
import os, signal, sys, time
from pathlib import Path
from edgedistill.cache import Store, key_of
from edgedistill.spec import Step

root, mode, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
step = Step(stage="teach", params=None, needs={}, places={}, asked={}, key=key_of({"stage": "teach"}))
die = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)

def run(out):
    with (root / "ran.log").open("a") as log:
        log.write("once\\n")
    left = out / "shard-0"
    found = left.read_text() if left.exists() else ""
    left.write_text("half")
    deadline = time.monotonic() + 30
    while len(list(root.glob("ready-*"))) < count and time.monotonic() < deadline:
        time.sleep(0.01)  # all have come to the door
    time.sleep(0.2)
    if mode == "run":
        die()
    left.write_text("whole")
    return {"found": found, "pid": os.getpid()}

(root / f"ready-{os.getpid()}").touch()
if mode in ("replace", "rename"):
    setattr(Path, mode, die)
artifact = Store(root / "store").fill(step, run)
print(artifact.path, artifact.facts["found"], artifact.facts["pid"], (artifact.path / "shard-0").read_text(), sep="|")
"""


def child(root: Path, mode: str = "", count: int = 1) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(root), mode, str(count)], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("at", ["run", "replace", "rename"])  # in the run; before the receipt is in; before the folder is
def test_kill_leaves_nothing_half_and_the_rerun_goes_on_when_in_the_middle_of_a_fill(tmp_path: Path, at: str) -> None:
    killed = child(tmp_path, at)
    assert killed.communicate(timeout=30)[0] == ""
    assert killed.returncode == -signal.SIGKILL
    store, step = Store(tmp_path / "store"), make_step()
    assert store.find(step) is None
    assert list(store.entries()) == []
    assert store.verify() == []
    left = {"run": "half"}.get(at, "whole")
    assert (store.root / "unfinished" / "teach" / step.key / "files" / "shard-0").read_text() == left

    again, _ = child(tmp_path).communicate(timeout=30)  # a lock that outlived its holder would hang here
    place, found, _, content = again.strip().split("|")
    assert (Path(place), found, content) == (store.place(step) / "files", left, "whole")
    assert len(list(store.entries())) == 1
    assert store.verify() == []


@pytest.mark.parametrize("count", [2, 4])
def test_run_happens_exactly_once_when_processes_fill_the_same_step_at_once(tmp_path: Path, count: int) -> None:
    children = [child(tmp_path, count=count) for _ in range(count)]
    answers = [process.communicate(timeout=60)[0] for process in children]
    assert [process.returncode for process in children] == [0] * count
    assert (tmp_path / "ran.log").read_text() == "once\n"
    assert len(set(answers)) == 1  # the same artifact, made by the same process
    assert answers[0].strip().endswith("|whole")
