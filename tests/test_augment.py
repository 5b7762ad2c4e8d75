"""Augmenting: what each method does to words, counted by hand, and the rows that the step leaves for the teacher to label."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_teacher

from edgedistill.data._augment import drawn, exchanged, left_out, replaced
from edgedistill.progress import Progress, silent
from edgedistill.spec import Artifact, Augment, Inputs
from edgedistill.stages import augment
from edgedistill.stages._splits import read_split, write_split
from edgedistill.tasks._words import spans

WORDS = [f"w{number}" for number in range(20)]


class Fixed:
    """A generator whose draws a test has chosen."""

    def __init__(self, *draws: Any) -> None:
        self.draws = list(draws)

    def random(self, size: int) -> Any:
        return np.array(self.draws.pop(0))

    def integers(self, *bounds: int, size: int | None = None) -> Any:
        return self.draws.pop(0)


def test_words_are_left_out_when_their_draw_is_below_the_share() -> None:
    assert left_out(["a", "b", "c", "d"], 0.5, Fixed([0.1, 0.5, 0.9, 0.49])) == ["b", "c"]
    assert left_out(["a", "b"], 0.5, Fixed([0.1, 0.2], 1)) == ["b"], "never all: one that is drawn stays"
    assert left_out([], 0.5, Fixed([])) == []
    assert left_out(["a", "b"], 0.0, Fixed([0.0, 0.0])) == ["a", "b"]


def test_share_of_words_left_out_is_the_one_asked_for_when_there_are_many() -> None:
    kept = left_out(["x"] * 100_000, 0.3, np.random.default_rng(0))
    assert len(kept) == pytest.approx(70_000, abs=600)  # four standard deviations: 4 · √(100000 · 0.3 · 0.7) = 580


def test_two_stretches_change_places_when_swapped() -> None:
    # 8 words, share 0.5: two stretches of 2; one word stands before the first, three in all before the second, which so begins at 3 + 2 = 5
    assert exchanged([*"abcdefgh"], 0.5, Fixed([3, 1])) == [*"afgdebch"]
    assert exchanged([*"abcd"], 1.0, Fixed([0, 0])) == [*"cdab"], "neighbours, all words"
    assert exchanged([*"ab"], 0.1, Fixed([0, 0])) == [*"ba"], "at least one word each"
    assert exchanged(["a"], 0.5, Fixed()) == ["a"]
    assert exchanged([*"abc"], 0.0, Fixed()) == [*"abc"]


@pytest.mark.parametrize(("share", "moved"), [(0.1, 2), (0.3, 6), (0.9, 18)])
def test_share_of_words_is_moved_and_none_is_lost_when_swapped(share: float, moved: int) -> None:
    for seed in range(50):
        after = exchanged(WORDS, share, np.random.default_rng(seed))
        assert Counter(after) == Counter(WORDS)
        # stretches of equal length trade places, so every word outside them stands where it stood
        assert sum(a != b for a, b in zip(WORDS, after, strict=True)) == moved


def test_text_between_words_stays_when_one_is_replaced() -> None:
    text = 'A "good"  film, no?'
    assert replaced(text, spans(text), {2: "bad", 4: "story"}) == 'A "bad"  story, no?'
    assert drawn({1: ["x", "y"], 2: []}, [1, 2, 3], Fixed(1)) == {1: "y"}


def prepared(folder: Path, examples: list[dict[str, Any]]) -> Inputs:
    """What `prepare` leaves, with the texts as training rows."""
    folder.mkdir(parents=True)
    write_split(folder, "train", examples, [0] * len(examples))
    for name in ("transfer", "validation", "test"):
        write_split(folder, name, [], [])
    artifact = Artifact(stage="prepare", key="0", path=folder, receipt={"facts": {}})
    return Inputs(artifacts={"prepare": artifact}, places={})


def ran(inputs: Inputs, out: Path, how: Augment, task: str = "text-classification", seed: int = 0) -> list[dict[str, Any]]:
    out.mkdir(exist_ok=True)
    augment.run(augment.Params(task=task, augment=how, max_length=24, seed=seed), inputs, out, Progress(silent, "augment"))
    augment.ensures(out)
    split = read_split(out, "augmented")
    assert split.targets == [None] * len(split)
    return split.examples


TEXTS = [{"text": " ".join(WORDS[start : start + 8])} for start in range(10)]


def test_rows_are_the_same_when_the_seed_is_and_others_when_it_is_not(tmp_path: Path) -> None:
    inputs = prepared(tmp_path / "prepare", TEXTS)
    how = Augment(copies=3, drop=0.3, swap=0.4)
    first = ran(inputs, tmp_path / "a", how)
    assert first == ran(inputs, tmp_path / "b", how)
    assert first != ran(inputs, tmp_path / "c", how, seed=1)
    assert 20 <= len(first) <= 30
    known = {one["text"] for one in TEXTS}
    assert not known & {one["text"] for one in first}
    assert len({one["text"] for one in first}) == len(first)


def test_no_row_comes_out_when_nothing_would_change(tmp_path: Path) -> None:
    assert ran(prepared(tmp_path / "prepare", TEXTS), tmp_path / "out", Augment(copies=2, drop=0.0, swap=0.0)) == []


def test_first_second_or_both_texts_change_when_rows_are_pairs(tmp_path: Path) -> None:
    inputs = prepared(tmp_path / "prepare", [{"text": " ".join(WORDS[:10]), "pair": " ".join(WORDS[10:])}])
    found = ran(inputs, tmp_path / "out", Augment(copies=40, drop=0.4, swap=0.0))
    kinds = {(one["text"] != " ".join(WORDS[:10]), one["pair"] != " ".join(WORDS[10:])) for one in found}
    assert kinds == {(True, False), (False, True), (True, True)}


def test_context_stays_when_rows_are_questions(tmp_path: Path) -> None:
    inputs = prepared(tmp_path / "prepare", [{"context": "a b c d e f", "question": "who wrote all of it ?"}])
    found = ran(inputs, tmp_path / "out", Augment(copies=5, drop=0.3), "question-answering")
    assert len(found) >= 3
    assert {one["context"] for one in found} == {"a b c d e f"}
    assert all(one["question"] != "who wrote all of it ?" for one in found)


def test_words_stay_a_list_without_places_when_rows_are_tagged(tmp_path: Path) -> None:
    inputs = prepared(tmp_path / "prepare", [{"words": WORDS, "spans": [[0, 2]] * 20}])
    found = ran(inputs, tmp_path / "out", Augment(copies=3, drop=0.3), "token-classification")
    assert len(found) == 3
    assert all(set(one) == {"words"} and set(one["words"]) < set(WORDS) for one in found)


@pytest.mark.parametrize("task", ["image-classification", "masked-language-modeling"])
def test_fault_is_clear_when_a_task_has_nothing_to_change(task: str) -> None:
    faults = augment.requires(augment.Params(task=task, augment=Augment(), max_length=24, seed=0), {})
    assert [fault.where for fault in faults] == ["augment"]
    assert "leave [augment] out" in faults[0].hint


@pytest.fixture(scope="module")
def masked_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked language model that everywhere puts `lovely` first, then `film`, `##a`, `the`, `[SEP]`, and the rest far below."""
    import torch
    from transformers import BertForMaskedLM

    folder = make_teacher(tmp_path_factory.mktemp("masked"))
    model = BertForMaskedLM.from_pretrained(folder)
    pieces = augment.models.load_tokenizer(folder)
    with torch.no_grad():
        model.cls.predictions.transform.LayerNorm.weight.zero_()
        model.cls.predictions.transform.LayerNorm.bias.zero_()
        model.cls.predictions.bias.copy_(-torch.arange(len(model.cls.predictions.bias)) / 10 - 50)
        for rank, piece in enumerate(("lovely", "film", "##a", "the", "[SEP]")):
            model.cls.predictions.bias[pieces.token_to_id(piece)] = 10.0 - rank
    model.save_pretrained(folder)
    return folder


