"""Static int8 by NNCF, run by OpenVINO itself: the PyTorch model converted as it is, then post-training quantisation for transformers.

python make.py STUDENT ROWS.jsonl OUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nncf
import numpy as np
import openvino as ov
import torch
from transformers import AutoModelForSequenceClassification


def main(student: Path, rows: Path, out: Path) -> None:
    """Write model.xml and model.bin and what they are."""
    texts = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    model = AutoModelForSequenceClassification.from_pretrained(student).eval()
    example = {name: torch.from_numpy(value) for name, value in _inputs(texts[0]).items()}
    with torch.no_grad():
        converted = ov.convert_model(model, example_input=example, input=[(name, [-1, -1], np.int64) for name in example])
    calibration = nncf.Dataset(texts, _inputs)
    quantised = nncf.quantize(converted, calibration, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(texts))
    ov.save_model(quantised, out / "model.xml", compress_to_fp16=False)
    said = {
        "engine": "openvino",
        "files": ["model.xml", "model.bin"],
        "scheme": f"NNCF static int8 (transformer preset), {len(texts)} calibration rows",
        "tools": ["openvino", "nncf", "torch", "transformers"],
    }
    (out / "made.json").write_text(json.dumps(said), encoding="utf-8")


def _inputs(row: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """One text at its natural length, int64 [1, tokens]; `token_type_ids` only where rows have them."""
    arrays = {name: np.array([values], np.int64) for name, values in row.items()}
    return {**arrays, "attention_mask": np.ones_like(arrays["input_ids"])}


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
