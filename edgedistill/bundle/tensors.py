"""Bundles of models that came as ONNX: tensors in, tensors out, no task. Their golden cases are arrays.

`golden.npz` holds `CASE/in/AT` and `CASE/out/AT`, AT counting the manifest's `inputs` and `outputs`; `golden.json` says how many cases there
are, and how far from them an answer may be: `tolerance` × the output's `scales`, its largest golden value.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from edgedistill import runtime
from edgedistill.checking import read_json
from edgedistill.errors import IntegrityError

if TYPE_CHECKING:
    from edgedistill.bundle.reader import Bundle

SCHEMA = "edgedistill.tensors/1"  # 1: first
GOLDEN_SCHEMA = "edgedistill.golden-tensors/1"
TASK = "tensors"
MANIFEST: Mapping[str, Any] = {
    "name": str,
    "target": str,
    "task": str,
    "metric": str,
    "n_test": int,
    "model": {"files": [str]},
    "inputs": [{"name": str}],
    "outputs": [{"name": str}],
    "fidelity": list,
    "calibration": dict,
    "original": dict,
    "higher_is_better": bool,
    "scores": dict,
    "intervals": dict,
    "agreement": dict,
    "bytes": dict,
    "retention_interval": list,
    "verdicts": list,
    "lineage": {str: str},
    "profile": dict,
    "files": {str: {"sha256": str}},
}

Case = tuple[dict[str, NDArray[Any]], list[NDArray[Any]]]


def schema_of(folder: Path) -> str:
    """What a folder's manifest says it is; empty where there is none."""
    try:
        document = read_json((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # then the folder is no bundle, whatever it holds
        return ""
    return str(document.get("schema", "")) if isinstance(document, dict) else ""


def files(bundle: Bundle) -> list[str]:
    """The model's files and its golden cases."""
    return [*map(str, bundle.manifest["model"]["files"]), "golden.json", "golden.npz"]


def cases(bundle: Bundle) -> list[Case]:
    """The golden inputs, by name, with the answers of the packed file. Raises IntegrityError when they are damaged."""
    names, outputs = [one["name"] for one in bundle.manifest["inputs"]], range(len(bundle.manifest["outputs"]))
    try:
        with np.load(bundle.path / "golden.npz", allow_pickle=False) as arrays:
            return [
                ({name: arrays[f"{case}/in/{at}"] for at, name in enumerate(names)}, [arrays[f"{case}/out/{at}"] for at in outputs])
                for case in range(bundle.document("golden.json")["cases"])
            ]
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, zlib.error) as error:  # a file that is none, or lacks an array
        raise IntegrityError(f"{bundle.path / 'golden.npz'} is damaged: {error}") from error


def difference(bundle: Bundle) -> float:
    """How far answers here are from the golden ones, as a share of each output's scale. Raises IntegrityError beyond the tolerance."""
    session = runtime.open_session(bundle.path / "model.onnx", threads=1)
    golden, found = bundle.document("golden.json"), cases(bundle)
    names = [one["name"] for one in bundle.manifest["outputs"]]
    if sorted(names) != sorted(one.name for one in session.get_outputs()):
        raise IntegrityError(f"{bundle.path / 'manifest.json'} and {bundle.path / 'model.onnx'} name different outputs")
    worst = max(_worst(session.run(names, feeds), wanted, golden["scales"]) for feeds, wanted in found)
    if not worst <= golden["tolerance"]:
        raise IntegrityError(f"{bundle.path / 'model.onnx'} answers differently here: off by {worst:.3g}, {golden['tolerance']} is allowed")
    return worst


def _worst(ours: Sequence[NDArray[Any]], wanted: Sequence[NDArray[Any]], scales: Sequence[float]) -> float:
    return max(_off(one, other) / scale for one, other, scale in zip(ours, wanted, scales, strict=True))


def _off(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Between two answers; what is no number must be so at the same places, in the same way."""
    if one.shape != other.shape:
        return float("inf")
    with np.errstate(invalid="ignore"):
        apart = np.abs(one.astype(np.float64) - other.astype(np.float64))
    same = (one == other) | ((one != one) & (other != other))  # infinities of one sign, NaN
    worst = float(np.where(same, 0, apart).max(initial=0))
    return worst if np.isfinite(worst) else float("inf")
