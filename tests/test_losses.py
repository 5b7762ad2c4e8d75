"""The contract of a loss, over the list that the folder is; the formulas themselves are in test_losses_logits and test_losses_features."""

from __future__ import annotations

import ast
import inspect
import math
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from loss_cases import FEATURES, LOSSES, batch, learned, learning, options, speaker, tensors, value

from edgedistill import plugins
from edgedistill.losses import Batch, Outputs
from edgedistill.spec import Loss

assert len(LOSSES) >= 18
FOLDER = Path(inspect.getfile(Outputs)).parent
HARD_ONLY = {"bce", "ce", "label-mse", "pair-cosine"}  # they do not look at the teacher
INNER = [name for name in LOSSES if getattr(plugins.load("losses", name), "NEEDS", None)]
LEARNED = [name for name in LOSSES if hasattr(plugins.load("losses", name), "module")]


def source(name: str) -> str:
    return (FOLDER / f"{name.replace('-', '_')}.py").read_text(encoding="utf-8")


def document(name: str) -> str:
    return plugins.load("losses", name).__doc__ or ""


def zero_when_equal() -> list[str]:
    """The losses whose docstring promises it."""
    return [name for name in LOSSES if re.search(r"equal [^;.]* → 0|one direction → 0", document(name))]


def couple(seed: int = 0) -> tuple[Outputs, Outputs]:
    """A student that is narrower and shallower than its teacher."""
    return speaker(seed, width=6, layers=2), speaker(seed + 100, width=8, layers=3)


# ── what it computes ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_is_a_scalar_above_zero_when_student_and_teacher_differ(name: str, dtype: torch.dtype) -> None:
    student, teacher = couple()
    module = {key: made.to(dtype) for key, made in learned(name, student, teacher).items()}
    one, other = (
        replace(said, logits=said.logits.to(dtype), **{field: tuple(state.to(dtype) for state in getattr(said, field)) for field in FEATURES})
        for said in (student, teacher)
    )
    found = plugins.load("losses", name).loss(one, other, batch(name), **module)
    assert found.shape == ()
    assert found.dtype == dtype
    assert math.isfinite(found)
    assert found > 0.01


def test_most_losses_promise_to_be_zero_when_student_equals_teacher() -> None:
    assert set(zero_when_equal()) == set(LOSSES) - HARD_ONLY - {"crd"}


@pytest.mark.parametrize("name", zero_when_equal())
def test_loss_is_zero_when_student_equals_teacher(name: str) -> None:
    same = speaker(0, width=6, layers=2)
    assert float(value(name, same, same, batch(name))) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_equals_finite_differences_when_checked_in_double(name: str) -> None:
    student, teacher = couple(seed=3)
    module = learned(name, student, teacher)
    needed = ["logits"] if name not in INNER else sorted(plugins.load("losses", name).NEEDS)
    last = [student.logits if field == "logits" else getattr(student, field)[-1] for field in needed]

    def function(*states: torch.Tensor) -> torch.Tensor:
        changed = {field: state if field == "logits" else (*getattr(student, field)[:-1], state) for field, state in zip(needed, states, strict=True)}
        return plugins.load("losses", name).loss(replace(student, **changed), teacher, batch(name), **module)

    assert torch.autograd.gradcheck(function, [state.clone().requires_grad_() for state in last])


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_reaches_the_student_and_what_is_learned_when_the_teacher_is_stored(name: str) -> None:
    student, teacher = couple()
    student, module = learning(student), learned(name, student, teacher)
    plugins.load("losses", name).loss(student, teacher, batch(name), **module).backward()
    assert all(state.grad is None for state in tensors(teacher))
    reached = [state.grad for state in tensors(student) if state.grad is not None]
    assert reached
    assert all(torch.isfinite(gradient).all() for gradient in reached)
    assert sum(gradient.abs().sum() for gradient in reached) > 0.01
    for parameter in (parameter for made in module.values() for parameter in made.parameters()):
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


# ── what counts ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", INNER)
@pytest.mark.parametrize("garbage", [1e30, math.inf, math.nan])
def test_padding_changes_neither_value_nor_gradient_when_it_holds_garbage(name: str, garbage: float) -> None:
    def computed(padding: float) -> tuple[float, list[torch.Tensor]]:
        def spoiled(said: Outputs) -> Outputs:
            hole = batch().mask[:, :, None] == 0
            return replace(said, **{field: tuple(state.masked_fill(hole, padding) for state in getattr(said, field)) for field in FEATURES})

        student, teacher = couple()
        student = learning(spoiled(student))
        found = value(name, student, spoiled(teacher), batch(name))
        found.backward()
        return float(found), [state.grad for state in tensors(student) if state.grad is not None]

    clean, clean_gradients = computed(0.0)
    dirty, dirty_gradients = computed(garbage)
    assert dirty == clean
    assert all(torch.equal(one, other) for one, other in zip(clean_gradients, dirty_gradients, strict=True))


