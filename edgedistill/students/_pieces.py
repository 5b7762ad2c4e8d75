"""What each kind of tokenizer needs in order to stay whole when it is trimmed: which pieces must stay, and which a piece is made from.

WordPiece   matches the longest piece, so any subset works that has the single characters.
BPE         merges pairs (Sennrich, Haddow, Birch 2016, arXiv:1508.07909): a piece can be made only while both pieces of its merge can, and
            so on down to characters or bytes. A text whose pieces are all kept is merged as before (where each piece has one merge, as in a
            trained vocabulary): of the merges that it goes through none is gone, and those that are gone did not apply.
Unigram     takes the most probable split (Kudo 2018, arXiv:1804.10959): where the best one is kept whole, it is still the best.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgedistill.errors import ConfigError, nearest

BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")  # what stands for one byte where a tokenizer falls back to bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The ids that must stay; for the rest, the two that each is merged from; those that no merge makes come last."""

    must: set[int]
    parents: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    unreachable: frozenset[int] = frozenset()

    def needs(self, piece: int) -> set[int]:
        """Every piece on the way to this one."""
        found: set[int] = set()
        waiting = list(self.parents.get(piece, ()))
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += self.parents.get(one, ())
        return found


def names(spec: Mapping[str, Any]) -> dict[int, str]:
    """Every piece by its id: the model's own, and tokens that were added to them."""
    own = vocabulary(spec["model"])
    return {old: piece for piece, old in own.items()} | {token["id"]: token["content"] for token in spec["added_tokens"]}


def vocabulary(model: Mapping[str, Any]) -> dict[str, int]:
    """The model's own pieces with their ids."""
    if isinstance(model["vocab"], list):  # Unigram: [piece, score], the place is the id
        return {piece: index for index, (piece, _) in enumerate(model["vocab"])}
    return dict(model["vocab"])


def rules(spec: Mapping[str, Any]) -> Rules:
    """The rules of this tokenizer's kind. Raises ConfigError for a kind that cannot be trimmed."""
    kinds = {"WordPiece": _wordpiece, "BPE": _bpe, "Unigram": _unigram}
    kind = spec["model"].get("type") or ("BPE" if "merges" in spec["model"] else "none")
    if kind not in kinds:
        what = f"student.vocabulary: cannot trim a {kind} tokenizer, only {', '.join(kinds)}"
        raise ConfigError(what, hint=f"leave student.vocabulary out ({nearest(kind, kinds)})")
    return kinds[kind](spec["model"])


def _wordpiece(model: Mapping[str, Any]) -> Rules:
    prefix = model.get("continuing_subword_prefix", "##")
    return Rules(must={old for piece, old in vocabulary(model).items() if len(piece.removeprefix(prefix)) == 1})


def _bpe(model: Mapping[str, Any]) -> Rules:
    ids = vocabulary(model)
    prefix, suffix = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""
    parents: dict[int, tuple[int, int]] = {}
    for left, right in _merges(model):
        made = ids[left + right.removeprefix(prefix)]
        parents.setdefault(made, (ids[left], ids[right]))  # the first merge that makes a piece is the one that applies first
    must = {old for piece, old in ids.items() if len(piece.removeprefix(prefix).removesuffix(suffix)) <= 1 or BYTE.fullmatch(piece)}
    whole = model.get("ignore_merges", False)  # such a tokenizer finds whole words without merging
    return Rules(must=must, parents=parents, unreachable=frozenset() if whole else frozenset(set(ids.values()) - parents.keys() - must))


def _merges(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The merges as pairs; older files have them as one string with a space."""
    pairs = [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in model["merges"]]
    return [(left, right) for left, right in pairs]


def _unigram(model: Mapping[str, Any]) -> Rules:
    ids = vocabulary(model)
    single = {piece for piece in ids if len(piece) == 1}
    # a character that is nowhere alone would become unknown with the last piece that has it
    must = {old for piece, old in ids.items() if piece in single or BYTE.fullmatch(piece) or not set(piece) <= single}
    return Rules(must=must | ({model["unk_id"]} if model.get("unk_id") is not None else set()))


def rewrite(model: dict[str, Any], kept: Mapping[str, int]) -> None:
    """Leave only what is kept in a tokenizer.json's model, under the new ids."""
    if isinstance(model["vocab"], list):
        if model.get("unk_id") is not None:
            model["unk_id"] = kept[model["vocab"][model["unk_id"]][0]]
        model["vocab"] = [entry for entry in model["vocab"] if entry[0] in kept]
        return
    model["vocab"] = {piece: new for piece, new in kept.items() if piece in model["vocab"]}
    if "merges" in model:
        prefix = model.get("continuing_subword_prefix") or ""
        pairs = [(left, right) for left, right in _merges(model) if {left, right, left + right.removeprefix(prefix)} <= kept.keys()]
        model["merges"] = [list(pair) for pair in pairs]
