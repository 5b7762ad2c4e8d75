"""Resolve a recipe and a target into steps, and walk them: what is in the store is taken, what is not is made."""

from edgedistill.pipeline._plan import plan
from edgedistill.pipeline._walk import Done, Refused, build, hold_gates, require, unmade

__all__ = ["Done", "Refused", "build", "hold_gates", "plan", "require", "unmade"]
