"""Trimming a real WordPiece tokenizer: roles stay, characters stay, and nothing new becomes unknown."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel, WordPiece
from tokenizers.trainers import WordPieceTrainer

from edgedistill.errors import ConfigError
from edgedistill.students._vocabulary import Trimmed, trim, unknown_rate

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ALPHABET = "abcdefghijklmnopqrstuvwxyz'é日"
STEMS = ("distil", "learn", "teach", "quant", "export", "measur", "report", "trim", "label", "train")
WORDS = [stem + ending for stem in STEMS for ending in ("", "s", "ed", "er", "ing", "able")]
TEXTS = [" ".join(random.Random(seed).choices(WORDS, k=12)) for seed in range(60)]
POST = ("bert", "template", "sequence")


def post_processor(kind: str, ids: dict[str, int]) -> processors.PostProcessor:
    cls, sep = ("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])
    template = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[cls, sep])
    if kind == "sequence":
        return processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return processors.BertProcessing(sep, cls) if kind == "bert" else template


def assembled(pieces: list[str], kind: str = "bert") -> Tokenizer:
    """A tokenizer like BERT's over these pieces, in this order; the special ones are among them."""
    ids = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False, handle_chinese_chars=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.post_processor = post_processor(kind, ids)
    return tokenizer


def trained_pieces() -> list[str]:
    """Pieces that `tokenizers` learns from the texts, shuffled, with the special ones far from the start: their ids must move."""
    learner = Tokenizer(WordPiece(unk_token="[UNK]"))
    learner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    learner.train_from_iterator(TEXTS, WordPieceTrainer(vocab_size=260, special_tokens=[], show_progress=False))
    pieces = sorted(set(learner.get_vocab()) | set(ALPHABET) | {f"##{char}" for char in ALPHABET})
    random.Random(0).shuffle(pieces)
    return [*pieces[:100], *SPECIAL, *pieces[100:]]


PIECES = trained_pieces()
MUST = len(SPECIAL) + 2 * len(ALPHABET)
SIZES = (MUST, MUST + 1, 100, len(PIECES) - 1)
assert len(PIECES) > 150


@pytest.fixture(scope="module", params=POST)
def teacher(request: pytest.FixtureRequest) -> Tokenizer:
    return assembled(PIECES, request.param)


@pytest.fixture(scope="module")
def trimmed(teacher: Tokenizer) -> Trimmed:
    return trim(teacher, TEXTS, 100)


@pytest.mark.parametrize("size", SIZES[:3])
def test_size_is_exact_and_ids_dense_when_trimmed(teacher: Tokenizer, size: int) -> None:
    smaller = trim(teacher, TEXTS, size)
    assert smaller.tokenizer.get_vocab_size() == len(smaller.kept) == size
    assert sorted(smaller.tokenizer.get_vocab().values()) == list(range(size))


@pytest.mark.parametrize("size", SIZES)
def test_kept_maps_new_pieces_to_old_ones_by_name_when_trimmed(teacher: Tokenizer, size: int) -> None:
    smaller = trim(teacher, TEXTS, size)
    old = teacher.get_vocab()
    for piece, new in smaller.tokenizer.get_vocab().items():
        assert smaller.kept[new] == old[piece] == PIECES.index(piece)
    assert list(smaller.kept) == sorted(set(smaller.kept))


def test_special_tokens_keep_their_role_when_their_ids_change(teacher: Tokenizer, trimmed: Trimmed) -> None:
    new = {piece: trimmed.tokenizer.token_to_id(piece) for piece in SPECIAL}
    assert all(new[piece] != teacher.token_to_id(piece) for piece in SPECIAL)
    single, pair = trimmed.tokenizer.encode("trainer reports"), trimmed.tokenizer.encode("trainer", "reports")
    assert (single.ids[0], single.ids[-1]) == (new["[CLS]"], new["[SEP]"])
    assert (single.tokens[0], single.tokens[-1]) == ("[CLS]", "[SEP]")
    assert single.special_tokens_mask == [1, *[0] * (len(single) - 2), 1]
    assert [pair.ids[0], pair.ids[-1]] == [new["[CLS]"], new["[SEP]"]]
    assert pair.ids.count(new["[SEP]"]) == 2
    assert pair.type_ids[0] == 0
    assert pair.type_ids[-1] == 1
    assert trimmed.tokenizer.encode("a [MASK] b").tokens == ["[CLS]", "a", "[MASK]", "b", "[SEP]"]
    assert trimmed.tokenizer.encode("☃").ids == [new["[CLS]"], new["[UNK]"], new["[SEP]"]]
    assert trimmed.tokenizer.decode(single.ids) == "trainer reports"  # special tokens are skipped


def test_every_single_character_stays_when_trimmed_to_the_least(teacher: Tokenizer) -> None:
    least = trim(teacher, TEXTS, MUST).tokenizer.get_vocab()
    assert least.keys() == {*SPECIAL, *ALPHABET, *(f"##{char}" for char in ALPHABET)}


