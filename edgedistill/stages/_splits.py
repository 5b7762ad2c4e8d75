"""What `prepare` and `label` leave and later stages read: one parquet file a split, the class names, the teacher's logits in shards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "validation", "test", "transfer", "calibration")
NO_LABEL = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """n texts and their class numbers [n], `NO_LABEL` where the split has none."""

    texts: list[str]
    labels: NDArray[np.int64]


def write_split(folder: Path, name: str, texts: Sequence[str], labels: Sequence[int]) -> None:
    """Write one split."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": pa.array(list(texts), pa.string()), "label": pa.array(list(labels), pa.int32())}), folder / f"{name}.parquet")


def read_split(folder: Path, name: str) -> Split:
    """Read one split."""
    import pyarrow.parquet as pq

    table = pq.read_table(folder / f"{name}.parquet")
    return Split(texts=table["text"].to_pylist(), labels=table["label"].to_numpy().astype(np.int64))


def class_names(folder: Path) -> list[str]:
    """The class names, in the order of the logits."""
    names: list[str] = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    return names


def read_soft_labels(folder: Path, split: str) -> NDArray[np.float16] | None:
    """The teacher's logits of a split, [n, c]; None when the split is empty."""
    shards = [np.load(file) for file in sorted(folder.glob(f"{split}-*.npy"))]
    return np.concatenate(shards) if shards else None
