"""Trim a WordPiece vocabulary to the pieces that a text uses most, and rewrite the tokenizer to match.

Every special token and every single character that the vocabulary has stays (as a word's beginning and inside one), so a word that
lost its piece is spelled with smaller ones; in a trained vocabulary, which has both forms of its characters, nothing new becomes
unknown. Embeddings are more than half of a small model (Abdaoui, Pradel, Sigel
2020, arXiv:2010.05609, measure the same for multilingual ones).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgedistill.errors import ConfigError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Trimmed:
    """A smaller tokenizer; `kept` are the old ids of its pieces in the order of the new ones."""

    tokenizer: Tokenizer
    kept: tuple[int, ...]


def trim(tokenizer: Tokenizer, texts: Sequence[str], size: int) -> Trimmed:
    """The `size` pieces that serve `texts` best, in the old order; where the texts use fewer, the tokenizer's first ones fill up.

    A trained vocabulary is roughly in the order of frequency, so the filling serves texts that nobody has seen yet.

    Raises ConfigError when the tokenizer is not WordPiece, or when `size` is less than the pieces that must stay.
    """
    from tokenizers import Tokenizer

    spec = json.loads(tokenizer.to_str())
    if spec["model"]["type"] != "WordPiece":
        raise ConfigError(f"student.vocabulary: cannot trim a {spec['model']['type']} tokenizer, only WordPiece", hint="leave student.vocabulary out")
    names = _pieces(spec)
    if size >= len(names):
        return Trimmed(tokenizer=tokenizer, kept=tuple(sorted(names)))
    kept = _choose(spec, names, _usage(tokenizer, texts), size)
    _rewrite(spec, {names[old]: new for new, old in enumerate(kept)})
    return Trimmed(tokenizer=Tokenizer.from_str(json.dumps(spec)), kept=kept)


def _pieces(spec: Mapping[str, Any]) -> dict[int, str]:
    """Every piece by its id: the model's own, and tokens that were added to them."""
    return {old: piece for piece, old in spec["model"]["vocab"].items()} | {token["id"]: token["content"] for token in spec["added_tokens"]}


def unknown_rate(tokenizer: Tokenizer, texts: Sequence[str]) -> float:
    """The share of tokens of `texts` that are the unknown token, special tokens apart."""
    unknown = tokenizer.token_to_id(json.loads(tokenizer.to_str())["model"].get("unk_token") or "[UNK]")
    counts = _usage(tokenizer, texts)
    return counts[unknown] / max(1, counts.total()) if unknown is not None else 0.0


def _usage(tokenizer: Tokenizer, texts: Sequence[str]) -> Counter[int]:
    counts: Counter[int] = Counter()
    for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False):
        counts.update(encoding.ids)
    return counts


def _choose(spec: Mapping[str, Any], names: Mapping[int, str], usage: Counter[int], size: int) -> tuple[int, ...]:
    prefix = spec["model"].get("continuing_subword_prefix", "##")
    special = {token["content"] for token in spec["added_tokens"]} | {spec["model"]["unk_token"]} | set(_special_pieces(spec))
    must = {old for old, piece in names.items() if piece in special or len(piece.removeprefix(prefix)) == 1}
    if size < len(must):
        raise ConfigError(f"student.vocabulary: {size} is too few, {len(must)} special tokens and single characters must stay")
    wanted = sorted(names.keys() - must, key=lambda old: (-usage[old], old))
    return tuple(sorted(must | set(wanted[: size - len(must)])))


def _rewrite(spec: dict[str, Any], vocabulary: Mapping[str, int]) -> None:
    """Put the new ids everywhere a tokenizer.json names one."""
    spec["model"]["vocab"] = {piece: new for piece, new in vocabulary.items() if piece in spec["model"]["vocab"]}
    spec["truncation"] = spec["padding"] = None
    for token in spec["added_tokens"]:
        token["id"] = vocabulary[token["content"]]
    for part in _processors(spec):
        for token in part.get("special_tokens", {}).values():
            token["ids"] = [vocabulary[piece] for piece in token["tokens"]]
        for end in ENDS:
            if end in part:
                part[end][1] = vocabulary[part[end][0]]


ENDS = ("sep", "cls")  # how BertProcessing and RobertaProcessing name their special tokens: [piece, id]


def _processors(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    processor = spec.get("post_processor") or {}
    parts: list[dict[str, Any]] = processor.get("processors", [processor])
    return parts


def _special_pieces(spec: Mapping[str, Any]) -> Iterator[str]:
    for part in _processors(spec):
        yield from (piece for token in part.get("special_tokens", {}).values() for piece in token["tokens"])
        yield from (part[end][0] for end in ENDS if end in part)


def moved(piece_id: int | None, before: Tokenizer, after: Tokenizer) -> int | None:
    """The new id of a piece that must stay, such as the padding token."""
    piece = before.id_to_token(piece_id) if piece_id is not None else None
    return after.token_to_id(piece) if piece is not None else None
