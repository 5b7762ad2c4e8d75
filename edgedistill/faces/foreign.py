"""quantize: the request from the command line, the table of candidates on stderr, the bundle's place on stdout."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgedistill import config, profiles
from edgedistill.faces import print_json, sizes
from edgedistill.foreign.pack import MOST_TOLD
from edgedistill.foreign.run import Asked
from edgedistill.foreign.run import quantize as make
from edgedistill.progress import drawn
from edgedistill.wording import left_in_float, megabytes, named


def quantize(
    model: Path,
    target: str,
    out: Path,
    calibration: Path | None,
    scheme: str | None,
    rows: int,
    shapes: Sequence[str],
    classes: Sequence[str],
    store: Path,
    *,
    as_json: bool,
) -> None:
    """Print the bundle's path, or the document."""
    asked = Asked(
        model=model,
        target=config.load_target(target),
        out=out,
        calibration=calibration,
        scheme=scheme,
        rows=rows,
        shapes=sizes(shapes),
        store=store,
        which=target,
        classes=tuple(classes),
    )
    loud = profiles.warning(asked.target)
    if loud:
        print(f"warning: {loud}", file=sys.stderr)
    with drawn() as tell:
        document = make(asked, tell)
    _tell_table(document)
    if as_json:
        print_json(document)
    else:
        print(document["bundle"])


def _tell_table(document: Mapping[str, Any]) -> None:
    """The story's end: every candidate, how each output was measured and why, what was left out, and what all of it was judged on."""
    print(f"{'scheme':32}{'size':>9}{'agrees':>11}{'SQNR dB':>9}{'÷ fp32':>8}  reason", file=sys.stderr)
    for one in document["candidates"]:
        print(_row(one), file=sys.stderr)
    for measure in document["measures"][:MOST_TOLD]:
        print(measure, file=sys.stderr)
    if len(document["measures"]) > MOST_TOLD:
        print(f"and {len(document['measures']) - MOST_TOLD} more outputs, which --json lists", file=sys.stderr)
    for note in document["notes"]:
        print(f"note: {note}", file=sys.stderr)
    print(f"inputs: {document['samples']['sentence']}", file=sys.stderr)


def _row(one: Mapping[str, Any]) -> str:
    levels = [found["sqnr_db"] for found in one["facts"].get("fidelity", ())]
    known = [level for level in levels if level is not None]
    sqnr = f"{min(known):.1f}" if known else "exact" if levels else "–"
    size = "–" if one["bytes"] is None else megabytes(one["bytes"])
    agrees = "–" if one["agreement"] is None else _agrees(one)
    ratio = "–" if one["latency_ratio"] is None else f"{one['latency_ratio']:.2f}"
    left = left_in_float(one["scheme"], one["facts"])
    return f"{named(one['scheme'], one['facts']):32}{size:>9}{agrees:>11}{sqnr:>9}{ratio:>8}  {one['reason']}{left and f'; {left}'}"


def _agrees(one: Mapping[str, Any]) -> str:
    """The agreement of a candidate; where no output decides anything it is a cosine, and said so."""
    outputs = one["facts"].get("fidelity", ())
    counted = not outputs or any(found["agreement"] is not None for found in outputs)
    return f"{one['agreement']:.2%}" if counted else f"cos {one['agreement']:.3f}"
