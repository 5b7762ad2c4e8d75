"""Students of any size and students that exist: counts by hand, seeds, heads, faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import FAMILIES, PIECES, SMALLER, logits, make_teacher, make_tokenizer, origin

from edgedistill.errors import ConfigError
from edgedistill.spec import Student
from edgedistill.students import checkpoint, compose
from edgedistill.students import config as sizes


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def teacher(family: str) -> Any:
    return make_teacher(family)


# ── config ───────────────────────────────────────────────────────────────────────────────────────────────────────────

NARROW = Student(method="config", config={"num_hidden_layers": 2, "hidden_size": 8, "intermediate_size": 12})

SAME = {family: {"n_layers" if family == "distilbert" else "num_hidden_layers": 1} for family in FAMILIES}


def test_parameters_equal_the_count_by_hand_when_sizes_change() -> None:
    model = sizes.build(NARROW, origin(make_teacher("bert")), seed=0).model
    # 16 pieces, 20 positions, 2 segments, norm: (16 + 20 + 2) · 8 + 16 = 320;  pooler 8·8 + 8 = 72;  head 8·3 + 3 = 27
    # a layer: q, k, v, out 4 · (64 + 8) = 288; two norms 32; 8·12 + 12 = 108; 12·8 + 8 = 104 → 532
    assert model.num_parameters() == 320 + 2 * 532 + 72 + 27


def test_seed_decides_the_weights_when_they_are_random() -> None:
    one, same, other = (sizes.build(NARROW, origin(make_teacher("bert")), seed=seed).model.state_dict() for seed in (1, 1, 2))
    name = "bert.encoder.layer.0.output.dense.weight"
    assert torch.equal(one[name], same[name])
    assert not torch.equal(one[name], other[name])


def test_config_follows_the_tokenizer_when_trimmed(family: str, teacher: Any) -> None:
    made = compose(Student(method="config", config=SAME[family], vocabulary=SMALLER), origin(teacher), seed=0)
    assert made.model.config.vocab_size == made.tokenizer.get_vocab_size() == SMALLER
    assert logits(made.model, made.tokenizer).shape == (2, 3)
    assert teacher.config.vocab_size == len(PIECES)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"hiden_size": 8}, "no such size in the teacher's config"),
        ({}, "is empty"),
        ({"hidden_size": 9}, "the width 9 is not a multiple of 2 heads"),
        ({"num_attention_heads": 0}, "must be above 0 (found 0)"),
    ],
)
def test_sizes_are_a_fault_when_they_cannot_work(config: dict[str, int], words: str) -> None:
    found = sizes.faults(Student(method="config", config=config), make_teacher("bert").config.to_dict())
    assert [fault.what for fault in found] == [words]


def test_sizes_use_the_familys_own_names_when_it_is_distilbert() -> None:
    teacher = make_teacher("distilbert").config.to_dict()
    fine, odd = ({"dim": 8, "n_layers": 1}, {"dim": 9})
    assert sizes.faults(Student(method="config", config=fine), teacher) == []
    assert [fault.what for fault in sizes.faults(Student(method="config", config=odd), teacher)] == ["the width 9 is not a multiple of 2 heads"]


@pytest.mark.parametrize("config", [{"hidden_size": 0}, {"hidden_size": -16}, {"num_hidden_layers": -1}, {"intermediate_size": -4}])
def test_size_is_a_fault_when_not_above_zero(config: dict[str, int]) -> None:
    assert sizes.faults(Student(method="config", config=config), make_teacher("bert").config.to_dict())


def test_padding_id_follows_the_tokenizer_when_the_piece_moves() -> None:
    pieces = [*PIECES[4:], *PIECES[:4]]
    teacher = make_teacher("bert", pad_token_id=pieces.index("[PAD]"))
    made = compose(Student(method="config", config={"hidden_size": 8}, vocabulary=SMALLER), origin(teacher, make_tokenizer(pieces)), seed=0)
    assert made.model.config.pad_token_id == made.tokenizer.token_to_id("[PAD]")


# ── checkpoint ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def folder(tmp_path: Path, teacher: Any) -> Path:
    teacher.save_pretrained(tmp_path)
    make_tokenizer().save(str(tmp_path / "tokenizer.json"))
    return tmp_path


FROM_FOLDER = Student(method="checkpoint", model="folder")


def test_checkpoint_answers_as_saved_when_its_classes_are_the_datas(folder: Path, teacher: Any) -> None:
    made = checkpoint.build(FROM_FOLDER, origin(teacher, checkpoint=folder), seed=0)
    assert torch.equal(logits(made.model, made.tokenizer), logits(teacher, make_tokenizer()))


def test_checkpoint_gets_a_fresh_head_from_the_seed_when_its_classes_differ(folder: Path, teacher: Any) -> None:
    five = origin(teacher, checkpoint=folder, labels=list("vwxyz"))
    one, same, other = (checkpoint.build(FROM_FOLDER, five, seed=seed) for seed in (1, 1, 2))
    assert logits(one.model, one.tokenizer).shape == (2, 5)
    assert torch.equal(logits(one.model, one.tokenizer), logits(same.model, same.tokenizer))
    assert not torch.equal(logits(one.model, one.tokenizer), logits(other.model, other.tokenizer))
    saved = teacher.state_dict()
    kept = [name for name, weight in one.model.state_dict().items() if torch.equal(weight, saved.get(name, torch.zeros(0)))]
    assert len(kept) >= len(saved) - 2  # all but the head's weight and bias


def test_checkpoint_has_faults_when_it_has_no_place_or_is_to_be_trimmed() -> None:
    found = checkpoint.faults(Student(method="checkpoint", vocabulary=9), {})
    assert [fault.where for fault in found] == ["student.model", "student.vocabulary"]
    assert checkpoint.faults(FROM_FOLDER, {}) == []


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json", "tokenizer.json"])
def test_checkpoint_is_a_fault_when_a_file_is_not_there(tmp_path: Path, missing: str) -> None:
    teacher = make_teacher("bert")
    teacher.save_pretrained(tmp_path)
    make_tokenizer().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / missing).unlink()
    with pytest.raises(ConfigError, match=r"student\.model") as caught:
        checkpoint.build(FROM_FOLDER, origin(teacher, checkpoint=tmp_path), seed=0)
    assert str(tmp_path) in str(caught.value)
