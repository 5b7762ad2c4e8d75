"""Time and memory before anything runs: sizes by transformers, arithmetic by hand, choices that fit, and this machine's own speed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from conftest import run_cli

from edgedistill import estimate
from edgedistill.data import Guess
from edgedistill.estimate import Body, Speed, Texts, Work, recipe, speed
from edgedistill.estimate.body import body_of, student_of
from edgedistill.init import _budget as budget
from edgedistill.init._plans import PLANS
from edgedistill.spec import Schedule, Student

MINILM = Body(layers=6, width=384, intermediate=1536, vocabulary=30_522, positions=512)


def flat(seconds: float = 1e-4, cores: float = 1.0, base: int = 0) -> Speed:
    """A machine where a token in a layer of 384 takes so long whatever the length, and wide layers are no more efficient."""
    points = [{"width": 384, "tokens": tokens, "train_s": seconds, "run_s": seconds / 4} for tokens in (32, 128, 512)]
    ratio = Body(layers=1, width=768, intermediate=3072).flops(128) / Body(layers=1, width=384, intermediate=1536).flops(128)
    points.append({"width": 768, "tokens": 128, "train_s": ratio * seconds, "run_s": ratio * seconds / 4})
    return Speed(points=points, optimizer_s=1e-9, base_bytes=base, cores=cores)


def test_sizes_are_those_of_transformers_when_read_from_a_config() -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    config = transformers.BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    body = body_of(config.to_dict())
    assert body == MINILM
    with torch.device("meta"):
        whole = transformers.BertModel(config)
    assert body.parameters == pytest.approx(whole.num_parameters(), rel=0.02)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"n_layers": 6, "dim": 768, "hidden_dim": 3072, "vocab_size": 9}, Body(layers=6, width=768, intermediate=3072, vocabulary=9)),
        ({"n_layer": 2, "n_embd": 64, "n_inner": None}, Body(layers=2, width=64, intermediate=256)),
        ({"num_hidden_layers": 12, "hidden_size": 192, "intermediate_size": 768, "image_size": 224, "patch_size": 16}, None),
        ({"hidden_sizes": [32, 64], "depths": [2, 2]}, None),
    ],
)
def test_families_are_read_by_their_own_words(config: dict[str, Any], expected: Body | None) -> None:
    found = body_of(config)
    if "image_size" in config:
        assert found is not None
        assert found.patches == 14 * 14 + 1
    else:
        assert found == expected


def test_student_has_what_its_methods_leave() -> None:
    assert student_of(Student(method="layers", layers=(0, 1, 2), vocabulary=8000), MINILM) == Body(
        layers=3, width=384, intermediate=1536, vocabulary=8000, positions=512
    )
    assert student_of(Student(method=("layers", "width"), layers=2, width=192), MINILM).intermediate == 768


def test_seconds_grow_with_layers_tokens_and_width_and_fall_with_cores() -> None:
    one = flat().seconds(MINILM, 128, "train_s")
    assert one == pytest.approx(6 * 128 * 1e-4)
    assert flat().seconds(MINILM, 64, "train_s") == pytest.approx(one / 2)
    assert flat(cores=4).seconds(MINILM, 128, "train_s") == pytest.approx(one / 4**0.85)
    wide = Body(layers=6, width=768, intermediate=3072)
    flops = 2 * (4 * 768**2 + 2 * 768 * 3072) + 4 * 128 * 768, 2 * (4 * 384**2 + 2 * 384 * 1536) + 4 * 128 * 384
    assert flat().seconds(wide, 128, "train_s") == pytest.approx(one * flops[0] / flops[1])


def test_training_costs_what_its_parts_cost_by_hand() -> None:
    work = Work(speed=flat(base=1000), max_length=100)
    texts, validation = Texts(rows=320, lengths=(50, 150)), Texts(rows=10, lengths=(100,))
    found = work.training(MINILM, texts, validation, Schedule(epochs=2, batch_size=32, evaluations=3))
    through = 2 * 1.05 * 320 * (50 + 100) / 2 * 6 * 1e-4  # epochs · padding · rows · mean length, cut at 100 · layers · seconds
    steps = 2 * 320 / 32 * (MINILM.parameters * 1e-9 + 0.01)
    judged = 3 * 1.05 * 10 * 100 * 6 * 1e-4 / 4
    assert found.seconds == pytest.approx(through + steps + judged)
    assert found.bytes == pytest.approx(1000 + 400e6 + 16 * MINILM.parameters + (60 + 0.3 * 100) * 6 * 384 * 3200)  # 32 texts of 100 tokens at once


def test_windows_read_all_of_a_long_text() -> None:
    cut, whole = (Work(speed=flat(), max_length=100, windows=windows).through(MINILM, Texts(rows=1, lengths=(250,)), "run_s") for windows in (0, 1))
    assert whole == pytest.approx(2.5 * cut)


def guess(rows: int, *lengths: int, task: str = "text-classification") -> Guess:
    return Guess(path=Path("x.csv"), task=task, rows=rows, text="text", label="label", tokens=256, lengths=lengths)


def test_nothing_is_given_up_where_the_machine_is_fast() -> None:
    found = budget.choose(guess(5400, 250), PLANS["text-classification"], (0.2, 0.1), flat(1e-7))
    assert (found.tokens, found.rows, found.share) == (256, None, 1.0)
    assert not found.hurried


@pytest.mark.parametrize("seconds", [5e-5, 1e-4, 2e-4, 4e-4])
def test_choice_fits_half_an_hour_where_the_machine_is_slower(seconds: float) -> None:
    found = budget.choose(guess(5400, 250), PLANS["text-classification"], (0.2, 0.1), flat(seconds))
    assert found.seconds <= budget.LIMIT_S < found.whole_s
    assert found.tokens < 256 or found.share < 1


def test_large_files_are_drawn_from() -> None:
    found = budget.choose(guess(2_000_000, 250), PLANS["text-classification"], (0.2, 0.1), flat(5e-5))
    assert found.rows in budget.DRAWS
    assert found.seconds <= budget.LIMIT_S


def test_few_rows_are_copied_up_to_twelve_thousand() -> None:
    copies = [
        budget.choose(guess(rows, 20), PLANS["text-classification"], (0.2, 0.1), flat(1e-7)).copies for rows in (100, 1_000, 3_400, 8_000, 50_000)
    ]
    assert copies == [8, 8, 4, 1, 0]  # 0.7 · 3,400 = 2,380; 12,000 ÷ 2,380 = 5.04; 12,000 ÷ 5,600 = 2.1
    assert not budget.choose(guess(100, 20, task="masked-language-modeling"), PLANS["masked-language-modeling"], (0.2, 0.1), flat(1e-7)).copies


@pytest.mark.parametrize(("seconds", "said"), [(5, "5 s"), (119.4, "119 s"), (600, "10 min"), (7199, "120 min"), (9000, "2.5 h")])
def test_durations_read_as_people_say_them(seconds: float, said: str) -> None:
    assert estimate.duration(seconds) == said


def test_small_builds_are_not_measured_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "known", lambda: None)
    monkeypatch.setattr(recipe, "measured", lambda: pytest.fail("measured for seconds of work"))
    monkeypatch.setattr(recipe, "costs", lambda *asked: {"key": estimate.Cost(10.0, 1.0)})
    found, was_measured = recipe.told(None, [], [])  # type: ignore[arg-type]
    assert (found["key"].seconds, was_measured) == (10.0, False)


def test_long_builds_are_measured_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "known", lambda: None)
    monkeypatch.setattr(recipe, "measured", flat)
    monkeypatch.setattr(recipe, "costs", lambda *asked: {"key": estimate.Cost(1e5 if asked[3].base_bytes else 3e5, 1.0)})
    found, was_measured = recipe.told(None, [], [])  # type: ignore[arg-type]
    assert (found["key"].seconds, was_measured) == (3e5, True)


def test_speed_is_kept_and_damage_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert speed.known() is None
    document = {"schema": speed.SCHEMA, "points": flat().points, "optimizer_s": 1e-9, "base_bytes": 5, "of_one_thread": False}
    speed._file().parent.mkdir(parents=True)
    speed._file().write_text(json.dumps(document), encoding="utf-8")
    assert speed.known() == Speed(points=tuple(flat().points), optimizer_s=1e-9, base_bytes=5, cores=1)
    speed._file().write_text('{"schema": ', encoding="utf-8")
    assert speed.known() is None


def test_plan_tells_time_and_memory_of_what_is_to_do(project: Path, tmp_path: Path) -> None:
    words = ["plan", "--target", "linux-x64", "--store", str(tmp_path / "empty")]
    told = json.loads(run_cli(*words, "--json", cwd=project).stdout)
    by_stage = {step["stage"]: step for step in told["steps"]}
    assert all(step["seconds"] > 0 and step["bytes"] > 0 for stage, step in by_stage.items() if stage != "pack")
    assert by_stage["distil"]["seconds"] < 600
    assert "to do: about " in run_cli(*words, cwd=project).stdout


def test_typical_machine_takes_longer_for_longer_texts() -> None:
    found = [estimate.typical().seconds(MINILM, tokens, "train_s") for tokens in (1, 31, 32, 200, 512, 4096)]
    assert all(map(math.isfinite, found))
    assert found == sorted(found)


def test_step_begins_with_what_those_before_have_left() -> None:
    alone = {"teach": estimate.Cost(9.0, 2e9), "student": estimate.Cost(1.0, 0.4e9), "label": estimate.Cost(1.0, 1e9)}
    found = recipe._in_one_process(alone, flat())
    held = [2e9, 0.8 * 2e9, 0.8 * 2e9 + 1e9 - 400e6]  # the second holds nothing of its own beside the program
    assert [cost.bytes for cost in found.values()] == pytest.approx(held)
    assert [cost.seconds for cost in found.values()] == [9.0, 1.0, 1.0]


def test_constants_are_those_of_the_training_that_they_foretell() -> None:
    """They stand twice because planning imports neither numpy nor torch."""
    pytest.importorskip("torch")
    from edgedistill.estimate import cost
    from edgedistill.stages import _trial
    from edgedistill.training import batches, models

    assert (cost.PART_TOKENS, cost.EAGER, recipe.TRIAL_STEPS) == (batches.MOST_TOKENS, models.EAGER, _trial.TRIAL_STEPS)
