"""Trim a WordPiece vocabulary to the pieces that a text uses most, and rewrite the tokenizer to match.

Every special token and every single character stays (both as a word's beginning and inside one), so a word that lost its piece is
spelled with smaller ones and nothing new becomes unknown. Embeddings are more than half of a small model (Abdaoui, Pradel, Sigel
2020, arXiv:2010.05609, measure the same for multilingual ones).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
    """The `size` pieces that serve `texts` best, in the old order.

    Raises ConfigError when the tokenizer is not WordPiece, or when `size` is less than the pieces that must stay.
    """
    from tokenizers import Tokenizer

    spec = json.loads(tokenizer.to_str())
    if spec["model"]["type"] != "WordPiece":
        raise ConfigError(f"student.vocabulary: cannot trim a {spec['model']['type']} tokenizer, only WordPiece", hint="leave student.vocabulary out")
    pieces: dict[str, int] = spec["model"]["vocab"]
    if size >= len(pieces):
        return Trimmed(tokenizer=tokenizer, kept=tuple(range(len(pieces))))
    kept = _choose(spec, pieces, _usage(tokenizer, texts), size)
    names = {old: piece for piece, old in pieces.items()}
    _rewrite(spec, {names[old]: new for new, old in enumerate(kept)})
    return Trimmed(tokenizer=Tokenizer.from_str(json.dumps(spec)), kept=kept)


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


def _choose(spec: Mapping[str, Any], pieces: Mapping[str, int], usage: Counter[int], size: int) -> tuple[int, ...]:
    prefix = spec["model"].get("continuing_subword_prefix", "##")
    must = {token["id"] for token in spec["added_tokens"]} | {old for piece, old in pieces.items() if len(piece.removeprefix(prefix)) == 1}
    must.add(pieces[spec["model"]["unk_token"]])
    if size < len(must):
        raise ConfigError(f"student.vocabulary: {size} is too few, {len(must)} special tokens and single characters must stay")
    wanted = sorted(usage.keys() - must, key=lambda old: (-usage[old], old))
    return tuple(sorted(must | set(wanted[: size - len(must)])))


def _rewrite(spec: dict[str, Any], vocabulary: Mapping[str, int]) -> None:
    """Put the new ids everywhere a tokenizer.json names one."""
    spec["model"]["vocab"] = vocabulary
    spec["truncation"] = spec["padding"] = None
    for token in spec["added_tokens"]:
        token["id"] = vocabulary[token["content"]]
    processor = spec.get("post_processor") or {}
    for part in processor.get("processors", [processor]):
        for token in _special_tokens(part):
            token["ids"] = [vocabulary[piece] for piece in token["tokens"]]
        for end in ("sep", "cls"):
            if end in part:
                part[end][1] = vocabulary[part[end][0]]


def _special_tokens(processor: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    tokens: Mapping[str, dict[str, Any]] = processor.get("special_tokens", {})
    return tokens.values()
