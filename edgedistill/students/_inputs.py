"""Calibration inputs for a model whose tokenizer has changed: the same pieces under their new ids; a piece that is gone becomes padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def translated(inputs: Sequence[Mapping[str, Any]], before: Tokenizer, after: Tokenizer, padding: int) -> tuple[Mapping[str, Any], ...]:
    """The batches in the ids of `after`; attention looks away from what is gone."""
    import torch

    pieces = [before.id_to_token(old) for old in range(1 + max(before.get_vocab().values()))]
    ids = [after.token_to_id(piece) if piece is not None else None for piece in pieces]
    there = torch.tensor([new is not None for new in ids])
    moved = torch.tensor([padding if new is None else new for new in ids])
    found: list[Mapping[str, Any]] = []
    for batch in inputs:
        if "input_ids" in batch:
            old = batch["input_ids"].clamp(max=len(ids) - 1)
            mask = batch.get("attention_mask", torch.ones_like(old))
            found.append({**batch, "input_ids": moved[old], "attention_mask": mask * there[old]})
        else:
            found.append(batch)
    return tuple(found)
