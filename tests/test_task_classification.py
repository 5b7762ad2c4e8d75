"""Classification of texts, into one class or several, and regression: metrics against scikit-learn and SciPy, labels by hand."""

from __future__ import annotations

import numpy as np
import pytest
from task_cases import DATA, trained

from edgedistill.spec import Data
from edgedistill.tasks import NO_LABEL, _ranks, sentence_embedding, text_regression
from edgedistill.tasks import multi_label_classification as multi
from edgedistill.tasks import text_classification as single


def outputs(logits: np.ndarray) -> list[list[np.ndarray]]:
    return [[row[None].astype(np.float32)] for row in logits]


def multi_total(logits: np.ndarray, hot: np.ndarray) -> float:
    targets = [np.flatnonzero(row).tolist() for row in hot]
    return multi.total(multi.evidence(outputs(logits), [], [], targets, [str(index) for index in range(hot.shape[1])]))


def test_accuracy_is_scikit_learns_when_counted() -> None:
    draw = np.random.default_rng(0)
    from sklearn.metrics import accuracy_score

    logits, labels = draw.normal(size=(200, 5)), draw.integers(0, 5, 200)
    assert single.total(single.evidence(outputs(logits), [], [], labels.tolist(), [])) == accuracy_score(labels, logits.argmax(1))


def test_macro_f1_is_scikit_learns_when_every_class_occurs() -> None:
    draw = np.random.default_rng(0)
    from sklearn.metrics import f1_score

    logits, hot = draw.normal(size=(300, 6)), draw.random((300, 6)) < 0.3
    assert multi_total(logits, hot) == pytest.approx(f1_score(hot, logits > 0, average="macro"))


def test_macro_f1_leaves_a_class_out_when_nobody_labelled_or_answered_it() -> None:
    """scikit-learn's `zero_division=nan`: a class without any label or answer has no F1, and the mean is over the others."""
    draw = np.random.default_rng(0)
    from sklearn.metrics import f1_score

    logits, hot = draw.normal(size=(50, 4)), draw.random((50, 4)) < 0.4
    logits[:, 2], hot[:, 2] = -1.0, False  # neither
    logits[:, 3] = -1.0  # labelled, never answered: its F1 is 0 and counts
    expected = f1_score(hot, logits > 0, average="macro", zero_division=np.nan)
    assert multi_total(logits, hot) == pytest.approx(expected)
    assert expected == pytest.approx(f1_score(hot, logits > 0, average=None, zero_division=0)[[0, 1, 3]].mean())


def test_macro_f1_is_two_thirds_when_counted_by_hand() -> None:
    """Class 0: one hit, two answers, one label → 2/3. Class 1: one hit, one answer, two labels → 2/3."""
    logits = np.array([[1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]])
    assert multi_total(logits, np.array([[1, 1], [0, 1], [0, 0]])) == pytest.approx(2 / 3)


def test_macro_f1_is_0_when_there_is_nothing_to_find() -> None:
    assert multi_total(-np.ones((3, 2)), np.zeros((3, 2))) == 0


@pytest.mark.parametrize(
    ("value", "separator", "expected"),
    [("3,1", ",", ["1", "3"]), ('["b", "a"]', ",", ["a", "b"]), ("a|b, c", "|", ["a", "b, c"]), ("", ",", []), ("a, a,", ",", ["a"])],
)
def test_classes_are_read_when_a_row_names_several(value: str, separator: str, expected: list[str]) -> None:
    assert multi.target(value, {}, Data(source="x", separator=separator)) == expected


def test_classes_are_in_the_order_of_numbers_when_all_are_numbers() -> None:
    assert multi.names([["10", "2"], ["1"]]) == ["1", "2", "10"]
    assert single.names(["10", "b", "2", "a"]) == ["2", "10", "a", "b"]


def test_labels_are_ones_and_zeros_when_a_row_has_classes() -> None:
    assert multi.labels([], [0, 2], ["a", "b", "c"]).tolist() == [[1.0, 0.0, 1.0]]
    assert multi.labels([], [], ["a", "b", "c"]).tolist() == [[0.0, 0.0, 0.0]]
    assert np.isnan(multi.labels([], None, ["a", "b", "c"])).all()
    assert single.labels([], 2, []).tolist() == [2]
    assert single.labels([], None, []).tolist() == [NO_LABEL]


