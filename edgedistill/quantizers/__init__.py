"""Quantisers: an engine is a file, and says which schemes of `edgedistill.schemes` it makes.

    makes(scheme: str) -> bool
    make(scheme: str, source: Source, out: Path) -> dict[str, Any]     writes one ONNX file; the facts go into the receipt

Engines are judged alike by `edgedistill.search`; what they raise puts their candidate out: an UnfitError with its sentence as the reason.
Facts that are known to readers: `kept_fp32` (names of the weighted operators that stay fp32), `int8_macs` (the share of multiply-accumulates
that integer operators do), `weights` (bytes by type, and who kept floats: `_coverage`), `calibration` (how activations' ranges were found).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from numpy.typing import NDArray

from edgedistill import graphs, plugins, runtime
from edgedistill.errors import EdgedistillError, IntegrityError

Feeds = Mapping[str, NDArray[Any]]


class UnfitError(ValueError):
    """The graph is none for this scheme; the message is a sentence that says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a scheme is made from.

    `plain` and `fused` are the fp32 graphs of an export: operators of the standard, and with attention and its surroundings fused; they may be
    the same file. `weights` is the folder of the torch model behind them, None for a model that came as ONNX. `calibration()` starts over at
    the first batch of inputs; `sizes` gives the graph's dynamic dimensions, by name, a size to count operations at. `divergence(file)` is how
    far a candidate's answers are from fp32's, 0 for equal, and `holds(file)` whether it could be shipped: both on rows that did not calibrate,
    for schemes that choose by measuring. `memory` is an engine's own between one scheme and the next: what takes long to find, such as ranges.
    `torch_model()` loads what is in `weights`, and `forward(model, inputs)` is what the graph does with it;
    both are None where `weights` is.
    """

    plain: Path
    fused: Path
    weights: Path | None
    calibration: Callable[[], Iterator[Feeds]]
    sizes: Mapping[str, int]
    divergence: Callable[[Path], float]
    holds: Callable[[Path], bool]
    memory: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    torch_model: Callable[[], Any] | None = None
    forward: Callable[[Any, Mapping[str, Any]], Any] | None = None


def engine_of(scheme: str) -> ModuleType | None:
    """The first engine that makes a scheme; None when there is none."""
    engines = (plugins.load("quantizers", name) for name in plugins.names("quantizers"))
    return next((engine for engine in engines if engine.makes(scheme)), None)


def said(error: Exception, file: Path) -> str:
    """Why a candidate could not be made or run, as part of a sentence.

    The error's own words where it means to be one; else what is known of the operator, and of `file`, the graph that it was made from, where that
    is nothing.
    """
    if isinstance(error, EdgedistillError | UnfitError) and not isinstance(error, IntegrityError):
        return (str(error).strip().splitlines() or [""])[0][:300]
    said, nested = runtime.said(error.__cause__ or error), graphs.nested(file)
    return f"{said}; the graph has {', '.join(nested[:3])}, with graphs inside" if nested and "(" not in said else said


def raw(error: Exception) -> dict[str, str]:
    """An error's own words, a fact for who looks into the receipt."""
    return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}