def test_candidates_are_the_models_likeliest_whole_words_when_asked(masked_model: Path) -> None:
    from edgedistill.stages._substitute import CANDIDATES, Asked, Substitutes

    text = "The lovely sq day"  # sq is two pieces: it stays
    found = Substitutes(masked_model, 24).of([Asked(text=text, places=spans(text), words=[0, 1, 2, 3]), Asked(text="", places=[], words=[])])
    assert found[1] == {}
    assert found[0].keys() == {0, 1, 3}
    assert found[0][3][:3] == ["lovely", "film", "the"], "##a begins no word and [SEP] is none"
    assert found[0][0][:2] == ["lovely", "film"]
    assert "the" not in found[0][0], "no word is its own substitute, whatever its case"
    assert "lovely" not in found[0][1]
    assert all(len(words) <= CANDIDATES for words in found[0].values())


def test_words_are_put_in_and_shards_kept_when_substituting(masked_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgedistill.stages import _substitute

    monkeypatch.setattr(_substitute, "CANDIDATES", 1)  # then a changed word can only be the likeliest one
    monkeypatch.setattr(augment, "SHARD", 4)
    texts = [{"text": f"it felt {word}, quite {word}!"} for word in ("cold", "warm", "kind", "cruel", "harsh", "bitter")]
    inputs = Inputs(artifacts=prepared(tmp_path / "prepare", texts).artifacts, places={"augmenter": str(masked_model)})
    how = Augment(copies=4, drop=0.0, swap=0.0, substitute=0.3, model="masked")
    found = ran(inputs, tmp_path / "out", how)
    assert len(found) >= 10
    for one in found:
        new, old = one["text"].split(), texts[0]["text"].split()
        assert len(new) == len(old), "nothing but words changed"
        assert new[2].endswith(",")
        assert new[4].endswith("!")
        assert "lovely" in one["text"]
    shards = sorted((tmp_path / "out" / "resume").glob("substitutes-*.json"))
    assert len(shards) == 2
    shards[1].unlink()
    first = shards[0].stat().st_mtime_ns
    assert ran(inputs, tmp_path / "out", how) == found, "a killed run makes the shard that is missing and ends alike"
    assert shards[0].stat().st_mtime_ns == first


def test_fault_names_the_model_when_it_has_no_head_for_masks(tmp_path: Path) -> None:
    folder = make_teacher(tmp_path / "teacher")
    params = augment.Params(task="text-classification", augment=Augment(substitute=0.2, model="teacher"), max_length=24, seed=0)
    assert [fault.where for fault in augment.requires(params, {"augmenter": str(folder)})] == ["augment.model"]
    assert augment.requires(params, {"augmenter": "hub:somebody/model"}) == []
