"""The losses against scipy, scikit-learn, numpy and cases computed by hand."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy
from sklearn.metrics import log_loss

from edgedistill import plugins
from edgedistill.losses import UNLABELLED, Batch, Outputs
from edgedistill.losses.ce import loss as ce
from edgedistill.losses.kl import loss as kl
from edgedistill.losses.mse import loss as mse

LOSSES = plugins.names("losses")
assert len(LOSSES) >= 3
ROWS, CLASSES = 7, 4
NOT_USED = Batch(torch.zeros(0, dtype=torch.long))


def drawn(seed: int, rows: int = ROWS, classes: int = CLASSES) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2, (rows, classes))


def outputs(logits: np.ndarray, learns: bool = False) -> Outputs:
    return Outputs(torch.tensor(logits, dtype=torch.float64, requires_grad=learns))


def batch(labels: list[int]) -> Batch:
    return Batch(torch.tensor(labels))


def everything(seed: int = 0) -> tuple[Outputs, Outputs, Batch]:
    """A student that learns, a teacher that does not, and labels of which the third is missing."""
    return outputs(drawn(seed), learns=True), outputs(drawn(seed + 1)), batch([0, 1, UNLABELLED, 3, 2, 1, 0])


@pytest.mark.parametrize("name", LOSSES)
def test_loss_is_zero_when_both_are_certain_of_the_right_class(name: str) -> None:
    labels = [2, 0, 3]
    certain = outputs(np.eye(CLASSES)[labels] * 60)  # softmax of the others: e⁻⁶⁰ < 10⁻²⁶
    value = plugins.load("losses", name).loss(certain, certain, batch(labels))
    assert float(value) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"ce"}))  # cross-entropy does not look at the teacher
def test_loss_is_zero_only_when_student_equals_teacher(name: str) -> None:
    student, teacher, labels = everything()
    function = plugins.load("losses", name).loss
    assert float(function(teacher, teacher, labels)) == pytest.approx(0, abs=1e-12)
    assert float(function(student, teacher, labels)) > 0.01


@pytest.mark.parametrize("name", LOSSES)
def test_loss_is_a_scalar_above_zero_when_logits_differ(name: str) -> None:
    value = plugins.load("losses", name).loss(*everything())
    assert value.shape == ()
    assert math.isfinite(value)
    assert value > 0


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_equals_finite_differences_when_checked_in_double(name: str) -> None:
    function = plugins.load("losses", name).loss
    student, teacher, labels = everything(seed=3)
    assert torch.autograd.gradcheck(lambda logits: function(Outputs(logits), teacher, labels), (student.logits,))


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_flows_to_the_student_only_when_the_teacher_is_stored(name: str) -> None:
    student, teacher, labels = everything()
    plugins.load("losses", name).loss(student, teacher, labels).backward()
    assert teacher.logits.grad is None
    assert student.logits.grad is not None
    assert torch.isfinite(student.logits.grad).all()
    assert student.logits.grad.abs().sum() > 0.01


@pytest.mark.parametrize("name", [name for name in LOSSES if "temperature" in inspect.signature(plugins.load("losses", name).loss).parameters])
def test_default_temperature_is_above_zero_when_a_loss_has_one(name: str) -> None:
    assert inspect.signature(plugins.load("losses", name).loss).parameters["temperature"].default > 0


# ── kl ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_kl_equals_scipy_entropy_when_scaled_by_the_squared_temperature(temperature: float) -> None:
    student, teacher = drawn(0), drawn(1)
    per_row = entropy(softmax(teacher / temperature, axis=1), softmax(student / temperature, axis=1), axis=1)  # KL(p‖q), nats
    found = kl(outputs(student), outputs(teacher), NOT_USED, temperature=temperature)
    assert float(found) == pytest.approx(temperature**2 * per_row.mean(), rel=1e-10)


def test_kl_equals_the_hand_computed_value_when_two_rows_have_two_classes() -> None:
    # row 1: teacher (ln 3, 0) → p = (3/4, 1/4); student (0, 0) → q = (1/2, 1/2)
    #        KL = 3/4 · ln(3/4 ÷ 1/2) + 1/4 · ln(1/4 ÷ 1/2) = 3/4 · ln 1.5 − 1/4 · ln 2 = 0.3040988 − 0.1732868 = 0.1308120
    # row 2: teacher (0, 0) → p = (1/2, 1/2); student (0, ln 4) → q = (1/5, 4/5)
    #        KL = 1/2 · ln(5/2) + 1/2 · ln(5/8) = 1/2 · ln(25/16) = ln 1.25 = 0.2231436
    # mean = (0.1308120 + 0.2231436) / 2 = 0.1769778
    student, teacher = np.array([[0, 0], [0, math.log(4)]]), np.array([[math.log(3), 0], [0, 0]])
    assert float(kl(outputs(student), outputs(teacher), NOT_USED, temperature=1.0)) == pytest.approx(0.1769778, abs=1e-7)


def test_kl_is_not_symmetric_when_teacher_and_student_change_places() -> None:
    one, other = outputs(np.array([[0.0, 0.0]])), outputs(np.array([[3.0, 0.0]]))
    assert abs(float(kl(one, other, NOT_USED)) - float(kl(other, one, NOT_USED))) > 0.01


def test_kl_tends_to_the_error_of_centred_logits_when_the_temperature_grows() -> None:
    student, teacher = drawn(4), drawn(5)
    centred = (teacher - teacher.mean(axis=1, keepdims=True)) - (student - student.mean(axis=1, keepdims=True))
    limit = (centred**2).sum(axis=1).mean() / (2 * CLASSES)
    errors = [abs(float(kl(outputs(student), outputs(teacher), NOT_USED, temperature=t)) - limit) for t in (10.0, 100.0, 1000.0)]
    assert errors[2] < 1e-2 * limit
    assert errors[0] > errors[1] > errors[2]


def test_kl_ignores_an_offset_of_all_logits_when_mse_does_not() -> None:
    teacher = drawn(6)
    shifted = teacher + 5.0
    assert float(kl(outputs(shifted), outputs(teacher), NOT_USED)) == pytest.approx(0, abs=1e-12)
    assert float(mse(outputs(shifted), outputs(teacher), NOT_USED)) == pytest.approx(25.0)


def test_kl_stays_finite_when_the_teacher_is_certain() -> None:
    certain, wrong = np.array([[1000.0, 0.0]]), np.array([[0.0, 1000.0]])
    assert float(kl(outputs(wrong), outputs(certain), NOT_USED, temperature=1.0)) == pytest.approx(1000.0)


# ── ce ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ce_equals_scikit_learn_when_all_rows_are_labelled() -> None:
    logits, labels = drawn(7), [0, 1, 2, 3, 2, 1, 0]
    expected = log_loss(labels, softmax(logits, axis=1), labels=list(range(CLASSES)))
    assert float(ce(outputs(logits), outputs(drawn(8)), batch(labels))) == pytest.approx(expected, rel=1e-10)


def test_ce_equals_scikit_learn_on_the_labelled_rows_when_others_have_no_label() -> None:
    logits, labels = drawn(7), np.array([0, UNLABELLED, 2, UNLABELLED, 2, UNLABELLED, 0])
    has_label = labels != UNLABELLED
    expected = log_loss(labels[has_label], softmax(logits[has_label], axis=1), labels=list(range(CLASSES)))
    assert float(ce(outputs(logits), outputs(drawn(8)), batch(labels.tolist()))) == pytest.approx(expected, rel=1e-10)


def test_ce_is_zero_with_zero_gradient_when_no_row_is_labelled() -> None:
    student = outputs(drawn(7), learns=True)
    value = ce(student, student, batch([UNLABELLED] * ROWS))
    value.backward()
    assert float(value) == 0.0
    assert student.logits.grad is not None
    assert torch.equal(student.logits.grad, torch.zeros_like(student.logits))


def test_ce_gives_no_gradient_to_a_row_when_it_has_no_label() -> None:
    student = outputs(drawn(7), learns=True)
    ce(student, student, batch([0, UNLABELLED, 2, 3, 2, 1, 0])).backward()
    assert student.logits.grad is not None
    assert student.logits.grad[1].abs().max() == 0
    assert (student.logits.grad[[0, 2, 3, 4, 5, 6]].abs().sum(dim=1) > 1e-6).all()


@pytest.mark.parametrize("classes", [2, 4, 77])
def test_ce_is_the_log_of_the_classes_when_logits_are_uniform(classes: int) -> None:
    value = ce(outputs(np.zeros((3, classes))), outputs(np.zeros((3, classes))), batch([0, 1, UNLABELLED]))
    assert float(value) == pytest.approx(math.log(classes))


def test_ce_equals_the_hand_computed_value_when_two_rows_have_two_classes() -> None:
    # row 1: (ln 3, 0) → (3/4, 1/4), label 0 → −ln 3/4 = 0.2876821;  row 2: (0, ln 4) → (1/5, 4/5), label 0 → ln 5 = 1.6094379
    # mean = 0.9485600
    logits = outputs(np.array([[math.log(3), 0], [0, math.log(4)]]))
    assert float(ce(logits, logits, batch([0, 0]))) == pytest.approx(0.9485600, abs=1e-7)


# ── mse ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_mse_equals_numpy_when_averaged_over_rows_and_classes() -> None:
    student, teacher = drawn(9), drawn(10)
    assert float(mse(outputs(student), outputs(teacher), NOT_USED)) == pytest.approx(np.mean((student - teacher) ** 2), rel=1e-12)


def test_mse_equals_the_hand_computed_value_when_two_rows_have_two_classes() -> None:
    # differences (1, −2) and (0, 3): (1 + 4 + 0 + 9) / 4 = 3.5; gradient 2 · difference / 4
    student = outputs(np.array([[1.0, 0.0], [5.0, 3.0]]), learns=True)
    value = mse(student, outputs(np.array([[0.0, 2.0], [5.0, 0.0]])), NOT_USED)
    value.backward()
    assert float(value) == 3.5
    assert student.logits.grad is not None
    assert student.logits.grad.tolist() == [[0.5, -1.0], [0.0, 1.5]]
