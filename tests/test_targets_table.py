"""The table of a build for several targets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from edgedistill.errors import StageError
from edgedistill.faces import targets_table
from edgedistill.pipeline import Done, Refused


def candidate(scheme: str, status: str, reason: str, cost: float | None = None) -> dict[str, Any]:
    return {"scheme": scheme, "status": status, "reason": reason, "cost": cost, "agreement": 0.99}


def done(name: str, candidates: list[dict[str, Any]]) -> Done:
    quantize = SimpleNamespace(stage="quantize", facts={"scheme": candidates[0]["scheme"], "bytes": 8_900_000, "candidates": candidates})
    check = SimpleNamespace(stage="check", facts={"scores": {"bundle": 0.8375}})
    target: Any = SimpleNamespace(name=name)
    artifacts: Any = (quantize, check)
    return Done(target=target, artifacts=artifacts)


def test_table_has_a_row_for_every_target_when_one_is_refused() -> None:
    refused: Any = SimpleNamespace(name="small-device")
    first = [candidate("int8-dynamic", "chosen", "chosen: …"), candidate("fp32", "lost", "lost: the profile puts int8-dynamic first; 4 × the bytes")]
    rows = targets_table.rows([done("android-arm64", first), Refused(target=refused, error=StageError("no allowed scheme can be shipped"))])
    lines = targets_table.text(rows).splitlines()
    assert lines[1].split() == ["android-arm64", "int8-dynamic", "8.90", "MB", "0.8375", "0.9900", "fp32:", "4", "×", "the", "bytes"]
    assert lines[2].split()[:2] == ["small-device", "refused"]
    assert lines[2].endswith("no allowed scheme can be shipped")


def test_runner_up_is_the_cheapest_that_lost_when_costs_are_known() -> None:
    tried = [candidate("a", "chosen", "chosen: x", 0.1), candidate("b", "lost", "lost: dear", 0.5), candidate("c", "lost", "lost: less dear", 0.2)]
    assert targets_table.runner_up(tried) == "c: less dear"


def test_runner_up_is_one_that_is_out_when_no_other_holds() -> None:
    tried = [candidate("a", "chosen", "chosen: x"), candidate("b", "out", "out: it agrees too little"), candidate("c", "not made", "not made: y")]
    assert targets_table.runner_up(tried) == "b: it agrees too little"
