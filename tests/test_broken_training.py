"""A training that breaks: what is said, what is kept, and that a sane recipe then works in the same store."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from conftest import RECIPE, build_json, run_cli, write_project

WORDS = ("--target", "linux-x64", "--no-bench", "--set", "gates.retention=0.01")
SANE = RECIPE.replace("epochs = 12", "epochs = 3").replace("epochs = 8", "epochs = 4")
# 660 rows in batches of 32 are 84 steps in four epochs; the first evaluation, and with it a checkpoint, is at step 14
EXPLODES = SANE.replace("kl = { weight = 0.9,", "kl = { weight = [[0.0, 0.9], [0.3, 0.9], [0.6, 1e12]],")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = write_project(tmp_path_factory.mktemp("broken"))
    (place / "recipe.toml").write_text(EXPLODES, encoding="utf-8")
    return place


def test_exit_is_3_with_step_term_and_checkpoint_when_a_weight_explodes(folder: Path) -> None:
    done = run_cli("build", *WORDS, cwd=folder, check=3)
    found = re.search(r"the loss term 'kl' is (\S+) at step (\d+) of (\d+); the last good checkpoint is (\S+)", done.stderr)
    assert found, done.stderr
    value, step, total, checkpoint = float(found[1]), int(found[2]), int(found[3]), folder / found[4]
    assert value > 1000
    assert 0.3 * total <= step <= 0.6 * total + 10
    assert "hint: lower the round's schedule.learning_rate, or that term's weight" in done.stderr
    assert checkpoint.is_dir()
    assert (checkpoint / "model.safetensors").is_file()
    assert 0 < int(checkpoint.name.removeprefix("step-")) < step

    from safetensors.numpy import load_file

    assert all(math.isfinite(float(abs(weight).max())) for weight in load_file(checkpoint / "model.safetensors").values()), "the good one is good"
    (folder / "recipe.toml").write_text(SANE, encoding="utf-8")
    document = build_json(folder, *WORDS)
    assert [one["stage"] for one in document["steps"] if one["cached"]] == ["prepare", "teach", "student", "export", "label"]
    assert 0 <= document["bundle_score"] <= 1


def test_exit_is_3_when_a_learning_rate_breaks_the_teacher(folder: Path) -> None:
    done = run_cli("build", *WORDS, "--set", "teach.learning_rate=1e30", cwd=folder, check=3)
    assert re.search(r"(the loss term 'ce'|the gradient of ce) is \S+ at step \d+ of \d+; ", done.stderr), done.stderr
    assert re.search(r"there is no good checkpoint yet|the last good checkpoint is \S+", done.stderr)
    assert "lower teach.learning_rate" in done.stderr
