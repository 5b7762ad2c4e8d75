"""What `prepare` and `label` leave and later stages read: one parquet file a split, the class names, the teacher's answers in shards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill import ragged

SPLITS = ("train", "validation", "test", "transfer", "calibration")
SOURCES = ("train", "transfer", "augmented")  # what a student learns on, in this order


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """n examples, their targets as the task numbers them (None where there is none), and how often each is seen in an epoch."""

    examples: list[dict[str, Any]]
    targets: list[Any]
    frequency: list[float]

    def __len__(self) -> int:
        return len(self.examples)

    def __add__(self, other: Split) -> Split:
        return Split(examples=self.examples + other.examples, targets=self.targets + other.targets, frequency=self.frequency + other.frequency)


EMPTY = Split(examples=[], targets=[], frequency=[])


def write_split(folder: Path, name: str, examples: Iterable[dict[str, Any]], targets: Sequence[Any], frequency: Sequence[float] = ()) -> None:
    """Write one split. An image's bytes have a column of their own."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    whole = list(examples)
    columns = {
        "example": pa.array(
            [json.dumps({key: value for key, value in one.items() if key != "image"}, ensure_ascii=False) for one in whole], pa.string()
        ),
        "target": pa.array([None if target is None else json.dumps(target, ensure_ascii=False) for target in targets], pa.string()),
        "frequency": pa.array(frequency or [1.0] * len(whole), pa.float32()),
    }
    if any("image" in one for one in whole):
        columns["image"] = pa.array([one["image"] for one in whole], pa.large_binary())
    pq.write_table(pa.table(columns), folder / f"{name}.parquet")


def read_split(folder: Path, name: str) -> Split:
    """Read one split."""
    import pyarrow.parquet as pq

    table = pq.read_table(folder / f"{name}.parquet")
    examples = [json.loads(one) for one in table["example"].to_pylist()]
    if "image" in table.column_names:
        examples = [one | {"image": image} for one, image in zip(examples, table["image"].to_pylist(), strict=True)]
    targets = [None if target is None else json.loads(target) for target in table["target"].to_pylist()]
    return Split(examples=examples, targets=targets, frequency=table["frequency"].to_pylist())


def read_sources(*folders: Path) -> dict[str, Split]:
    """Every split that a student learns on, from the folders that have them."""
    return {name: read_split(folder, name) for name in SOURCES for folder in folders if (folder / f"{name}.parquet").is_file()}


def class_names(folder: Path) -> list[str]:
    """The class names, in the order of the logits."""
    names: list[str] = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    return names


def read_soft_labels(folder: Path) -> ragged.Ragged:
    """The teacher's answers to every example that was labelled, [answers, classes] each, in the order of `SOURCES`."""
    return ragged.load(*(file for name in SOURCES for file in sorted(folder.glob(f"{name}-*.npz"))))


def texts_of(examples: Iterable[Mapping[str, Any]]) -> list[str]:
    """Everything that is text in examples, one string each."""
    return [" ".join(" ".join(value) if name == "words" else value for name, value in one.items() if name in TEXTS) for one in examples]


TEXTS = ("text", "pair", "words", "question", "context")