@pytest.mark.parametrize("size", SIZES[:3])
def test_words_of_known_characters_are_never_unknown_when_trimmed(teacher: Tokenizer, size: int) -> None:
    smaller = trim(teacher, TEXTS, size).tokenizer
    draw = random.Random(size)
    for _ in range(500):
        word = "".join(draw.choices([char for char in ALPHABET if char != "'"], k=draw.randint(1, 20)))  # an apostrophe ends a word
        encoding = smaller.encode(word)
        assert "[UNK]" not in encoding.tokens
        assert smaller.decode(encoding.ids) == word


def test_most_used_pieces_stay_when_there_is_room_for_some() -> None:
    # whole words only, by hand: two × 3, one × 2, three × 2 (a tie: the lower id wins), four × 1
    letters = sorted(set("onetwothreefour"))
    pieces = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), "four", "three", "two", "one"]
    text = ["two one three two", "one three", "two four"]
    must = len(pieces) - 4
    assert [trim(assembled(pieces), text, must + room).kept[must:] for room in (1, 2, 3)] == [
        (must + 2,),
        (must + 1, must + 2),
        (must + 1, must + 2, must + 3),
    ]


def test_text_is_spelled_with_smaller_pieces_when_its_piece_is_gone(teacher: Tokenizer) -> None:
    least = trim(teacher, TEXTS, MUST).tokenizer
    assert least.encode("trim", add_special_tokens=False).tokens == ["t", "##r", "##i", "##m"]


def test_tokenizer_stays_whole_when_the_size_is_not_below_its_own(teacher: Tokenizer) -> None:
    for size in (len(PIECES), 10**6):
        same = trim(teacher, TEXTS, size)
        assert same.kept == tuple(range(len(PIECES)))
        assert same.tokenizer.get_vocab() == teacher.get_vocab()


def test_trimmed_tokenizer_neither_pads_nor_cuts_when_the_old_one_did() -> None:
    old = assembled(PIECES)
    old.enable_truncation(4)
    old.enable_padding(length=4, pad_id=old.token_to_id("[PAD]"))
    smaller = trim(old, TEXTS, 100).tokenizer
    assert smaller.truncation is None
    assert smaller.padding is None
    assert len(smaller.encode("a b c d e f")) == 8


def test_original_is_unchanged_when_trimmed(teacher: Tokenizer) -> None:
    before = json.loads(teacher.to_str())
    trim(teacher, TEXTS, MUST)
    assert json.loads(teacher.to_str()) == before


def test_trimmed_tokenizer_reads_back_the_same_when_saved(trimmed: Trimmed) -> None:
    again = Tokenizer.from_str(trimmed.tokenizer.to_str())
    assert [again.encode(text).ids for text in TEXTS] == [trimmed.tokenizer.encode(text).ids for text in TEXTS]


@pytest.mark.parametrize("size", [MUST - 1, 1, -3])
def test_size_is_a_fault_when_too_small(teacher: Tokenizer, size: int) -> None:
    with pytest.raises(ConfigError, match=f"student.vocabulary: {size} is too few, {MUST} special tokens and single characters must stay"):
        trim(teacher, TEXTS, size)


def test_tokenizer_is_a_fault_when_it_is_of_whole_words() -> None:
    with pytest.raises(ConfigError, match="cannot trim a WordLevel tokenizer, only WordPiece, BPE, Unigram"):
        trim(Tokenizer(WordLevel({"a": 0, "b": 1, "ab": 2}, unk_token="a")), ["ab"], 2)


def test_added_token_stays_when_it_is_not_in_the_models_vocabulary() -> None:
    tokenizer = assembled(PIECES)
    tokenizer.add_tokens(["<user>"])
    smaller = trim(tokenizer, TEXTS, 100).tokenizer
    assert smaller.encode("<user> a").tokens == ["[CLS]", "<user>", "a", "[SEP]"]


# ── unknown_rate ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("texts", "rate"),
    [
        (["a b", "c ☃"], 1 / 4),
        (["☃ ☃", "☃"], 1.0),
        (["a b c"], 0.0),
        (["a☃b"], 1.0),  # a word with one unknown character is one unknown token
        ([], 0.0),
        ([""], 0.0),
    ],
)
def test_unknown_rate_equals_the_count_by_hand_when_special_tokens_are_apart(texts: list[str], rate: float) -> None:
    assert unknown_rate(assembled(PIECES), texts) == rate


def test_unknown_rate_does_not_rise_when_trimmed() -> None:
    texts = [*TEXTS, "an emoji ☃ inside"]
    teacher = assembled(PIECES)
    smaller = trim(teacher, texts, MUST).tokenizer
    unknown = Counter(token for text in texts for token in smaller.encode(text, add_special_tokens=False).tokens)["[UNK]"]
    assert unknown == 1
    assert unknown_rate(smaller, texts) <= unknown_rate(teacher, texts)
