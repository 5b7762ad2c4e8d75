"""What the tasks share that read one text or two: encoding, and the model's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import runtime
from edgedistill.checking import read_json
from edgedistill.tasks import Row

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILES = ("tokenizer.json",)


def load(folder: Path) -> Tokenizer:
    """The tokenizer of a folder."""
    return runtime.load_tokenizer(folder / "tokenizer.json")


def example(values: Mapping[str, Any]) -> dict[str, Any]:
    """A text, and the second one where the row has it."""
    return {role: values[role] for role in ("text", "pair") if role in values}


def identity(example: Mapping[str, Any]) -> str:
    """What counts as the same example: case and spacing of its texts do not matter."""
    return "\n".join(" ".join(example[role].casefold().split()) for role in ("text", "pair") if role in example)


group = identity


def asked(text: str) -> dict[str, Any]:
    """What a user gives `predict`, by role: a text, or a JSON object with `text` and `pair`. Raises ValueError when it is neither."""
    if not text.startswith("{"):
        return {"text": text}
    found = read_json(text)
    if not isinstance(found.get("text"), str):
        raise ValueError('a JSON object with "text" (and "pair") is wanted')
    return {role: str(found[role]) for role in ("text", "pair") if role in found}


def encode(tokenizer: Tokenizer, examples: Sequence[Mapping[str, Any]], max_length: int) -> list[list[Row]]:
    """One row an example: token ids, special tokens included, cut at `max_length` tokens; of two texts the longer is cut first."""
    tokenizer.no_padding()
    texts = [(one["text"], one["pair"]) if "pair" in one else one["text"] for one in examples]
    paired = ["pair" in one for one in examples]
    with runtime.cut(tokenizer, max_length):
        encodings = tokenizer.encode_batch(texts)
    return [[Row(ids=found.ids, types=found.type_ids if two else ())] for found, two in zip(encodings, paired, strict=True)]


def feeds(rows: Sequence[Row], pad_id: int) -> dict[str, NDArray[Any]]:
    """The model's inputs for b rows of at most s tokens, int64 [b, s]; `token_type_ids` only where rows have them."""
    longest = max(len(row) for row in rows)
    ids = np.full((len(rows), longest), pad_id, np.int64)  # [b, s]
    mask = np.zeros((len(rows), longest), np.int64)  # [b, s]
    types = np.zeros((len(rows), longest), np.int64)  # [b, s]
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row.ids
        mask[index, : len(row)] = 1
        if row.types:
            types[index, : len(row)] = row.types
    inputs = {"input_ids": ids, "attention_mask": mask}
    return inputs | {"token_type_ids": types} if any(row.types for row in rows) else inputs


def forward(model: Any, inputs: Mapping[str, Any]) -> Any:
    """The model's logits."""
    return model(**inputs).logits


def picks(rows: Sequence[Row]) -> dict[str, NDArray[np.int64]]:
    """A row has one answer: nothing to pick."""
    return {}


def pick(raw: Any, picks: Mapping[str, Any]) -> Any:
    """The raw answer [b, c] as it is."""
    return raw


def shape(row: Row) -> tuple[int, int | None]:
    """One answer, over all classes."""
    return 1, None


def positions(rows: Sequence[Row]) -> dict[str, NDArray[np.int64]]:
    """Where the answers of tasks with one answer a word or token are: `row` [n] and `at` [n]."""
    return {
        "row": np.repeat(np.arange(len(rows)), [len(row.at) for row in rows]),
        "at": np.fromiter((at for row in rows for at in row.at), np.int64),
    }


def at_positions(raw: Any, picks: Mapping[str, Any]) -> Any:
    """The answers [n, c] out of [b, s, c]."""
    return raw[picks["row"], picks["at"]]


def stacked(outputs: Sequence[Sequence[NDArray[Any]]]) -> NDArray[np.float64]:
    """The outputs of examples with one answer each, [examples, c]."""
    return np.concatenate([rows[0] for rows in outputs]).astype(np.float64)
