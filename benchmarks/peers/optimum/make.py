"""Dynamic int8 as optimum-onnx makes it: its ONNX export, then ORTQuantizer with its own preset for AVX512-VNNI.

python make.py STUDENT ROWS.jsonl OUT
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from optimum.exporters.onnx import main_export
from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig
from transformers import PreTrainedTokenizerFast


def main(student: Path, rows: Path, out: Path) -> None:
    """Write model_quantized.onnx and what it is; dynamic int8 needs no calibration."""
    source = out / "student"
    source.mkdir(exist_ok=True)
    for file in student.iterdir():
        if file.is_file():
            (source / file.name).write_bytes(file.read_bytes())
    PreTrainedTokenizerFast(tokenizer_file=str(student / "tokenizer.json")).save_pretrained(source)  # the exporter asks for one that it knows
    main_export(str(source), out, task="text-classification", library_name="transformers", do_validation=False)
    preset = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=False)
    ORTQuantizer.from_pretrained(out, file_name="model.onnx").quantize(preset, save_dir=out)
    said = {
        "engine": "onnxruntime",
        "files": ["model_quantized.onnx"],
        "scheme": "dynamic int8, per tensor (preset avx512_vnni)",
        "tools": ["optimum-onnx", "optimum", "onnxruntime", "torch", "transformers"],
    }
    (out / "made.json").write_text(json.dumps(said), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
