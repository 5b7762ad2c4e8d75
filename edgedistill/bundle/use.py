"""Use a bundle: answers for texts, and its score on labelled rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgedistill import data
from edgedistill.bundle.lineage import teacher_files
from edgedistill.bundle.reader import Bundle, logits, run_model
from edgedistill.errors import DataError, Fault, nearest
from edgedistill.spec import Data

EVAL_SCHEMA = "edgedistill.eval/1"
PREDICT_SCHEMA = "edgedistill.predict/1"


def predict(bundle: Bundle, texts: Sequence[str]) -> list[dict[str, Any]]:
    """The task's answer for each text."""
    answers: list[dict[str, Any]] = bundle.task.answers(logits(bundle, texts), bundle.labels)
    return [{"text": text, **answer} for text, answer in zip(texts, answers, strict=True)]


def evaluate(bundle: Bundle, source: str, columns: tuple[str, str], store: Path, seen: Callable[[int, int], None]) -> dict[str, Any]:
    """The bundle's score on a data file, and the teacher's where its ONNX is in the store. `columns` are those of text and label.

    Raises DataError when a label is none of the bundle's classes.
    """
    skipped: list[str] = []
    located = data.locate(source, Path.cwd())
    rows = list(data.labelled(located, Data(source=source, text=columns[0], label=columns[1]), skipped))
    number = {label: index for index, label in enumerate(bundle.labels)}
    strange = [
        Fault(f"{source} line {line}", f"label '{label}' is no class of the bundle", nearest(label, number))
        for line, _, label in rows
        if label not in number
    ]
    if strange:
        raise DataError(strange[:10])
    texts = [text for _, text, _ in rows]
    labels = np.array([number[label] for _, _, label in rows])
    teacher = teacher_files(bundle, store)
    document = {
        "schema": EVAL_SCHEMA,
        "bundle": str(bundle.path),
        "metric": bundle.manifest["metric"],
        "score": _score(bundle, logits(bundle, texts, seen=lambda done: seen(done, len(texts))), labels),
        "n": len(texts),
        "teacher": _score(bundle, run_model(bundle, *teacher, texts, seen=lambda done: seen(done, len(texts))), labels) if teacher else None,
        "skipped": len(skipped),
    }
    return document


def _score(bundle: Bundle, found: Any, labels: Any) -> float:
    return float(bundle.task.correct(found, labels).mean())
