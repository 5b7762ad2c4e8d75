"""Untrained image backbones for the suite: a convolutional teacher, a smaller convolutional student, a ViT. The same seed gives the same files.

python benchmarks/backbones.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification

PROCESSOR = {  # Fashion-MNIST: 28 × 28 grey, mean and deviation of its training pixels
    "size": {"height": 28, "width": 28},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.286],
    "image_std": [0.353],
}
RESNET = {"num_channels": 1, "embedding_size": 32, "layer_type": "basic", "downsample_in_first_stage": False, "num_labels": 10}


def main(folder: Path) -> None:
    """Write the three folders."""
    teacher = ResNetConfig(**RESNET, hidden_sizes=[64, 128, 256], depths=[2, 2, 2])
    student = ResNetConfig(**RESNET | {"embedding_size": 16}, hidden_sizes=[16, 32, 64], depths=[1, 1, 1])
    vit = ViTConfig(
        image_size=28, patch_size=4, num_channels=1, hidden_size=192, num_hidden_layers=6, num_attention_heads=6, intermediate_size=384, num_labels=10
    )
    for name, kind, config in (
        ("resnet", ResNetForImageClassification, teacher),
        ("resnet-small", ResNetForImageClassification, student),
        ("vit", ViTForImageClassification, vit),
    ):
        torch.manual_seed(0)
        kind(config).save_pretrained(folder / name, safe_serialization=True)
        (folder / name / "preprocessor_config.json").write_text(json.dumps(PROCESSOR, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
