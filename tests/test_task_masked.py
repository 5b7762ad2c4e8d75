"""Masked language modelling: perplexity by hand and against torch, and what the masks hide."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from task_cases import KINDS, TEXTS, tokenizer_of, trained

from edgedistill.tasks import NO_LABEL, Row
from edgedistill.tasks import masked_language_modeling as task

PIECES = 1000


def total(logits: list[np.ndarray], rows: list[Row]) -> float:
    return task.total(task.evidence([[one] for one in logits], [[row] for row in rows], [], [], []))


def test_perplexity_is_e_to_the_mean_surprise_when_counted_by_hand() -> None:
    """Pieces of probability ½ in the first text, ¼ and ⅛ in the second: 2^((1 + 2 + 3) ÷ 3) = 4; not the mean over texts."""
    first, second = np.log([[0.5, 0.5]]), np.log([[0.25, 0.75], [0.875, 0.125]])
    rows = [Row(ids=[0, 0], at=[1], gold=[0]), Row(ids=[0, 0, 0], at=[1, 2], gold=[0, 1])]
    assert total([first, second], rows) == pytest.approx(4.0)


def test_perplexity_is_torchs_cross_entropy_when_logits_are_random() -> None:
    random = np.random.default_rng(0)
    logits = [random.normal(size=(count, 50)).astype(np.float32) * 4 for count in (3, 1, 7)]
    gold = [random.integers(0, 50, len(one)) for one in logits]
    rows = [Row(ids=range(9), at=range(len(one)), gold=one.tolist()) for one in gold]
    expected = torch.nn.functional.cross_entropy(torch.from_numpy(np.concatenate(logits)), torch.from_numpy(np.concatenate(gold)))
    assert total(logits, rows) == pytest.approx(math.exp(float(expected)), rel=1e-5)


def test_perplexity_is_the_number_of_pieces_when_nothing_is_known() -> None:
    assert total([np.zeros((4, 37))], [Row(ids=range(6), at=range(4), gold=[3, 5, 0, 36])]) == pytest.approx(37)


def test_perplexity_is_finite_when_the_model_is_sure_and_wrong() -> None:
    assert math.isfinite(total([np.array([[0.0, 1e6]])], [Row(ids=[0], at=[0], gold=[0])]))


def test_share_of_chosen_pieces_is_that_of_bert_when_texts_are_many() -> None:
    """15 % are chosen; of those 80 % are hidden, 10 % replaced, 10 % left. 12,000 draws: three deviations are about a hundredth."""
    random = np.random.default_rng(1)
    mask, special = PIECES - 1, [1] + [0] * 100 + [1]
    chosen = hidden = left = 0
    for _ in range(800):
        ids = [PIECES, *random.integers(5, mask, 100).tolist(), PIECES + 1]
        row = task.masked(ids, special, mask, PIECES)
        assert [ids[at] for at in row.at] == list(row.gold)
        assert not {0, 101} & {*row.at}
        assert [piece for at, piece in enumerate(row.ids) if at not in row.at] == [piece for at, piece in enumerate(ids) if at not in row.at]
        chosen += len(row.at)
        hidden += sum(row.ids[at] == mask for at in row.at)
        left += sum(row.ids[at] == ids[at] for at in row.at)
    assert chosen == 800 * 15
    assert hidden / chosen == pytest.approx(0.8, abs=0.012)
    assert left / chosen == pytest.approx(0.1, abs=0.012)


@pytest.mark.parametrize("kind", KINDS)
def test_masks_are_the_same_when_encoded_in_another_company(kind: str) -> None:
    """What the teacher said of a text is kept: its masks depend on the text alone."""
    tokenizer = tokenizer_of(kind)
    texts = [{"text": text} for text in TEXTS]
    together = task.encode(tokenizer, texts, 64)
    alone = [task.encode(tokenizer, [one], 64)[0] for one in reversed(texts)]
    assert together == alone[::-1]
    for (row,) in together:
        assert row.at
        assert len(row.gold) == len(row.at)


def test_own_masks_are_kept_when_the_text_has_some() -> None:
    tokenizer = trained("wordpiece")
    ((row,),) = task.encode(tokenizer, [{"text": "a [MASK] door and a [MASK] roof"}], 64)
    mask = tokenizer.token_to_id("[MASK]")
    assert [row.ids[at] for at in row.at] == [mask, mask]
    assert row.gold == [NO_LABEL, NO_LABEL]
    assert row.ids == tokenizer.encode("a [MASK] door and a [MASK] roof").ids


def test_tokenizer_is_refused_when_it_has_no_mask() -> None:
    from tokenizers import Tokenizer, models

    with pytest.raises(ValueError, match="masked language model"):
        task.encode(Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?")), [{"text": "a"}], 8)


def test_likeliest_pieces_are_named_when_asked() -> None:
    (found,) = task.answers([[np.array([[0.0, 5.0, 1.0, 4.0, 3.0, 2.0]])]], [], [], [])
    assert [[one["id"] for one in mask] for mask in found["masks"]] == [[1, 3, 4, 5, 2]]


def test_pieces_are_text_with_their_probabilities_when_spelled() -> None:
    """Odds of 6 : 3 : 1 between three pieces of the vocabulary; all others have none."""
    tokenizer = trained("wordpiece")
    first, second, third = (tokenizer.token_to_id(piece) for piece in ("a", "b", "c"))
    logits = np.full((1, tokenizer.get_vocab_size()), -np.inf)
    logits[0, [first, second, third]] = np.log([6.0, 3.0, 1.0])
    (answer,) = task.answers([[logits]], [], [], [])
    (mask,) = task.spelled(tokenizer, answer)["masks"]
    assert mask[:3] == [{"piece": "a", "probability": 0.6}, {"piece": "b", "probability": 0.3}, {"piece": "c", "probability": 0.1}]


@pytest.mark.parametrize(("text", "fault"), [("a door", r"put \[MASK\] where a word is wanted"), ("a " * 20 + "[MASK]", r"beyond the 8 pieces")])
def test_text_is_refused_when_it_has_no_mask_that_is_read(text: str, fault: str) -> None:
    tokenizer = trained("wordpiece")
    task.check(tokenizer, {"text": "a [MASK] door"}, 8)
    with pytest.raises(ValueError, match=fault):
        task.check(tokenizer, {"text": text}, 8)
    assert tokenizer.truncation is None
