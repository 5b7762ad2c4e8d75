"""Students of copied layers: the right tensors, by name, and the limit where the student is the teacher."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import FAMILIES, PIECES, SMALLER, logits, make_teacher, make_tokenizer, origin

from edgedistill import plugins
from edgedistill.errors import ConfigError
from edgedistill.spec import Student
from edgedistill.students import compose, layers

METHODS = plugins.names("students")
assert len(METHODS) >= 7
PARTS = ("attention", "ffn", "intermediate", "output", "sa_layer_norm")


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def teacher(family: str) -> Any:
    return make_teacher(family)


@pytest.mark.parametrize("name", METHODS)
def test_method_has_the_familys_face_when_loaded(name: str) -> None:
    method = plugins.load("students", name)
    assert callable(method.faults)
    assert callable(method.build)


@pytest.mark.parametrize(("asked", "copied"), [((1, 3), (1, 3)), ((3, 0, 2), (3, 0, 2)), (2, (0, 1)), ((2,), (2,))])
def test_student_has_exactly_the_chosen_layers_when_copied(family: str, teacher: Any, asked: Any, copied: tuple[int, ...]) -> None:
    made = layers.build(Student(layers=asked), origin(teacher), seed=0)
    prefix = f"{family}.transformer.layer." if family == "distilbert" else f"{family}.encoder.layer."
    source, student = teacher.state_dict(), made.model.state_dict()
    inside = [name for name in student if name.startswith(prefix)]
    assert {int(name.removeprefix(prefix).split(".")[0]) for name in inside} == set(range(len(copied)))
    assert len(inside) == 16 * len(copied)  # weight and bias of q, k, v, attention's output, its norm, two linears, their norm
    for name in inside:
        number, rest = name.removeprefix(prefix).split(".", 1)
        assert torch.equal(student[name], source[f"{prefix}{copied[int(number)]}.{rest}"]), name
        others = [source[f"{prefix}{layer}.{rest}"] for layer in range(4) if layer != copied[int(number)]]
        assert rest.startswith(PARTS)
        if source[f"{prefix}0.{rest}"].ndim == 2:  # random: no two layers are alike (norms and biases all begin the same)
            assert not any(torch.equal(student[name], other) for other in others)
    for name in student.keys() - set(inside):
        assert torch.equal(student[name], source[name]), name
    assert made.facts == {"teacher_layers": list(copied)}


def test_student_answers_like_its_teacher_when_nothing_is_left_out(teacher: Any) -> None:
    made = compose(Student(layers=4, vocabulary=len(PIECES)), origin(teacher), seed=0)
    assert torch.equal(logits(made.model, made.tokenizer), logits(teacher, make_tokenizer()))


def test_student_answers_like_its_teacher_when_only_unused_pieces_are_left_out(teacher: Any) -> None:
    made = compose(Student(layers=4, vocabulary=SMALLER), origin(teacher), seed=0)
    assert made.tokenizer.get_vocab_size() == made.model.config.vocab_size == SMALLER
    assert made.tokenizer.encode("cab").ids != make_tokenizer().encode("cab").ids  # the pieces have moved
    torch.testing.assert_close(logits(made.model, made.tokenizer), logits(teacher, make_tokenizer()), rtol=0, atol=1e-6)
    unlike = layers.build(Student(layers=3), origin(teacher), seed=0)
    assert not torch.allclose(logits(unlike.model, unlike.tokenizer), logits(teacher, make_tokenizer()), rtol=0, atol=1e-6)


def test_embedding_rows_are_those_of_the_same_pieces_when_trimmed(family: str, teacher: Any) -> None:
    made = compose(Student(layers=1, vocabulary=SMALLER), origin(teacher), seed=0)
    name = f"{family}.embeddings.word_embeddings.weight"
    new, old = made.model.state_dict()[name], teacher.state_dict()[name]
    assert new.shape == (SMALLER, old.shape[1])
    for piece, index in made.tokenizer.get_vocab().items():
        assert torch.equal(new[index], old[PIECES.index(piece)]), piece


def test_teacher_is_unchanged_when_the_student_learns(teacher: Any) -> None:
    before = {name: weight.clone() for name, weight in teacher.state_dict().items()}
    made = compose(Student(layers=2, vocabulary=SMALLER), origin(teacher), seed=0)
    with torch.no_grad():
        for weight in made.model.parameters():
            weight.add_(1.0)
    assert all(torch.equal(before[name], weight) for name, weight in teacher.state_dict().items())
    assert (teacher.config.num_hidden_layers, teacher.config.vocab_size) == (4, len(PIECES))


@pytest.mark.parametrize(
    ("asked", "where", "words"),
    [
        (7, "student.layers", "7 layers of a teacher that has 6"),
        ((0, 6), "student.layers", "no layer 6 in a teacher of 6"),
        ((-1, 2), "student.layers", "no layer -1 in a teacher of 6"),
        (-2, "student.layers", "at least one layer is needed"),
        (0, "student.layers", "at least one layer is needed"),
        ((), "student.layers", "at least one layer is needed"),
    ],
)
def test_layers_are_a_fault_when_the_teacher_does_not_have_them(asked: Any, where: str, words: str) -> None:
    teacher = make_teacher("bert", num_hidden_layers=6)
    found = layers.faults(Student(layers=asked), teacher.config.to_dict())
    assert [(fault.where, fault.what) for fault in found] == [(where, words)]
    with pytest.raises(ConfigError, match=words):
        layers.build(Student(layers=asked), origin(teacher), seed=0)


def test_layers_have_no_fault_when_all_are_there() -> None:
    for asked in (1, 6, (0, 5), (5, 0)):
        assert layers.faults(Student(layers=asked), {"model_type": "bert", "num_hidden_layers": 6}) == []


def test_family_is_a_fault_with_the_nearest_when_unknown() -> None:
    (fault,) = layers.faults(Student(layers=1), {"model_type": "robert", "num_hidden_layers": 6})
    assert fault.what == "'layers' does not know the family 'robert'"
    assert fault.hint.startswith("did you mean 'roberta'?")


def test_student_is_made_when_the_teachers_table_has_rows_without_pieces() -> None:
    made = layers.build(Student(layers=4), origin(make_teacher("bert", vocab_size=len(PIECES) + 8)), seed=0)
    assert made.model.config.vocab_size >= len(PIECES)
