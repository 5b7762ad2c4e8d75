"""The losses over inner states and embeddings against the papers' equations in plain numpy loops, and cases computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from loss_cases import MASK, drawn, learned, outputs, speaker, value
from numpy.typing import NDArray
from scipy.spatial.distance import cosine
from scipy.special import softmax
from scipy.stats import entropy, ortho_group
from sklearn.metrics.pairwise import cosine_similarity
from torch import nn

from edgedistill.losses import Batch, Outputs, Sizes, attention, crd, embedding_mse, hidden_cosine, hidden_mse, pair_cosine, relation, rkd

TEXTS = len(MASK)
REAL = [[position for position, real in enumerate(row) if real] for row in MASK]  # the tokens of each text
TEXT_WEIGHTS = [1.0, 0.5, 2.0, 0.0, 3.0]
NO_LABELS = torch.zeros(TEXTS, dtype=torch.long)
PLAIN = Batch(NO_LABELS, torch.tensor(MASK))
WEIGHTED = Batch(NO_LABELS, torch.tensor(MASK), torch.tensor(TEXT_WEIGHTS))
BARE = Batch(torch.zeros(0, dtype=torch.long))
STUDENT, TEACHER = speaker(1, width=6, layers=2), speaker(2, width=8, layers=3)
SAME = nn.ModuleList([nn.Identity(), nn.Identity()])


def hidden(*states: list[list[list[float]]]) -> Outputs:
    return Outputs(torch.zeros(1), hidden=tuple(torch.tensor(state, dtype=torch.float64) for state in states))


def rotation(width: int) -> torch.Tensor:
    return torch.tensor(ortho_group.rvs(width, random_state=0))


# ── hidden-mse, hidden-cosine ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["hidden-mse", "hidden-cosine"])
@pytest.mark.parametrize(("layers", "compared"), [(None, [(2, 3)]), (((0, 0), (1, 3)), [(0, 0), (1, 3)])])
def test_hidden_loss_equals_numpy_over_tokens_when_texts_have_weights(name: str, layers: object, compared: list[tuple[int, int]]) -> None:
    maps = [made.weight.detach().numpy() for made in learned(name, STUDENT, TEACHER, layers=layers)["module"]]  # [d_T, d_S]
    expected = []
    for matrix, (one, other) in zip(maps, compared, strict=True):
        per_token, weights = [], []
        for text in range(TEXTS):
            for position in REAL[text]:
                mapped, target = matrix @ STUDENT.hidden[one][text, position].numpy(), TEACHER.hidden[other][text, position].numpy()
                per_token.append(np.mean((mapped - target) ** 2) if name == "hidden-mse" else cosine(mapped, target))
                weights.append(TEXT_WEIGHTS[text])
        expected.append(np.average(per_token, weights=weights))
    assert float(value(name, STUDENT, TEACHER, WEIGHTED, layers=layers)) == pytest.approx(np.mean(expected), rel=1e-10)


def test_hidden_losses_equal_the_hand_computed_values_when_one_of_two_tokens_is_padding() -> None:
    # (1, 0) against (1, 1): squares 0 and 1, mean 0.5; 1 − 1 / √2 = 0.2928932
    student, teacher = hidden([[[1.0, 0.0], [9.0, 9.0]]]), hidden([[[1.0, 1.0], [0.0, 7.0]]])
    one_token = Batch(torch.zeros(1), torch.tensor([[1, 0]]))
    assert float(hidden_mse.loss(student, teacher, one_token, module=SAME[:1])) == 0.5
    assert float(hidden_cosine.loss(student, teacher, one_token, module=SAME[:1])) == pytest.approx(0.2928932, abs=1e-7)


def test_hidden_cosine_is_zero_when_lengths_differ_and_two_when_directions_oppose() -> None:
    teacher = hidden([[[1.0, 2.0], [3.0, -1.0]]])
    longer, opposed = (hidden([[[factor, 2 * factor], [3 * factor, -factor]]]) for factor in (5.0, -0.1))
    assert float(hidden_cosine.loss(longer, teacher, BARE, module=SAME[:1])) == pytest.approx(0, abs=1e-12)
    assert float(hidden_cosine.loss(opposed, teacher, BARE, module=SAME[:1])) == pytest.approx(2)


@pytest.mark.parametrize("family", [hidden_mse, hidden_cosine])
def test_projection_begins_as_identity_only_when_widths_are_equal(family: object) -> None:
    narrow, wide = Sizes(width=3, layers=2, heads=1), Sizes(width=5, layers=4, heads=1)
    square = family.module(wide, wide, layers=((1, 2), (2, 4)))  # type: ignore[attr-defined]
    assert len(square) == 2
    assert all(torch.equal(made.weight, torch.eye(5)) for made in square)
    assert family.module(narrow, wide)[0].weight.shape == (5, 3)  # type: ignore[attr-defined]


def test_text_weights_are_left_out_when_they_belong_to_words() -> None:
    words = replace(PLAIN, weights=torch.arange(12.0))  # a tagger's 12 words in 5 texts
    assert float(value("hidden-mse", STUDENT, TEACHER, words)) == float(value("hidden-mse", STUDENT, TEACHER, PLAIN))


@pytest.mark.parametrize(
    ("name", "layers"), [("hidden-mse", ((3, 3),)), ("attention", ((1, 0),)), ("relation", ((2, 4),)), ("hidden-cosine", ((-1, 0),))]
)
def test_layer_that_is_not_there_is_named_when_asked_for(name: str, layers: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValueError, match=r"the (student|teacher) has no layer -?\d here: its layers are [01] to [23]"):
        value(name, STUDENT, TEACHER, PLAIN, layers=layers)


# ── attention ────────────────────────────────────────────────────────────────────────────────────────────────────────


def scores(said: Outputs, layer: int, text: int, head: int) -> NDArray[np.float64]:
    """A = Q Kᵀ / √e of the tokens of one text, equation 1 of TinyBERT."""
    width = said.queries[0].shape[-1] // said.heads
    own = slice(head * width, (head + 1) * width)
    query, key = (states[layer - 1][text, REAL[text], own].numpy() for states in (said.queries, said.keys))
    return query @ key.T / math.sqrt(width)


@pytest.mark.parametrize(("layers", "compared"), [(None, [(2, 3)]), (((1, 1), (2, 2)), [(1, 1), (2, 2)])])
def test_attention_equals_equation_7_in_numpy_when_texts_have_weights(layers: object, compared: list[tuple[int, int]]) -> None:
    expected = []
    for one, other in compared:
        errors, weights = [], []
        for text in range(TEXTS):
            squares = np.mean([(scores(STUDENT, one, text, head) - scores(TEACHER, other, text, head)) ** 2 for head in range(2)], axis=0)
            errors += squares.ravel().tolist()
            weights += [TEXT_WEIGHTS[text]] * squares.size
        expected.append(np.average(errors, weights=weights))
    assert float(value("attention", STUDENT, TEACHER, WEIGHTED, layers=layers)) == pytest.approx(np.mean(expected), rel=1e-10)


def test_attention_equals_the_hand_computed_value_when_one_text_has_two_tokens() -> None:
    # e = 4. Student: q = k = (2, 0, 0, 0), then 0: A = 4 / 2 in one cell. Teacher: all 0. (2² + 0 + 0 + 0) / 4 = 1
    states = torch.zeros(1, 2, 4, dtype=torch.float64)
    states[0, 0, 0] = 2
    student = Outputs(torch.zeros(1), queries=(states,), keys=(states,), heads=1)
    teacher = Outputs(torch.zeros(1), queries=(0 * states,), keys=(states,), heads=1)
    assert float(attention.loss(student, teacher, BARE)) == 1.0


def test_attention_says_what_to_do_when_head_counts_differ() -> None:
    with pytest.raises(ValueError, match=r"the student has 2 and the teacher 4: give the student 4 heads, or use the loss 'relation'"):
        attention.loss(STUDENT, replace(TEACHER, heads=4), PLAIN)


# ── relation ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def relations(states: torch.Tensor, text: int, heads: int) -> NDArray[np.float64]:
    """R = softmax(A Aᵀ / √d_r) of the tokens of one text for every relation head, equation 5 of MiniLMv2."""
    own = states[text, REAL[text]].numpy()  # [tokens, d]
    return np.stack([softmax(head @ head.T / math.sqrt(head.shape[1]), axis=-1) for head in np.split(own, heads, axis=1)])


def related(one: int, other: int, heads: int) -> float:
    total = 0.0
    for field in ("queries", "keys", "values"):
        divergences, weights = [], []
        for text in range(TEXTS):
            of_teacher, of_student = (relations(getattr(said, field)[layer - 1], text, heads) for said, layer in ((TEACHER, other), (STUDENT, one)))
            per_token = entropy(of_teacher, of_student, axis=-1).mean(axis=0)  # KL(teacher ‖ student), over heads
            divergences += per_token.tolist()
            weights += [TEXT_WEIGHTS[text]] * len(per_token)
        total += float(np.average(divergences, weights=weights))
    return total


@pytest.mark.parametrize("heads", [1, 2])
def test_relation_equals_equations_3_to_5_in_numpy_when_widths_differ(heads: int) -> None:
    assert float(relation.loss(STUDENT, TEACHER, WEIGHTED, heads=heads)) == pytest.approx(related(2, 3, heads), rel=1e-10)


def test_relation_is_the_mean_of_its_layer_pairs_when_there_are_two() -> None:
    expected = (related(1, 1, 2) + related(2, 2, 2)) / 2
    assert float(relation.loss(STUDENT, TEACHER, WEIGHTED, layers=((1, 1), (2, 2)))) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("of_teacher", "heads"), [(2, 2), (4, 2), (8, 2), (1, 1)])  # widths 6 and 8: the common divisors are 1 and 2
def test_relation_heads_are_the_largest_part_of_the_teachers_when_none_are_given(of_teacher: int, heads: int) -> None:
    found = relation.loss(replace(STUDENT, heads=3), replace(TEACHER, heads=of_teacher), WEIGHTED)
    assert float(found) == pytest.approx(related(2, 3, heads), rel=1e-10)


def test_relation_equals_the_hand_computed_value_when_two_tokens_have_one_number() -> None:
    # teacher 1 and 2: A Aᵀ = ((1, 2), (2, 4)): R has rows (1 − σ(1), σ(1)) and (1 − σ(2), σ(2)); student 0 and 0: rows (1/2, 1/2)
    # KL: ln 2 − H(0.7310586) = 0.1109441, ln 2 − H(0.8807971) = 0.3278134; mean 0.2193788; the same for K and V: 0.6581363
    teacher = torch.tensor([[[1.0], [2.0]]], dtype=torch.float64)
    student = torch.zeros_like(teacher)
    one, other = (Outputs(torch.zeros(1), queries=(said,), keys=(said,), values=(said,), heads=1) for said in (student, teacher))
    assert float(relation.loss(one, other, BARE)) == pytest.approx(0.6581363, abs=1e-6)


def test_relation_does_not_change_when_each_head_is_rotated() -> None:
    turn = torch.block_diag(rotation(3), rotation(3))
    turned = replace(STUDENT, queries=tuple(states @ turn for states in STUDENT.queries))
    expected = float(relation.loss(STUDENT, TEACHER, PLAIN, heads=2))
    assert float(relation.loss(turned, TEACHER, PLAIN, heads=2)) == pytest.approx(expected, rel=1e-12)


def test_relation_names_the_common_divisor_when_heads_do_not_divide_the_widths() -> None:
    with pytest.raises(ValueError, match=r"4 relation heads do not divide the widths 6 and 8: take a divisor of 2"):
        relation.loss(STUDENT, TEACHER, PLAIN, heads=4)


# ── crd ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_crd_equals_equations_17_to_19_in_numpy_when_texts_have_weights() -> None:
    module = learned("crd", STUDENT, TEACHER)["module"]
    ends = []
    for said, g in ((STUDENT, module[0]), (TEACHER, module[1])):
        pooled = np.stack([said.hidden[-1][text, REAL[text]].numpy().mean(axis=0) for text in range(TEXTS)])
        mapped = pooled @ g.weight.detach().numpy().T + g.bias.detach().numpy()
        ends.append(mapped / np.linalg.norm(mapped, axis=1, keepdims=True))
    of_student, of_teacher = ends
    assert of_student.shape == (TEXTS, 128)
    negatives, cardinality, temperature = TEXTS - 1, TEXTS, 0.3

    def h(teacher: int, student: int) -> float:
        critic = math.exp(of_teacher[teacher] @ of_student[student] / temperature)
        return critic / (critic + negatives / cardinality)

    terms = [-math.log(h(i, i)) - sum(math.log(1 - h(i, j)) for j in range(TEXTS) if j != i) for i in range(TEXTS)]
    found = crd.loss(STUDENT, TEACHER, WEIGHTED, module=module, temperature=temperature)
    assert float(found) == pytest.approx(np.average(terms, weights=TEXT_WEIGHTS), rel=1e-6)


def test_crd_equals_the_hand_computed_value_when_all_cosines_are_zero() -> None:
    # n = 3, N / M = 2/3, h = 1 / (1 + 2/3) = 3/5: −ln 3/5 − 2 · ln 2/5 = 0.5108256 + 1.8325815 = 2.3434071
    student, teacher = hidden([[[1.0, 0.0]], [[2.0, 0.0]], [[3.0, 0.0]]]), hidden([[[0.0, 1.0]], [[0.0, 2.0]], [[0.0, 3.0]]])
    assert float(crd.loss(student, teacher, BARE, module=SAME)) == pytest.approx(2.3434071, abs=1e-7)


def test_crd_tends_to_zero_when_pairs_agree_others_oppose_and_the_temperature_falls() -> None:
    both = hidden([[[1.0, 0.1]], [[-1.0, 0.1]]])
    values = [float(crd.loss(both, both, BARE, module=SAME, temperature=temperature)) for temperature in (1.0, 0.1, 0.01)]
    assert values[0] > values[1] > values[2]
    assert values[2] < 1e-12


def test_crd_is_zero_with_a_finite_gradient_when_a_text_is_alone() -> None:
    alone = torch.ones(1, 1, 2, dtype=torch.float64, requires_grad=True)
    found = crd.loss(Outputs(torch.zeros(1), hidden=(alone,)), hidden([[[1.0, 3.0]]]), BARE, module=SAME)
    found.backward()
    assert float(found) == 0
    assert alone.grad is not None
    assert torch.isfinite(alone.grad).all()


# ── embeddings ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_embedding_losses_equal_numpy_when_a_projection_matches_the_widths() -> None:
    student, teacher = outputs(drawn(1, TEXTS, 3)), outputs(drawn(2, TEXTS, 7))
    for name in ("embedding-mse", "embedding-cosine"):
        mapped = student.logits.numpy() @ learned(name, student, teacher)["module"].weight.detach().numpy().T  # [n, d_T]
        rows = zip(mapped, teacher.logits.numpy(), strict=True)
        expected = [np.mean((one - other) ** 2) if name == "embedding-mse" else cosine(one, other) for one, other in rows]
        found = value(name, student, teacher, WEIGHTED)
        assert float(found) == pytest.approx(np.average(expected, weights=TEXT_WEIGHTS), rel=1e-10)


def test_embedding_losses_learn_nothing_beside_the_student_when_widths_are_equal() -> None:
    width = Sizes(width=3, layers=1, heads=1)
    assert list(embedding_mse.module(width, width).parameters()) == []
    # (1, 0) against (1, 1): as in the hidden losses, 0.5 and 1 − 1 / √2
    student, teacher = outputs([[1.0, 0.0]]), outputs([[1.0, 1.0]])
    assert float(value("embedding-mse", student, teacher, BARE)) == 0.5
    assert float(value("embedding-cosine", student, teacher, BARE)) == pytest.approx(0.2928932, abs=1e-7)


def test_similarity_equals_scikit_learn_when_texts_have_weights() -> None:
    student, teacher = outputs(drawn(3, TEXTS, 4)), outputs(drawn(4, TEXTS, 7))
    squares = (cosine_similarity(student.logits.numpy()) - cosine_similarity(teacher.logits.numpy())) ** 2
    expected = np.average(squares, weights=np.outer(TEXT_WEIGHTS, TEXT_WEIGHTS))
    assert float(value("similarity", student, teacher, WEIGHTED)) == pytest.approx(expected, rel=1e-10)


def test_similarity_equals_the_hand_computed_value_when_two_texts_are_alike_for_the_teacher_only() -> None:
    # cosines off the diagonal: 0 and 1; (0 + 1 + 1 + 0) / 4 = 0.5
    assert float(value("similarity", outputs([[1.0, 0.0], [0.0, 3.0]]), outputs([[1.0, 1.0], [2.0, 2.0]]), BARE)) == pytest.approx(0.5)


def test_rkd_equals_the_paper_in_numpy_loops_when_texts_have_weights() -> None:
    student, teacher = drawn(5, TEXTS, 4).numpy(), drawn(6, TEXTS, 7).numpy()
    texts = range(TEXTS)

    def huber(z: float) -> float:
        return z * z / 2 if abs(z) <= 1 else abs(z) - 0.5

    def unit(x: NDArray[np.float64], i: int, j: int) -> NDArray[np.float64]:
        return (x[i] - x[j]) / (np.linalg.norm(x[i] - x[j]) or 1.0)

    pairs = {(i, j): TEXT_WEIGHTS[i] * TEXT_WEIGHTS[j] for i in texts for j in texts}
    triples = {(i, j, k): TEXT_WEIGHTS[i] * TEXT_WEIGHTS[j] * TEXT_WEIGHTS[k] for i in texts for j in texts for k in texts}
    apart = [pair for pair in pairs if pair[0] != pair[1]]
    of_student, of_teacher = (
        np.average([np.linalg.norm(x[i] - x[j]) for i, j in apart], weights=[pairs[pair] for pair in apart]) for x in (student, teacher)
    )
    distances = [huber(np.linalg.norm(student[i] - student[j]) / of_student - np.linalg.norm(teacher[i] - teacher[j]) / of_teacher) for i, j in pairs]
    angles = [huber(unit(student, i, j) @ unit(student, k, j) - unit(teacher, i, j) @ unit(teacher, k, j)) for i, j, k in triples]
    expected = 3.0 * np.average(distances, weights=list(pairs.values())) + 0.5 * np.average(angles, weights=list(triples.values()))
    assert float(value("rkd", outputs(student), outputs(teacher), WEIGHTED, alpha=3.0, beta=0.5)) == pytest.approx(expected, rel=1e-10)


def test_rkd_equals_the_hand_computed_value_when_a_line_meets_a_triangle() -> None:
    # teacher 0, 1, 3 on a line: distances ÷ 2 = 1/2, 1, 3/2; student equilateral: all 1. huber(1/2) = 1/8: (2/8 + 2/8) / 9 = 1/18
    # cosines at the three texts: 1, −1, 1 against 1/2. huber: 1/8, 1, 1/8, each in two triples of 27: 2.5 / 27;  1/18 + 2 · 2.5 / 27 = 0.2407407
    student, teacher = outputs([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(3) / 2]]), outputs([[0.0], [1.0], [3.0]])
    assert float(rkd.loss(student, teacher, BARE)) == pytest.approx(0.2407407, abs=1e-7)


@pytest.mark.parametrize(("name", "moved"), [("similarity", 0.0), ("rkd", 5.0)])
def test_relational_loss_is_zero_when_the_student_is_the_teacher_rotated_and_scaled(name: str, moved: float) -> None:
    teacher = drawn(7, TEXTS, 6)
    assert float(value(name, outputs(3 * teacher @ rotation(6) + moved), outputs(teacher), BARE)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["similarity", "rkd"])
@pytest.mark.parametrize("rows", [1, 3])
def test_relational_loss_has_a_finite_gradient_when_texts_repeat_or_are_alone(name: str, rows: int) -> None:
    student = outputs(torch.ones(rows, 4), learns=True)
    found = value(name, student, outputs(drawn(8, rows, 4)), BARE)
    found.backward()
    assert student.logits.grad is not None
    assert torch.isfinite(student.logits.grad).all()
    assert (float(found) == pytest.approx(0, abs=1e-12)) == (rows == 1)


def test_pair_cosine_equals_the_hand_computed_value_when_two_of_three_pairs_are_labelled() -> None:
    # cosines 0.6 and 0 against 1 and 0.5: ((0.4)² + (0.5)²) / 2 = 0.205; the middle pair has no label
    said = outputs([[3.0, 4.0], [1.0, 0.0], [1.0, 1.0], [5.0, 1.0], [2.0, 0.0], [0.0, 9.0]])
    labels = torch.tensor([[1.0], [math.nan], [math.nan], [math.nan], [0.5], [math.nan]], dtype=torch.float64)
    assert float(pair_cosine.loss(said, said, Batch(labels))) == pytest.approx(0.205)
