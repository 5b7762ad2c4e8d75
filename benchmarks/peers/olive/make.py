"""Int8 as Olive's CPU recipe for BERT makes it: conversion, ONNX Runtime's transformer optimisation, dynamic quantisation.

python make.py STUDENT ROWS.jsonl OUT
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from olive.workflows import run

EAGER = {"attn_implementation": "eager"}  # the form whose attention the optimiser fuses: without it Olive's model is slower


def main(student: Path, rows: Path, out: Path) -> None:
    """Write model.onnx and what it is; dynamic int8 needs no calibration."""
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if "token_type_ids" in rows.read_text(encoding="utf-8").partition("\n")[0] else [])]
    for folder in ("cache", "made"):
        shutil.rmtree(out / folder, ignore_errors=True)
    run(_recipe(student, names, json.loads((student / "config.json").read_text(encoding="utf-8")), out))
    made = next((out / "made").rglob("*.onnx"))
    shutil.copyfile(made, out / "model.onnx")
    said = {
        "engine": "onnxruntime",
        "files": ["model.onnx"],
        "scheme": "conversion, transformer optimisation, dynamic int8",
        "tools": ["olive-ai", "onnxruntime", "torch", "transformers"],
    }
    (out / "made.json").write_text(json.dumps(said), encoding="utf-8")


def _recipe(student: Path, names: list[str], shape: dict[str, Any], out: Path) -> dict[str, Any]:
    io = {
        "input_names": names,
        "input_shapes": [[2, 16]] * len(names),
        "input_types": ["int64"] * len(names),
        "output_names": ["logits"],
        "dynamic_axes": {name: {"0": "batch", "1": "sequence"} for name in names} | {"logits": {"0": "batch"}},
    }
    return {
        "input_model": {"type": "HfModel", "model_path": str(student), "task": "text-classification", "load_kwargs": EAGER, "io_config": io},
        "systems": {"local": {"type": "LocalSystem", "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}]}},
        "target": "local",
        "passes": {
            "conversion": {"type": "OnnxConversion", "target_opset": 17},
            "optimization": {
                "type": "OrtTransformersOptimization",
                "model_type": "bert",
                "num_heads": shape["num_attention_heads"],
                "hidden_size": shape["hidden_size"],
            },
            "quantization": {"type": "OnnxDynamicQuantization"},
        },
        "cache_dir": str(out / "cache"),
        "output_dir": str(out / "made"),
        "evaluate_input_model": False,
    }


if __name__ == "__main__":
    main(*(Path(part).resolve() for part in sys.argv[1:4]))
