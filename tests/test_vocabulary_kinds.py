"""Trimming BPE and Unigram tokenizers: merges stay closed, characters stay, ids map, and a model that uses kept pieces answers the same."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram
from tokenizers.trainers import BpeTrainer, UnigramTrainer

from edgedistill.errors import ConfigError
from edgedistill.spec import Student
from edgedistill.students import Origin, compose
from edgedistill.students._vocabulary import trim, unknown_rate

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
STEMS = ("distil", "learn", "teach", "quant", "export", "measur", "report", "trim", "label", "train")
WORDS = [stem + ending for stem in STEMS for ending in ("", "s", "ed", "er", "ing", "able")]
TEXTS = [" ".join(random.Random(seed).choices(WORDS, k=12)) for seed in range(60)]
USED = [" ".join(random.Random(seed).choices(WORDS[:12], k=8)) for seed in range(20)]
LETTERS = sorted(set("".join(WORDS)))


def byte_level() -> Tokenizer:
    """As RoBERTa and GPT-2 have it: 256 symbols for the bytes, words with their space."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(TEXTS, BpeTrainer(vocab_size=420, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False))
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    return tokenizer


def plain_bpe() -> Tokenizer:
    """Characters, with a mark at the end of a word, as CLIP has it."""
    tokenizer = Tokenizer(BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = BpeTrainer(vocab_size=180, special_tokens=SPECIAL, end_of_word_suffix="</w>", show_progress=False)
    tokenizer.train_from_iterator([*TEXTS, *LETTERS, " ".join("a" + letter + "a" for letter in LETTERS)], trainer)
    return tokenizer


def unigram() -> Tokenizer:
    """As XLM-RoBERTa has it: ▁ for a space, probabilities, <unk> by number."""
    tokenizer = Tokenizer(Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(TEXTS, UnigramTrainer(vocab_size=120, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False))
    ends = [("<s>", tokenizer.token_to_id("<s>")), ("</s>", tokenizer.token_to_id("</s>"))]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return tokenizer


KINDS = {"byte_level": byte_level, "plain_bpe": plain_bpe, "unigram": unigram}


@pytest.fixture(scope="module", params=KINDS)
def old(request: pytest.FixtureRequest) -> Tokenizer:
    return KINDS[request.param]()


def least(tokenizer: Tokenizer) -> int:
    """The smallest size, as the error says it."""
    with pytest.raises(ConfigError, match=r"student\.vocabulary: 1 is too few") as caught:
        trim(tokenizer, TEXTS, 1)
    return int(str(caught.value).split(" too few, ")[1].split(" ")[0])


def between(tokenizer: Tokenizer) -> int:
    return (least(tokenizer) + tokenizer.get_vocab_size()) // 2


def test_size_is_exact_and_kept_maps_by_name_when_trimmed(old: Tokenizer) -> None:
    for size in (least(old), between(old), old.get_vocab_size() - 1):
        smaller = trim(old, USED, size)
        assert smaller.tokenizer.get_vocab_size() == len(smaller.kept) == size
        assert sorted(smaller.tokenizer.get_vocab().values()) == list(range(size))
        for piece, new in smaller.tokenizer.get_vocab().items():
            assert old.id_to_token(smaller.kept[new]) == piece


def test_texts_of_the_original_alphabet_are_spelled_and_never_unknown_when_trimmed_to_the_least(old: Tokenizer) -> None:
    smaller = trim(old, USED, least(old)).tokenizer
    draw = random.Random(0)
    words = ["".join(draw.choices(LETTERS, k=draw.randint(1, 15))) for _ in range(300)]
    assert unknown_rate(old, words) == unknown_rate(smaller, words) == 0
    for word in words:
        spelled = "".join(smaller.encode(word, add_special_tokens=False).tokens).replace("</w>", "").removeprefix("▁")
        assert spelled == word


def test_used_texts_keep_their_pieces_when_there_is_room(old: Tokenizer) -> None:
    smaller = trim(old, USED, between(old))
    same = 0
    for text in TEXTS:
        before = old.encode(text)
        if set(before.ids) <= set(smaller.kept):
            assert smaller.tokenizer.encode(text).tokens == before.tokens
            same += 1
    assert all(smaller.tokenizer.encode(text).tokens == old.encode(text).tokens for text in USED)
    assert same < len(TEXTS)


def test_roles_stay_when_ids_move(old: Tokenizer) -> None:
    smaller = trim(old, USED, between(old)).tokenizer
    assert [smaller.token_to_id(piece) for piece in SPECIAL] == [old.token_to_id(piece) for piece in SPECIAL]
    before, after = old.encode("trains").tokens, smaller.encode("trains").tokens
    assert (before[0] == "<s>") == (after[0] == "<s>")
    again = Tokenizer.from_str(smaller.to_str())
    assert [again.encode(text).ids for text in TEXTS] == [smaller.encode(text).ids for text in TEXTS]


@pytest.mark.parametrize("kind", ["byte_level", "plain_bpe"])
def test_every_merge_has_its_parts_and_every_piece_its_merge_when_trimmed(kind: str) -> None:
    old = KINDS[kind]()
    model = json.loads(trim(old, USED, between(old)).tokenizer.to_str())["model"]
    pieces, made = set(model["vocab"]), {"".join(pair) for pair in model["merges"]}
    assert all({left, right, left + right} <= pieces for left, right in model["merges"])
    assert all(piece in made or len(piece.removesuffix("</w>")) == 1 or piece in SPECIAL for piece in pieces)


def by_hand() -> Tokenizer:
    """abcd = ab + cd, ab = a + b, cd = c + d, bc = b + c."""
    pieces = ["<unk>", *"abcd", "bc", "ab", "cd", "abcd"]
    merges = [("a", "b"), ("c", "d"), ("ab", "cd"), ("b", "c")]
    tokenizer = Tokenizer(BPE({piece: index for index, piece in enumerate(pieces)}, merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (5, ["<unk>", "a", "b", "c", "d"]),
        (6, ["<unk>", "a", "b", "c", "d", "bc"]),  # abcd would need ab and cd: no room
        (8, ["<unk>", "a", "b", "c", "d", "ab", "cd", "abcd"]),
    ],
)
def test_piece_comes_with_what_it_is_merged_from_when_counted_by_hand(size: int, expected: list[str]) -> None:
    smaller = trim(by_hand(), ["abcd abcd"], size).tokenizer
    assert sorted(smaller.get_vocab(), key=smaller.token_to_id) == expected
    assert smaller.encode("abcd").tokens == (["abcd"] if size == 8 else ["a", "bc", "d"] if size == 6 else list("abcd"))


def test_unigram_keeps_scores_its_unknown_and_characters_that_are_nowhere_alone() -> None:
    vocabulary = [("<s>", 0.0), ("xy", -1.0), ("ab", -1.5), ("a", -2.0), ("b", -2.5), ("<unk>", 0.0), ("abab", -1.0)]
    old = Tokenizer(Unigram(vocabulary, 5, False))
    old.add_special_tokens(["<s>"])
    smaller = json.loads(trim(old, ["abab"], 5).tokenizer.to_str())["model"]
    assert smaller["vocab"] == [["<s>", 0.0], ["xy", -1.0], ["a", -2.0], ["b", -2.5], ["<unk>", 0.0]]  # x and y are only in xy
    assert smaller["unk_id"] == 4
    assert least(old) == 5


@pytest.mark.parametrize("kind", ["byte_level", "unigram"])
@pytest.mark.parametrize("head", ["AutoModelForSequenceClassification", "AutoModelForMaskedLM"])
def test_model_answers_the_same_on_texts_of_kept_pieces_when_trimmed(kind: str, head: str) -> None:
    old = KINDS[kind]()
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 60}
    config = transformers.XLMRobertaConfig(vocab_size=old.get_vocab_size(), **sizes, pad_token_id=1, bos_token_id=0, eos_token_id=2)
    torch.manual_seed(0)
    teacher = getattr(transformers, head).from_config(config, attn_implementation="eager").eval()
    origin = Origin(teacher=teacher, tokenizer=old, texts=USED, labels=["x", "y"], auto_class=head)
    made = compose(Student(method="vocabulary", vocabulary=between(old)), origin, seed=0)
    kept = list(trim(old, USED, between(old)).kept)
    assert made.model.config.vocab_size == made.model.get_input_embeddings().num_embeddings == len(kept)
    with torch.inference_mode():
        for text in USED:
            before = teacher(torch.tensor([old.encode(text).ids])).logits
            after = made.model.eval()(torch.tensor([made.tokenizer.encode(text).ids])).logits
            assert torch.allclose(after, before[..., kept] if head == "AutoModelForMaskedLM" else before, rtol=0, atol=1e-6)


def test_language_models_head_stays_tied_when_trimmed() -> None:
    from tiny import COMMON, SMALLER, make_tokenizer, origin

    teachers: list[Any] = [
        transformers.BertForMaskedLM(transformers.BertConfig(**COMMON, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)),
        transformers.ElectraForMaskedLM(transformers.ElectraConfig(**COMMON, hidden_size=16, embedding_size=8, num_hidden_layers=1)),
        transformers.DistilBertForMaskedLM(transformers.DistilBertConfig(**COMMON, dim=16, n_layers=1, n_heads=2, hidden_dim=24)),
    ]
    for teacher in teachers:
        made = compose(Student(method="vocabulary", vocabulary=SMALLER), origin(teacher, make_tokenizer()), seed=0)
        head = made.model.get_output_embeddings()
        assert head.weight is made.model.get_input_embeddings().weight
        assert len(head.weight) == len(head.bias) == SMALLER


def test_positions_follow_the_padding_when_its_id_moves() -> None:
    pieces = ["<unk>", *"abcdefgh", "ab", "cd", "<pad>", "<s>", "</s>"]  # trimming takes two pieces before the padding
    merges = [("a", "b"), ("c", "d")]
    old = Tokenizer(BPE({piece: index for index, piece in enumerate(pieces)}, merges, unk_token="<unk>"))
    old.add_special_tokens(["<unk>", "<pad>", "<s>", "</s>"])
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 30}
    config = transformers.RobertaConfig(vocab_size=len(pieces), **sizes, pad_token_id=11, bos_token_id=12, eos_token_id=13)
    torch.manual_seed(0)
    teacher = transformers.RobertaModel(config).eval()
    origin = Origin(teacher=teacher, tokenizer=old, texts=["ef"], labels=[], auto_class="AutoModel")
    made = compose(Student(method="vocabulary", vocabulary=12), origin, seed=0)
    moved = made.model.config
    assert (moved.pad_token_id, moved.bos_token_id, moved.eos_token_id) == (9, 10, 11)
    with torch.inference_mode():
        before = teacher(torch.tensor([old.encode("efgh").ids])).last_hidden_state
        after = made.model.eval()(torch.tensor([made.tokenizer.encode("efgh").ids])).last_hidden_state
    torch.testing.assert_close(after, before, rtol=0, atol=1e-6)
