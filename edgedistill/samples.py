"""Raw samples in little space: a fast model has a million a minute, and a document of them is read by programs and sent about.

In a document up to `MOST` samples are a list, in their order. More are each value that was seen and how often it was, rounded to within a
quarter of a per cent: `{"values": [0.071, …], "counts": [812, …]}`. All of them, as they were taken, are in `samples.npz` beside the document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # numpy is imported where there is something to count: reports of any kind import this module
    import numpy as np
    from numpy.typing import NDArray

MOST = 1000
FILE = "samples.npz"


def packed(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document with its measurements' samples in little space."""
    return _each(document, lambda told: told if isinstance(told, Mapping) or len(told) <= MOST else counted(told))


def unpacked(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document with its measurements' samples as lists, those that were counted in ascending order; what is neither stays as it is."""
    return _each(document, lambda told: repeated(told) if is_counted(told) else told)


def counted(samples: Sequence[float]) -> dict[str, list[Any]]:
    """The values that were seen, rounded, and how often each was."""
    import numpy as np

    values, counts = np.unique(_rounded(np.asarray(samples, np.float64)), return_counts=True)
    return {"values": [float(f"{value:.4g}") for value in values], "counts": counts.tolist()}


def repeated(told: Mapping[str, Any]) -> list[float]:
    """The samples again, in ascending order."""
    import numpy as np

    return [float(one) for one in np.repeat(np.asarray(told["values"], np.float64), told["counts"])]


def is_counted(told: Any) -> bool:
    """Whether these are values with their counts."""
    if not isinstance(told, Mapping) or told.keys() != {"values", "counts"}:
        return False
    values, counts = told["values"], told["counts"]
    numbers = isinstance(values, list) and all(type(one) in (int, float) for one in values)
    return numbers and isinstance(counts, list) and len(counts) == len(values) and all(type(one) is int and one > 0 for one in counts)


def keep(document: Mapping[str, Any], folder: Path) -> None:
    """Write every sample of a document to `samples.npz` in a folder: `DEVICE THREADS BATCH SUBJECT METRIC`, and the same with `warmups` behind."""
    import numpy as np

    arrays: dict[str, NDArray[np.float32]] = {}
    for one in document["measurements"]:
        where = one["conditions"]
        name = " ".join(str(part) for part in (where["device"], where["threads"], where["batch"], one["subject"], one["metric"]))
        arrays |= {f"{name}{behind}": np.asarray(one[key], np.float32) for key, behind in (("samples", ""), ("warmups", " warmups")) if one[key]}
    with (folder / FILE).open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # numpy's stubs take every name for its own option


def _each(document: Mapping[str, Any], change: Any) -> dict[str, Any]:
    measurements = document.get("measurements")
    if not isinstance(measurements, list | tuple):
        return dict(document)
    return {**document, "measurements": [_changed(one, change) for one in measurements]}


def _changed(one: Any, change: Any) -> Any:
    if not isinstance(one, Mapping):
        return one
    return {**one, **{key: change(one[key]) for key in ("samples", "warmups") if isinstance(one.get(key), Mapping | list | tuple)}}


def _rounded(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """To three digits, below 2 to half of the third: within a quarter of a per cent."""
    import numpy as np

    power = 10.0 ** np.floor(np.log10(np.abs(samples), where=samples != 0, out=np.zeros_like(samples)))
    step = power * np.where(np.abs(samples) / power < 2, 0.005, 0.01)
    return np.asarray(np.round(samples / step) * step)
