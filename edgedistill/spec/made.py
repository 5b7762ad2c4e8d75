"""What is made of a recipe and a target: steps and what they leave behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One function call of the pipeline. `params` and the keys of `needs` make the key; `places` only say where things are on this machine."""

    stage: str
    params: Any
    needs: Mapping[str, Step]
    places: Mapping[str, str]
    asked: Mapping[str, Any]
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What a step left behind: a folder of files, and the receipt that says how it came to be."""

    stage: str
    key: str
    path: Path
    receipt: Mapping[str, Any]
    cached: bool = False

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the stage found out, as it wrote it."""
        facts: Mapping[str, Any] = self.receipt["facts"]
        return facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a stage gets: the artifacts it needs, by role, and the places of outside data."""

    artifacts: Mapping[str, Artifact]
    places: Mapping[str, str]

    def __getitem__(self, role: str) -> Artifact:
        return self.artifacts[role]
