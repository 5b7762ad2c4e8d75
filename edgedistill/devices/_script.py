"""What the JavaScript agents read and write: the job and the result as JSON, with the numbers that JSON cannot hold spelt out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgedistill.devices import Ended
from edgedistill.errors import DeviceError


def written(job: Mapping[str, Any] | None) -> str:
    """A job as the agents read it; arrays become nested lists."""
    try:
        return json.dumps(job, default=np.ndarray.tolist, allow_nan=False)
    except ValueError:
        return json.dumps(_spelt(job))


def read(document: str | bytes) -> Ended:
    """What an agent wrote. A largest difference may be infinite."""
    result: dict[str, Any] = json.loads(document)
    answers = [np.array(one["values"], one["dtype"]).reshape(one["dims"]) for one in result.pop("answers", [])]
    if "worst_difference" in result:
        result["worst_difference"] = float(result["worst_difference"])
    return Ended(result=result, answers=answers)


def require(address: str, names: Sequence[str], asked: str) -> None:
    """Raises DeviceError when a job asks a device for another provider than the one that it is, which has these names."""
    if asked not in names:
        raise DeviceError(f"{address} has no {asked}", hint=f"it has: {names[0]}")


def _spelt(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _spelt(one) for name, one in value.items()}
    if isinstance(value, np.ndarray):
        return _spelt(value.tolist())
    if isinstance(value, list | tuple):
        return [_spelt(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
