"""The losses over logits against scipy, scikit-learn, numpy, published packages and cases computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from loss_cases import NAN, outputs
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from scipy.special import expit, softmax
from scipy.stats import bernoulli, entropy
from sklearn.metrics import log_loss

from edgedistill import plugins
from edgedistill.losses import UNLABELLED, Batch, Outputs
from edgedistill.losses.bce import loss as bce
from edgedistill.losses.binary_kl import loss as binary_kl
from edgedistill.losses.ce import loss as ce
from edgedistill.losses.dkd import loss as dkd
from edgedistill.losses.js import loss as js
from edgedistill.losses.kl import loss as kl
from edgedistill.losses.label_mse import loss as label_mse
from edgedistill.losses.mse import loss as mse
from edgedistill.losses.reverse_kl import loss as reverse_kl

ROWS, CLASSES = 7, 4
LABELS = [0, 1, UNLABELLED, 3, 2, 1, 0]
WEIGHTS = [0.5, 2.0, 1.0, 0.0, 3.0, 1.0, 0.25]
NOT_USED = Batch(torch.zeros(0, dtype=torch.long))
WEIGHTED = Batch(torch.tensor(LABELS), weights=torch.tensor(WEIGHTS))
IMPOSSIBLE = -1e4  # the logit of a class that a row does not have
# the hand-computed rows: teacher (3/4, 1/4) and (1/2, 1/2), student (1/2, 1/2) and (1/5, 4/5)
HAND_TEACHER, HAND_STUDENT = np.array([[math.log(3), 0], [0, 0]]), np.array([[0, 0], [0, math.log(4)]])


def drawn(seed: int, rows: int = ROWS, classes: int = CLASSES) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0, 2, (rows, classes))


def batch(labels: list[int]) -> Batch:
    return Batch(torch.tensor(labels))


def reals(labels: list[list[float]] | list[float]) -> Batch:
    return Batch(torch.tensor(labels, dtype=torch.float64))


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


def test_mse_equals_numpy_average_when_rows_have_weights() -> None:
    student, teacher = drawn(9), drawn(10)
    expected = np.average(((student - teacher) ** 2).mean(axis=1), weights=WEIGHTS)
    assert float(mse(outputs(student), outputs(teacher), WEIGHTED)) == pytest.approx(expected, rel=1e-12)


# ── reverse-kl, js ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_kl_and_reverse_kl_equal_scipy_entropy_when_rows_have_weights(temperature: float) -> None:
    student, teacher = drawn(0), drawn(1)
    q, p = softmax(student / temperature, axis=1), softmax(teacher / temperature, axis=1)
    forward, backward = (temperature**2 * np.average(entropy(a, b, axis=1), weights=WEIGHTS) for a, b in ((p, q), (q, p)))
    assert float(kl(outputs(student), outputs(teacher), WEIGHTED, temperature=temperature)) == pytest.approx(forward, rel=1e-10)
    assert float(reverse_kl(outputs(student), outputs(teacher), WEIGHTED, temperature=temperature)) == pytest.approx(backward, rel=1e-10)


def test_reverse_kl_equals_the_hand_computed_value_when_two_rows_have_two_classes() -> None:
    # row 1: 1/2 · ln(1/2 ÷ 3/4) + 1/2 · ln(1/2 ÷ 1/4) = 1/2 · ln 4/3 = 0.1438410
    # row 2: 1/5 · ln(1/5 ÷ 1/2) + 4/5 · ln(4/5 ÷ 1/2) = 0.2 · ln 0.4 + 0.8 · ln 1.6 = 0.1927448;  mean 0.1682929
    assert float(reverse_kl(outputs(HAND_STUDENT), outputs(HAND_TEACHER), NOT_USED, temperature=1.0)) == pytest.approx(0.1682929, abs=1e-7)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_js_equals_the_squared_scipy_distance_when_rows_have_weights(temperature: float) -> None:
    student, teacher = drawn(0), drawn(1)
    per_row = jensenshannon(softmax(student / temperature, axis=1), softmax(teacher / temperature, axis=1), axis=1) ** 2
    found = js(outputs(student), outputs(teacher), WEIGHTED, temperature=temperature)
    assert float(found) == pytest.approx(temperature**2 * np.average(per_row, weights=WEIGHTS), rel=1e-10)


def test_js_equals_the_hand_computed_value_when_two_rows_have_two_classes() -> None:
    # row 1: m = (5/8, 3/8): (3/4 · ln 6/5 + 1/4 · ln 2/3 + 1/2 · ln 4/5 + 1/2 · ln 4/3) / 2 = (0.0353749 + 0.0322693) / 2 = 0.0338221
    # row 2: m = (0.35, 0.65): (1/2 · ln 10/7 + 1/2 · ln 10/13 + 1/5 · ln 4/7 + 4/5 · ln 16/13) / 2 = (0.0471553 + 0.0541883) / 2 = 0.0506718
    assert float(js(outputs(HAND_STUDENT), outputs(HAND_TEACHER), NOT_USED, temperature=1.0)) == pytest.approx(0.0422470, abs=1e-7)


def test_js_is_symmetric_and_at_most_log_2_when_both_are_certain_of_another_class() -> None:
    one, other = outputs([[1000.0, 0.0]]), outputs([[0.0, 1000.0]])
    assert float(js(one, other, NOT_USED, temperature=1.0)) == pytest.approx(math.log(2))
    student, teacher = outputs(drawn(2)), outputs(drawn(3))
    assert float(js(student, teacher, NOT_USED)) == pytest.approx(float(js(teacher, student, NOT_USED)), rel=1e-12)


@pytest.mark.parametrize(("name", "parts"), [("kl", 2), ("reverse-kl", 2), ("js", 8)])
def test_divergence_tends_to_the_error_of_centred_logits_when_the_temperature_grows(name: str, parts: int) -> None:
    student, teacher = drawn(4), drawn(5)
    centred = (teacher - teacher.mean(axis=1, keepdims=True)) - (student - student.mean(axis=1, keepdims=True))
    limit = (centred**2).sum(axis=1).mean() / (parts * CLASSES)
    found = plugins.load("losses", name).loss(outputs(student), outputs(teacher), NOT_USED, temperature=1e4)
    assert float(found) == pytest.approx(limit, rel=1e-3)


@pytest.mark.parametrize("name", ["kl", "reverse-kl", "js", "dkd"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_divergence_is_that_of_the_possible_classes_when_others_are_impossible(name: str, dtype: torch.dtype) -> None:
    function, labels = plugins.load("losses", name).loss, batch(LABELS)
    short = [torch.tensor(drawn(seed), dtype=dtype, requires_grad=seed == 0) for seed in (0, 1)]
    long = [torch.cat([logits, logits.new_full((ROWS, 3), IMPOSSIBLE)], dim=1) for logits in short]
    found = function(*map(Outputs, long), labels)
    expected = function(*map(Outputs, short), labels)
    assert float(found) == pytest.approx(float(expected), rel=1e-6 if dtype == torch.float32 else 1e-12)
    (gradient,) = torch.autograd.grad(found, short[0])
    assert torch.isfinite(gradient).all()


# ── dkd ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def decoupled(student: NDArray[np.float64], teacher: NDArray[np.float64], targets: list[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """TCKD and NCKD of every row, from the definitions before equation 5 of the paper."""
    p, q = softmax(teacher, axis=1), softmax(student, axis=1)
    target, others = [], []
    for row, t in enumerate(targets):
        rest = [c for c in range(p.shape[1]) if c != t]
        target.append(entropy([p[row, t], 1 - p[row, t]], [q[row, t], 1 - q[row, t]]))
        others.append(entropy(p[row, rest] / (1 - p[row, t]), q[row, rest] / (1 - q[row, t])))
    return np.array(target), np.array(others)


def test_dkd_equals_the_paper_in_numpy_when_rows_have_weights_and_one_has_no_label() -> None:
    student, teacher = drawn(11), drawn(12)
    targets = [int(teacher[row].argmax()) if label == UNLABELLED else label for row, label in enumerate(LABELS)]
    tckd, nckd = decoupled(student / 3, teacher / 3, targets)
    expected = 9 * np.average(0.5 * tckd + 4.0 * nckd, weights=WEIGHTS)
    found = dkd(outputs(student), outputs(teacher), WEIGHTED, temperature=3.0, alpha=0.5, beta=4.0)
    assert float(found) == pytest.approx(expected, rel=1e-10)


def test_kl_is_recovered_from_both_parts_of_dkd_when_weighted_as_in_equation_6() -> None:
    for row in range(ROWS):  # KL = TCKD + (1 − p_t) · NCKD
        student, teacher, label = drawn(13)[row : row + 1], drawn(14)[row : row + 1], [row % CLASSES]
        rest = 1 - softmax(teacher, axis=1)[0, label[0]]
        found = dkd(outputs(student), outputs(teacher), batch(label), temperature=1.0, alpha=1.0, beta=float(rest))
        assert float(found) == pytest.approx(float(kl(outputs(student), outputs(teacher), NOT_USED, temperature=1.0)), rel=1e-10)


def test_dkd_equals_the_hand_computed_value_when_one_row_has_three_classes() -> None:
    # p = (1/2, 1/4, 1/4), q = (1/4, 1/2, 1/4), target 0
    # TCKD = 1/2 · ln(1/2 ÷ 1/4) + 1/2 · ln(1/2 ÷ 3/4) = 1/2 · ln 4/3 = 0.1438410
    # NCKD = 1/2 · ln(1/2 ÷ 2/3) + 1/2 · ln(1/2 ÷ 1/3) = 1/2 · ln 9/8 = 0.0588915;  1 · TCKD + 2 · NCKD = 0.2616240
    student, teacher = outputs(np.log([[1.0, 2.0, 1.0]])), outputs(np.log([[2.0, 1.0, 1.0]]))
    assert float(dkd(student, teacher, batch([0]), temperature=1.0, alpha=1.0, beta=2.0)) == pytest.approx(0.2616240, abs=1e-7)
    assert float(dkd(student, teacher, batch([UNLABELLED]), temperature=1.0, alpha=1.0, beta=2.0)) == pytest.approx(0.2616240, abs=1e-7)


def test_dkd_has_only_its_first_part_when_there_are_two_classes() -> None:
    student, teacher = drawn(15, classes=2), drawn(16, classes=2)
    found = dkd(outputs(student), outputs(teacher), batch([0, 1] * 3 + [0]), temperature=2.0, alpha=1.0, beta=100.0)
    assert float(found) == pytest.approx(float(kl(outputs(student), outputs(teacher), NOT_USED, temperature=2.0)), rel=1e-10)


def test_dkd_stays_exact_when_the_teacher_is_certain_of_the_target() -> None:
    # 1 − p_t is 0 in floating point; the others' shares are still (3/4, 1/4) against (1/2, 1/2): KL = 0.1308120, as row 1 of kl
    teacher, student = outputs([[1000.0, math.log(3), 0.0]]), outputs([[1000.0, 0.0, 0.0]])
    assert float(dkd(student, teacher, batch([0]), temperature=1.0, alpha=1.0, beta=1.0)) == pytest.approx(0.1308120, abs=1e-7)


# ── binary-kl, bce ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_binary_kl_equals_scipy_when_rows_have_weights(temperature: float) -> None:
    student, teacher = drawn(17), drawn(18)
    p, q = expit(teacher / temperature), expit(student / temperature)
    per_class = entropy(bernoulli(p).pmf(np.array([0, 1])[:, None, None]), bernoulli(q).pmf(np.array([0, 1])[:, None, None]), axis=0)  # [n, c]
    found = binary_kl(outputs(student), outputs(teacher), WEIGHTED, temperature=temperature)
    assert float(found) == pytest.approx(temperature**2 * np.average(per_class.mean(axis=1), weights=WEIGHTS), rel=1e-10)


def test_binary_kl_equals_the_hand_computed_value_when_one_row_has_two_classes() -> None:
    # class 1: KL(3/4 ‖ 1/2) = 0.1308120; class 2: KL(1/2 ‖ 4/5) = 0.2231436 (the rows of kl, as classes); mean 0.1769778
    student, teacher = outputs([[0.0, math.log(4)]]), outputs([[math.log(3), 0.0]])
    assert float(binary_kl(student, teacher, NOT_USED, temperature=1.0)) == pytest.approx(0.1769778, abs=1e-7)


def test_binary_kl_tends_to_the_error_of_logits_when_the_temperature_grows() -> None:
    student, teacher = drawn(19), drawn(20)
    found = binary_kl(outputs(student), outputs(teacher), NOT_USED, temperature=1e4)
    assert float(found) == pytest.approx(np.mean((student - teacher) ** 2) / 8, rel=1e-3)


def test_binary_kl_stays_finite_when_the_teacher_is_certain() -> None:
    assert float(binary_kl(outputs([[-1000.0]]), outputs([[1000.0]]), NOT_USED, temperature=1.0)) == pytest.approx(1000.0)


def test_bce_equals_scikit_learn_on_the_labelled_rows_when_one_has_nan() -> None:
    logits, labels = drawn(21), (drawn(22) > 0).astype(float)
    labels[3, 1] = NAN  # one unknown value: the row does not count
    known = [0, 1, 2, 4, 5, 6]
    expected = np.mean([log_loss(labels[known, c], expit(logits[known, c]), labels=[0, 1]) for c in range(CLASSES)])
    student = outputs(logits, learns=True)
    found = bce(student, outputs(drawn(23)), reals(labels.tolist()))
    found.backward()
    assert float(found) == pytest.approx(expected, rel=1e-10)
    assert student.logits.grad is not None
    assert student.logits.grad[3].abs().max() == 0


def test_bce_equals_the_hand_computed_value_when_one_row_has_two_classes() -> None:
    # σ(ln 3) = 3/4, label 1 → −ln 3/4 = 0.2876821;  σ(0) = 1/2, label 0 → ln 2 = 0.6931472;  mean 0.4904146
    logits = outputs([[math.log(3), 0.0], [5.0, 5.0]])
    assert float(bce(logits, logits, reals([[1.0, 0.0], [NAN, NAN]]))) == pytest.approx(0.4904146, abs=1e-7)


@pytest.mark.parametrize("function", [bce, label_mse])
def test_loss_is_zero_with_zero_gradient_when_no_row_has_real_labels(function: object) -> None:
    student = outputs(drawn(24), learns=True)
    value = function(student, student, reals([[NAN] * CLASSES] * ROWS))  # type: ignore[operator]
    value.backward()
    assert float(value) == 0
    assert student.logits.grad is not None
    assert student.logits.grad.abs().max() == 0


# ── label-mse ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("labels", [[1.0, NAN, 5.0], [[1.0], [NAN], [5.0]]])
def test_label_mse_equals_the_hand_computed_value_when_one_of_three_is_unknown(labels: list[float]) -> None:
    # differences −1, unknown, 2: (1 + 4) / 2 = 2.5; gradient 2 · difference / 2
    student = outputs([[0.0], [100.0], [7.0]], learns=True)
    value = label_mse(student, student, reals(labels))
    value.backward()
    assert float(value) == 2.5
    assert student.logits.grad is not None
    assert student.logits.grad.tolist() == [[-1.0], [0.0], [2.0]]


def test_label_mse_equals_numpy_nanmean_when_rows_have_several_values() -> None:
    predicted, labels = drawn(25), drawn(26)
    labels[[0, 2, 2], [1, 0, 3]] = NAN
    found = label_mse(outputs(predicted), outputs(drawn(27)), reals(labels.tolist()))
    assert float(found) == pytest.approx(np.nanmean((predicted - labels) ** 2), rel=1e-12)