def test_probabilities_are_scipys_when_answered() -> None:
    draw = np.random.default_rng(0)
    from scipy.special import expit, softmax

    logits = draw.normal(size=(4, 3)) * 3
    names = ["x", "y", "z"]
    for found, row in zip(single.answers(outputs(logits), [], [], names), softmax(logits, axis=1), strict=True):
        np.testing.assert_allclose(list(found["all"].values()), row, atol=1e-6)
        assert (found["label"], found["probability"]) == (names[int(row.argmax())], pytest.approx(row.max(), abs=1e-6))
    for found, row in zip(multi.answers(outputs(logits), [], [], names), expit(logits), strict=True):
        np.testing.assert_allclose(list(found["all"].values()), row, atol=1e-6)
        assert found["labels"] == [name for name, share in zip(names, row, strict=True) if share > 0.5]


@pytest.mark.parametrize("ties", [False, True])
def test_spearman_is_scipys_when_values_repeat_and_when_not(ties: bool) -> None:
    draw = np.random.default_rng(0)
    from scipy.stats import spearmanr

    columns = draw.normal(size=(120, 2))
    columns[:, 1] += columns[:, 0]
    if ties:
        columns = columns.round()
    assert _ranks.spearman(columns) == pytest.approx(spearmanr(*columns.T).statistic)


def test_ranks_are_shared_when_values_are_equal() -> None:
    assert _ranks.ranks(np.array([30.0, 10.0, 20.0, 20.0])).tolist() == [4.0, 1.0, 2.5, 2.5]


def test_spearman_is_0_when_a_column_does_not_vary() -> None:
    assert _ranks.spearman(np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])) == 0


def test_regression_is_scored_by_ranks_when_answers_are_bent() -> None:
    targets = [0.5, 2.0, 1.0, 4.0]
    evidence = text_regression.evidence(outputs(np.exp([targets]).T), [], [], targets, [])
    assert text_regression.total(evidence) == pytest.approx(1.0)
    assert text_regression.total(evidence * [-1, 1]) == pytest.approx(-1.0)


def test_numbers_agree_when_within_a_tenth_of_their_range() -> None:
    """The 5th and 95th percentile of 0 … 100 are 5 and 95: a tenth of that is 9."""
    theirs = [np.array([float(value)]) for value in range(101)]
    ours = [value + shift for value, shift in zip(theirs, [8.9, -8.9, 9.1, -9.1] * 25 + [0], strict=True)]
    assert text_regression.alike(ours, theirs).tolist() == [1, 1, 0, 0] * 25 + [1]


@pytest.mark.parametrize("value", ["nan", "inf", "many", ""])
def test_score_is_refused_when_it_is_no_finite_number(value: str) -> None:
    for task in (text_regression, sentence_embedding):
        with pytest.raises(ValueError, match=r"number|float"):
            task.target(value, {}, DATA)


def test_pair_has_types_and_keeps_both_texts_when_it_is_cut() -> None:
    """The longer text gives way first: the short one is whole."""
    tokenizer = trained("wordpiece")
    short, long = "a green door", "the river bends twice, then it narrows before the old mill. " * 4
    for pair in ({"text": short, "pair": long}, {"text": long, "pair": short}):
        ((row,),) = single.encode(tokenizer, [pair], 24)
        whole = tokenizer.encode(short, add_special_tokens=False).ids
        side = 0 if pair["text"] == short else 1
        mine = [piece for piece, kind in zip(row.ids, row.types, strict=True) if kind == side and piece not in (2, 3)]
        assert mine == whole
        assert len(row) == 24


def test_types_are_fed_when_texts_come_in_pairs_only() -> None:
    tokenizer = trained("wordpiece")
    alone, paired = single.encode(tokenizer, [{"text": "a roof"}, {"text": "a roof", "pair": "a door"}], 24)
    assert "token_type_ids" not in single.feeds(alone, 0)
    feeds = single.feeds([*alone, *paired], 0)
    assert feeds["token_type_ids"][0].sum() == 0
    cut = feeds["input_ids"][1].tolist().index(3) + 1  # [SEP]
    assert feeds["token_type_ids"][1].tolist() == [0] * cut + [1] * (len(feeds["input_ids"][1]) - cut)


def test_pair_is_another_example_when_it_is_turned_round() -> None:
    one, other = {"text": "a b", "pair": "c"}, {"text": "c", "pair": "a b"}
    assert single.identity(one) != single.identity(other)
    assert single.identity(one) == single.identity({"text": " A  b", "pair": "C "})


def test_pair_is_asked_as_json_when_predicting() -> None:
    assert single.asked('{"text": "a", "pair": "b"}') == {"text": "a", "pair": "b"}
    assert single.asked("{a brace} in a text".removeprefix("{")) == {"text": "a brace} in a text"}
    with pytest.raises(ValueError, match="JSON"):
        single.asked('{"pair": "b"}')
