"""label: run the teacher once over every training and transfer text and keep what it says, in shards; nothing later loads the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import plugins
from edgedistill.cache import PART
from edgedistill.errors import Fault, StageError
from edgedistill.progress import Progress
from edgedistill.spec import Inputs
from edgedistill.stages._splits import read_split
from edgedistill.training import models

VERSION = 1
TOOLS = ("torch", "transformers", "tokenizers", "accelerate")
SHARD = 4096  # rows: about ten seconds of a small teacher on two cores, which is what a kill can cost
SPLITS = ("train", "transfer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """The teacher is the input `teach`."""

    task: str
    max_length: int


def requires(params: Params, places: Mapping[str, str]) -> list[Fault]:
    """Nothing that `teach` does not promise."""
    return []


def run(params: Params, inputs: Inputs, out: Path, progress: Progress) -> dict[str, Any]:
    """Write `SPLIT-NNNNN.npy`, fp16 logits [rows, classes] in the order of the split. A killed run goes on with the first missing shard."""
    task = plugins.load("tasks", params.task)
    tokenizer = models.load_tokenizer(inputs["teach"].path)
    texts = {name: read_split(inputs["prepare"].path, name).texts for name in SPLITS}
    missing = [(name, start) for name in SPLITS for start in range(0, len(texts[name]), SHARD) if not _shard(out, name, start).is_file()]
    total = sum(len(part) for part in texts.values())
    done = total - sum(len(texts[name][start : start + SHARD]) for name, start in missing)
    model = models.load_model(task.AUTO_CLASS, inputs["teach"].path) if missing else None
    for name, start in missing:
        rows = task.encode(tokenizer, texts[name][start : start + SHARD], params.max_length)
        logits = _logits(model, task, rows, tokenizer, lambda seen, before=done: progress.advance(before + seen, total, "rows"))
        _write(_shard(out, name, start), logits)
        done += len(rows)
    return {"rows": total, "shards": -(-len(texts["train"]) // SHARD) + -(-len(texts["transfer"]) // SHARD)}


def ensures(out: Path) -> None:
    """There is at least one shard, and every value is a number."""
    shards = sorted(out.glob("*.npy"))
    if not shards:
        raise StageError(f"the teacher labelled nothing in {out}")
    for shard in shards:
        if not np.isfinite(np.load(shard)).all():
            raise StageError(f"the teacher's logits are not finite in {shard}", hint="its weights may be damaged")


def _logits(model: Any, task: Any, rows: list[list[int]], tokenizer: Any, seen: Any) -> NDArray[np.float32]:
    from edgedistill.stages._training import pad_id, predict

    return predict(model, task, rows, pad_id(tokenizer), seen=seen)


def _shard(out: Path, split: str, start: int) -> Path:
    return out / f"{split}-{start // SHARD:05d}.npy"


def _write(file: Path, logits: NDArray[np.float32]) -> None:
    beside = file.with_name(f".{file.name}{PART}")
    with beside.open("wb") as handle:
        np.save(handle, logits.astype(np.float16))
    beside.replace(file)