def part(said: Outputs, rows: slice) -> Outputs:
    return replace(said, logits=said.logits[rows], **{field: tuple(state[rows] for state in getattr(said, field)) for field in FEATURES})


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"crd"}))  # there a text of weight 0 is still another's negative
def test_row_does_not_count_when_its_weight_is_zero(name: str) -> None:
    student, teacher = couple()
    hard = batch(name, torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0]))
    few = Batch(hard.labels[:3], hard.mask[:3] if hard.mask is not None else None)
    expected = float(value(name, part(student, slice(3)), part(teacher, slice(3)), few))
    if name in HARD_ONLY:
        assert float(value(name, student, teacher, hard)) != pytest.approx(expected)  # weights are the teacher's side
    else:
        assert float(value(name, student, teacher, hard)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - HARD_ONLY))
def test_loss_is_the_plain_mean_when_all_weights_are_equal(name: str) -> None:
    student, teacher = couple()
    plain = float(value(name, student, teacher, batch(name)))
    assert float(value(name, student, teacher, batch(name, torch.full((5,), 3.0)))) == pytest.approx(plain, rel=1e-12)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - HARD_ONLY))
def test_loss_is_zero_and_finite_when_no_row_weighs_anything(name: str) -> None:
    student, teacher = couple()
    student = learning(student)
    found = value(name, student, teacher, batch(name, torch.zeros(5)))
    found.backward()
    assert float(found) == 0
    assert all(torch.isfinite(state.grad).all() for state in tensors(student) if state.grad is not None)


# ── what a recipe and a trainer may rely on ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", LOSSES)
def test_options_are_those_of_a_recipe_and_have_defaults_when_declared(name: str) -> None:
    parameters = inspect.signature(plugins.load("losses", name).loss).parameters
    assert list(parameters)[:3] == ["student", "teacher", "batch"]
    assert set(options(name)) <= {field.name for field in fields(Loss)} - {"weight"}
    assert all(parameters[option].default is not inspect.Parameter.empty for option in options(name))
    assert ("module" in parameters) == (name in LEARNED)
    assert not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())


@pytest.mark.parametrize("name", [name for name in LOSSES if "temperature" in options(name)])
def test_default_temperature_is_above_zero_when_a_loss_has_one(name: str) -> None:
    assert inspect.signature(plugins.load("losses", name).loss).parameters["temperature"].default > 0


@pytest.mark.parametrize("name", LEARNED)
def test_module_takes_both_sizes_and_options_of_its_loss_when_it_has_any(name: str) -> None:
    parameters = list(inspect.signature(plugins.load("losses", name).module).parameters)
    assert parameters[:2] == ["student", "teacher"]
    assert set(parameters[2:]) <= set(options(name))


@pytest.mark.parametrize("name", LOSSES)
def test_loss_reads_only_the_states_that_it_needs_when_the_others_are_missing(name: str) -> None:
    student, teacher = couple()
    needs = getattr(plugins.load("losses", name), "NEEDS", frozenset())
    assert needs <= set(FEATURES)
    missing = {field: () for field in FEATURES if field not in needs}
    expected = value(name, student, teacher, batch(name))
    module = learned(name, student, teacher)
    found = plugins.load("losses", name).loss(replace(student, **missing), replace(teacher, **missing), batch(name), **module)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", LOSSES)
def test_docstring_has_formula_source_limits_and_shapes_when_read_as_a_page(name: str) -> None:
    text = document(name)
    assert re.search(r"^ {4}L = ", text, re.MULTILINE)
    assert re.search(r"^Source: .*(arXiv:\d{4}\.\d{5}|section \d)", text, re.MULTILINE | re.DOTALL)
    assert re.search(r"^Limits: .*→", text, re.MULTILINE)
    assert re.search(r"^Shapes: ", text, re.MULTILINE)
    assert text.splitlines()[0].endswith(".")


@pytest.mark.parametrize("name", LOSSES)
def test_file_is_short_and_imports_no_other_loss_when_read(name: str) -> None:
    assert len(source(name).splitlines()) <= 60
    ours = {node.module for node in ast.walk(ast.parse(source(name))) if isinstance(node, ast.ImportFrom) and "edgedistill" in (node.module or "")}
    assert all(module == "edgedistill.losses" or (module or "").startswith("edgedistill.losses._") for module in ours)
