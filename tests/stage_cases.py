"""What earlier steps leave for a stage that is tested by itself: splits of three classes, and a tiny teacher."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from conftest import CLASSES, make_teacher, sentence

from edgedistill.spec import Artifact, Inputs
from edgedistill.stages._splits import write_split


def artifact(stage: str, folder: Path, **facts: Any) -> Artifact:
    return Artifact(stage=stage, key="0", path=folder, receipt={"facts": facts})


def prepared(folder: Path, train: int = 96, validation: int = 48, transfer: int = 48) -> Artifact:
    """The splits as `prepare` writes them."""
    folder.mkdir(parents=True)
    draw = random.Random(4)
    names = sorted(CLASSES)
    for name, count in {"train": train, "validation": validation, "test": 12, "transfer": transfer, "calibration": 12}.items():
        examples = [{"text": f"{sentence(CLASSES[names[index % 3]], draw)} {index}"} for index in range(count)]
        hard = name in ("train", "validation", "test")
        write_split(folder, name, examples, [index % 3 if hard else None for index in range(count)])
    (folder / "labels.json").write_text(json.dumps(names), encoding="utf-8")
    return artifact("prepare", folder)


def material(folder: Path, **changed: Any) -> Inputs:
    """`prepare` and `teach`, with the teacher's own folder as the place `teacher`."""
    teacher = make_teacher(folder / "teacher", labels=sorted(CLASSES), **changed)
    found = {"prepare": prepared(folder / "prepare"), "teach": artifact("teach", teacher)}
    return Inputs(artifacts=found, places={"teacher": str(teacher)})
