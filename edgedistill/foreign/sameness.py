"""Whether a changed graph still answers as before: within what rounding explains.

off = max|y − ŷ| / max(1, max|y|), y what the graph answers that it was made from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import graphs, runtime
from edgedistill.errors import ConfigError
from edgedistill.foreign import finite, precision, prepare
from edgedistill.foreign.fidelity import Judge

ROWS = 8  # that a changed graph is held against the one before it on; a cast one on all
ROUNDINGS = 20  # of the original's own numbers, that its answers may be off from fp32's: a deep network adds some up
ROUNDING: Mapping[str, float] = {"fp16": 2.0**-11, "bf16": 2.0**-8}  # the largest relative error of one


def sameness(judge: Judge, allowed: float, reference: Path | None = None) -> prepare.Same:
    """Whether a graph's answers are the reference's, which is the original where none is given: off by `allowed` at most."""
    before = runtime.open_session(reference, threads=judge.threads) if reference else None

    def same(file: Path) -> str:
        session = runtime.open_session(file, threads=judge.threads)
        names = [one.name for one in session.get_outputs()]
        if names != judge.names:
            return f"its outputs are {', '.join(names)}"
        worst = 0.0
        for row in judge.samples.judging[:ROWS]:
            feed = dict(judge.samples.feed(row))
            theirs = (before or judge.original.session).run(judge.names, feed)
            worst = max([worst, *(off(*pair) for pair in zip(theirs, session.run(judge.names, feed), strict=True))])
        return "" if worst <= allowed else f"its answers are off by {worst:.2g}"

    return same


def off(before: NDArray[Any], after: NDArray[Any]) -> float:
    """How far an answer is from the one before, as a share of its largest number and of 1 at least."""
    return finite.largest_difference(before, after) / max(1.0, float(np.abs(finite.numbers(before)).max(initial=0)))


def cast(model: Path, kind: str, judge: Judge, folder: Path, allowed: float) -> tuple[Path, str]:
    """A model of other floats in fp32, and the sentence that says so. Raises ConfigError where its answers are others then.

    Floats may be off by `allowed` where fp32 is the narrower, else by what their own rounding explains; of integers and truth values the judge's
    share must be equal.
    """
    import onnx

    message = onnx.load(str(model), format="protobuf")
    precision.in_fp32(message)
    out, limit = folder / "cast.onnx", ROUNDINGS * ROUNDING[kind] if kind in ROUNDING else allowed
    graphs.save(message, out)
    del message
    try:
        session = runtime.open_session(out, threads=judge.threads)
        pairs = list(judge.pairs(session, None))
    except Exception as error:  # onnxruntime's own classes share no public base
        raise _other(kind, f"it does not run: {runtime.said(error)}") from error
    worst = 0.0
    for at, name in enumerate(judge.names):
        theirs, ours = [pair[0][at] for pair in pairs], [pair[1][at] for pair in pairs]
        if theirs[0].dtype.kind == "f":
            far = max(map(off, theirs, ours))
            worst = max(worst, far)
            problem = f"output '{name}' is off by {far:.2g} of its largest number, and {limit:.2g} is what rounding explains" if far > limit else ""
        else:
            equal = float(np.mean([one.shape == other.shape and bool((one == other).all()) for one, other in zip(theirs, ours, strict=True)]))
            problem = (
                f"output '{name}' is equal for {equal:.2%} of the inputs, below {judge.limits.agreement:.2%}"
                if equal < judge.limits.agreement
                else ""
            )
        if problem:
            raise _other(kind, problem)
    said = (
        f"the original computes in {kind}: it was cast to fp32, whose answers to {len(pairs)} inputs are off by {worst:.2g} of their largest at most"
    )
    return out, f"{said} ({limit:.2g} is allowed); inputs and outputs keep their types"


def _other(kind: str, problem: str) -> ConfigError:
    return ConfigError(f"the model computes in {kind}, and in fp32 it is another one: {problem}", hint="export it in fp32")
