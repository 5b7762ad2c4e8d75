"""label: run the teacher once over every training and transfer text and keep what it says, in shards; nothing later loads the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import plugins, ragged, surgery
from edgedistill.errors import Fault, StageError, nearest
from edgedistill.files import PART
from edgedistill.progress import Progress
from edgedistill.spec import Inputs
from edgedistill.stages._splits import read_sources
from edgedistill.training import models

VERSION = 2  # 2: every task, ragged shards
TOOLS = ("torch", "transformers", "tokenizers", "accelerate")
WHOLE = "float32"
SHARD = 4096  # rows: about ten seconds of a small teacher on two cores, which is what a kill can cost
WIDE_SHARD = 256  # the same where each answer is over a whole vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """The teacher is the input `teach`; `dtype` is the recipe's for its weights on a GPU, None float32."""

    task: str
    max_length: int
    dtype: str | None = None


def requires(params: Params, places: Mapping[str, str]) -> list[Fault]:
    """A type that weights can have; the rest is what `teach` promises."""
    known = params.dtype is None or params.dtype in surgery.DTYPES
    return [] if known else [Fault("teacher.dtype", f"unknown type '{params.dtype}'", nearest(str(params.dtype), surgery.DTYPES))]


def run(params: Params, inputs: Inputs, out: Path, progress: Progress) -> dict[str, Any]:
    """Write `SPLIT-NNNNN.npz`, fp16 answers in the order of the split. A killed run goes on with the first missing shard."""
    from edgedistill.stages._training import predict

    task = plugins.load("tasks", params.task)
    encoder = models.load_encoder(task, inputs["teach"].path)
    shard = WIDE_SHARD if task.VOCABULARY else SHARD
    sources = {
        name: split.examples
        for name, split in read_sources(*(inputs[role].path for role in ("prepare", "augment") if role in inputs.artifacts)).items()
    }
    shards = [(name, start) for name, part in sources.items() for start in range(0, len(part), shard)]
    missing = [(name, start) for name, start in shards if not _shard(out, name, start // shard).is_file()]
    total = sum(len(part) for part in sources.values())
    done = total - sum(len(sources[name][start : start + shard]) for name, start in missing)
    dtype = _dtype(params, progress)
    model = models.load_model(task.AUTO_CLASS, inputs["teach"].path, dtype=dtype) if missing else None
    for name, start in missing:
        rows = task.encode(encoder, sources[name][start : start + shard], params.max_length)
        seen = partial(_tell, progress, done, total, len(rows) / max(sum(map(len, rows)), 1))
        found = predict(model, task, rows, seen=seen)
        _write(_shard(out, name, start // shard), [ragged.joined(arrays) for arrays in found], task.VOCABULARY)
        done += len(rows)
    facts = {"rows": total, "shards": len(shards), "bytes": sum(file.stat().st_size for file in out.glob("*.npz"))}
    return facts | ({} if params.dtype is None else {"dtype": dtype})


def _dtype(params: Params, progress: Progress) -> str:
    """The type of the teacher's weights here: the recipe's where there is a GPU, which gains by it."""
    import torch

    if params.dtype is None or params.dtype == WHOLE or torch.cuda.is_available():
        return params.dtype or WHOLE
    progress.note(f"teacher.dtype = '{params.dtype}' is for a GPU, and there is none here: the teacher labels in {WHOLE}")
    return WHOLE


def ensures(out: Path) -> None:
    """There is at least one shard, and every value is a number."""
    shards = sorted(out.glob("*.npz"))
    if not shards:
        raise StageError(f"the teacher labelled nothing in {out}")
    for shard in shards:
        if not ragged.load(shard).is_finite():
            raise StageError(f"the teacher's answers are not finite in {shard}", hint="its weights may be damaged")


def _tell(progress: Progress, before: int, total: int, share: float, seen: int) -> None:
    """The examples that are done; one may have several of the rows that were `seen`."""
    progress.advance(before + round(seen * share), total, "examples")


def _shard(out: Path, split: str, number: int) -> Path:
    return out / f"{split}-{number:05d}.npz"


def _write(file: Path, answers: list[NDArray[np.float32]], vocabulary: bool) -> None:
    beside = file.with_name(f".{file.name}{PART}")
    numbers = all(array.shape[1] == 1 for array in answers)  # a regression's, which may be prices: half precision ends at 65,504
    ragged.save(beside, answers, np.float32 if numbers else np.float16, vocabulary=vocabulary)
    beside.replace(file)
