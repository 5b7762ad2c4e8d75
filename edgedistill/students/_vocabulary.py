"""Trim a tokenizer's vocabulary to the pieces that a text uses most, and rewrite the tokenizer to match: WordPiece, BPE, Unigram.

Every special token and every single character that the vocabulary has stays, so a word that lost its piece is spelled with smaller ones
and nothing new becomes unknown; `_pieces` says what else each kind of tokenizer needs. Embeddings are more than half of a small model
(Abdaoui, Pradel, Sigel 2020, arXiv:2010.05609, measure the same for multilingual ones).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgedistill import runtime
from edgedistill.errors import ConfigError
from edgedistill.students import _pieces

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

    Raises ConfigError when the tokenizer is of an unknown kind, or when `size` is less than the pieces that must stay.
    """
    from tokenizers import Tokenizer

    spec = json.loads(tokenizer.to_str())
    rules = _pieces.rules(spec)
    names = _pieces.names(spec)
    if size >= len(names):
        return Trimmed(tokenizer=tokenizer, kept=tuple(sorted(names)))
    must = rules.must | {old for old, piece in names.items() if piece in _special(spec)}
    kept = _choose(rules, must, names, usage(tokenizer, texts), size)
    _rewrite(spec, {names[old]: new for new, old in enumerate(kept)})
    smaller = Tokenizer.from_str(json.dumps(spec))
    runtime.leave_whole(smaller, runtime.side(tokenizer))
    return Trimmed(tokenizer=smaller, kept=kept)


def unknown_rate(tokenizer: Tokenizer, texts: Sequence[str]) -> float:
    """The share of tokens of `texts` that are the unknown token, special tokens apart."""
    model = json.loads(tokenizer.to_str())["model"]
    unknown = model["unk_id"] if "unk_id" in model else tokenizer.token_to_id(model.get("unk_token") or "[UNK]")
    counts = usage(tokenizer, texts)
    return counts[unknown] / max(1, counts.total()) if unknown is not None else 0.0


def usage(tokenizer: Tokenizer, texts: Sequence[str]) -> Counter[int]:
    """How often the texts use each piece, special tokens apart."""
    counts: Counter[int] = Counter()
    for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False):
        counts.update(encoding.ids)
    return counts


def _choose(rules: _pieces.Rules, must: set[int], names: Mapping[int, str], usage: Counter[int], size: int) -> tuple[int, ...]:
    """What must stay, then the most used that fit together with the pieces that they are merged from, then the first ones."""
    kept = set(must)
    for old in must:
        kept |= rules.needs(old)
    if size < len(kept):
        raise ConfigError(
            f"student.vocabulary: {size} is too few, {len(kept)} special tokens and single characters must stay", hint=f"at least {len(kept)}"
        )
    for old in sorted(names.keys() - kept, key=lambda old: (old in rules.unreachable, -usage[old], old)):
        wanted = {old, *rules.needs(old)} - kept
        if len(kept) + len(wanted) <= size:
            kept |= wanted
    return tuple(sorted(kept))


def _special(spec: Mapping[str, Any]) -> set[str]:
    return {token["content"] for token in spec["added_tokens"]} | {spec["model"].get("unk_token")} | set(_special_pieces(spec))


def _rewrite(spec: dict[str, Any], vocabulary: Mapping[str, int]) -> None:
    """Put the new ids everywhere a tokenizer.json names one."""
    _pieces.rewrite(spec["model"], vocabulary)
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
