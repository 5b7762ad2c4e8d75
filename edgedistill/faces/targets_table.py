"""The table of a build for several targets: what each device gets, and what came second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgedistill.pipeline import Done, Refused
from edgedistill.wording import megabytes

COLUMNS = ("target", "scheme", "size", "score", "agreement with fp32", "runner-up")


def rows(results: Sequence[Done | Refused]) -> list[dict[str, Any]]:
    """One row a target: the chosen scheme with its figures on the test split, or why there is no bundle."""
    return [_refused(one) if isinstance(one, Refused) else _row(one) for one in results]


def text(table: Sequence[Mapping[str, Any]]) -> str:
    """The table in columns."""
    lines = [COLUMNS, *(_cells(row) for row in table)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(COLUMNS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def _row(done: Done) -> dict[str, Any]:
    quantize, check = done.of("quantize").facts, done.of("check").facts
    chosen = next(one for one in quantize["candidates"] if one["status"] == "chosen")
    return {
        "target": done.target.name,
        "scheme": quantize["scheme"],
        "bytes": quantize["bytes"],
        "score": check["scores"]["bundle"],
        "agreement": chosen["agreement"],
        "runner_up": runner_up(quantize["candidates"]),
    }


def _refused(one: Refused) -> dict[str, Any]:
    return {"target": one.target.name, "scheme": None, "refused": str(one.error)}


def runner_up(candidates: Sequence[Mapping[str, Any]]) -> str:
    """The best of those that lost, by cost where it is known, else by the profile's order; where none held, the first that is out."""
    lost = [one for one in candidates if one["status"] == "lost"]
    best = min(lost, key=lambda one: one["cost"] or 0.0, default=None) or next((one for one in candidates if one["status"] == "out"), None)
    if best is None:
        return "none: no other scheme was judged"
    why = best["reason"].partition(": ")[2]
    return f"{best['scheme']}: {why.partition('; ')[2] if why.startswith('the profile puts') else why}"  # which one it puts first, the row says


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    if row["scheme"] is None:
        return (row["target"], "refused", "", "", "", " ".join(row["refused"].split()))
    return (
        row["target"],
        row["scheme"],
        megabytes(row["bytes"]),
        f"{row['score']:.4f}",
        f"{row['agreement']:.4f}",
        row["runner_up"],
    )
