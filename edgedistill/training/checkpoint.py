"""Checkpoints of a training in progress: written beside, renamed in, the newest whole one is found again."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from accelerate import Accelerator

EVERY_S = 20.0  # a kill costs at most this much work; writing the default teacher's state takes 0.3 s


class Position:
    """The loop's own state, in the form that Accelerate saves along with weights, optimiser, schedule and random states."""

    def __init__(self, trained: Any) -> None:
        self.trained = trained

    def state_dict(self) -> dict[str, Any]:
        """Every field of the training's record."""
        return {name: getattr(self.trained, name) for name in self.trained.__slots__}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the record back."""
        for name, value in state.items():
            setattr(self.trained, name, value)


class Checkpoints:
    """The checkpoints of one training, in one folder."""

    def __init__(self, machine: Accelerator, folder: Path, position: Position) -> None:
        self.machine, self.folder, self.position = machine, folder, position
        folder.mkdir(parents=True, exist_ok=True)
        machine.register_for_checkpointing(position)
        self.saved_at = time.monotonic()

    def are_due(self) -> bool:
        """Whether the last one is old enough."""
        return time.monotonic() - self.saved_at >= EVERY_S

    def save(self) -> None:
        """Write one and drop the older ones."""
        name = f"step-{self.position.trained.steps:08d}"
        beside = self.folder / f"{name}.part"
        shutil.rmtree(beside, ignore_errors=True)
        self.machine.save_state(str(beside))
        whole = self.folder / name
        beside.rename(whole)
        for older in self.folder.glob("step-*"):
            if older != whole:
                shutil.rmtree(older)
        self.saved_at = time.monotonic()

    def newest(self) -> Path | None:
        """The newest whole one, if there is one."""
        whole = sorted(folder for folder in self.folder.glob("step-*") if folder.suffix != ".part")
        return whole[-1] if whole else None

    def restore(self) -> None:
        """Load the newest whole one, if there is one."""
        if newest := self.newest():
            self.machine.load_state(str(newest))
