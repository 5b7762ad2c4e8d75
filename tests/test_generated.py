"""Generated bad inputs: each ends within 20 s with the exit code of its kind and a message, never with a traceback.

200 of them, always the same; EDGEDISTILL_GENERATED=1000 in the environment takes more, EDGEDISTILL_GENERATED_SEED=7 others.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bad_bundles
import bad_models
import bad_recipes
import bad_rows
import bad_words
import pytest
from conftest import run_cli
from foreign_models import classifier, save
from forked import DEADLINE_S, Ended, Forks, forks

COUNT, SEED = (int(os.environ.get(name, default)) for name, default in (("EDGEDISTILL_GENERATED", "200"), ("EDGEDISTILL_GENERATED_SEED", "0")))
KINDS: dict[str, tuple[float, set[int]]] = {  # its share, and how it may end: 0, for what is wrong may not matter
    "recipe": (0.25, {0, 2}),
    "profile": (0.1, {0, 2}),
    "rows": (0.2, {0, 2}),
    "model": (0.15, {0, 2, 3}),
    "task bundle": (0.1, {0, 2, 6, 7}),
    "tensor bundle": (0.05, {0, 2, 6, 7}),
    "words": (0.15, {0, 2, 6, 7}),
}
DEATHS = ("memory", "CPU time", "no answer", "crashed with")  # what exit 3 is for, in a model that the guarded process did not survive


@pytest.fixture(scope="module")
def forked() -> Iterator[Forks]:
    with forks() as found:
        yield found


@pytest.fixture(scope="module")
def sound(built: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle of either kind."""
    folder = tmp_path_factory.mktemp("sound")
    save(classifier(), folder / "model.onnx")
    run_cli("quantize", "model.onnx", "-t", "linux-x64", "--scheme", "fp32", "--out", "bundle", cwd=folder)
    return {"task bundle": Path(built["bundle"]), "tensor bundle": folder / "bundle"}


def made(kind: str, number: int, folder: Path, project: Path, sound: dict[str, Path]) -> list[str]:
    """The words of a command; what it reads lies in the folder."""
    draw = random.Random(f"{SEED} {kind} {number}")
    folder.mkdir()
    if kind in ("recipe", "profile", "rows"):
        for name in ("rows.csv", "more.txt", "recipe.toml"):
            shutil.copy(project / name, folder)
        (folder / "teacher").symlink_to(project / "teacher")
    if kind in ("recipe", "words"):
        bad_words.places(folder)
    ways: dict[str, Callable[[], list[str]]] = {
        "recipe": lambda: bad_recipes.recipe(draw, folder),
        "profile": lambda: bad_recipes.profile(draw, folder),
        "rows": lambda: bad_rows.rows(draw, folder, sound["task bundle"]),
        "model": lambda: bad_models.model(draw, folder),
        "words": lambda: bad_words.words(draw, folder),
    }
    return ways[kind]() if kind in ways else bad_bundles.bundle(draw, folder, sound[kind])


def wrong(kind: str, words: list[str], ended: Ended) -> str:
    """What is wrong with how a command ended."""
    if ended.seconds >= DEADLINE_S:
        return f"no end in {DEADLINE_S:.0f} s"
    if ended.code not in KINDS[kind][1]:
        return f"exit {ended.code}"
    if "Traceback" in ended.out + ended.err:
        return "a traceback"
    if ended.code == 3 and not any(word in ended.err for word in DEATHS):
        return "exit 3 of a process that lived"
    if ended.code == 6 and kind == "words" and words[0] not in ("verify", "predict", "eval", "report", "bench", "cache"):
        return "exit 6 without a bundle"
    return "no message" if ended.code and "error" not in ended.err.lower() else ""


@pytest.mark.parametrize(
    "words", [["report", "LONG"], ["verify", "LONG"], ["init", "LONG"], ["plan", "LONG.toml", "-t", "linux-x64"], ["bench", "LONG"]]
)
def test_exit_is_2_when_a_name_is_longer_than_any_file_may_have(words: list[str], forked: Forks, tmp_path: Path) -> None:
    ended = forked.run([word.replace("LONG", "a" * 300) for word in words], tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("kind", KINDS)
def test_ends_with_a_message_and_its_exit_code(kind: str, forked: Forks, project: Path, sound: dict[str, Path], tmp_path: Path) -> None:
    count, found = round(COUNT * KINDS[kind][0]), []
    assert count >= 10
    codes: dict[int, int] = {}
    for number in range(count):
        folder = tmp_path / str(number)
        words = made(kind, number, folder, project, sound)
        ended = forked.run(words, folder)
        codes[ended.code] = codes.get(ended.code, 0) + 1
        if fault := wrong(kind, words, ended):
            found.append(f"{kind} {number}: {fault}: {words}\n{ended.out[-300:]}{ended.err[-1500:]}")
        else:
            shutil.rmtree(folder)
    assert not found, f"{len(found)} of {count}, exit codes {codes}\n\n" + "\n\n".join(found)
    assert sum(number for code, number in codes.items() if code) > count / 4, f"bad inputs are bad: {codes}"
