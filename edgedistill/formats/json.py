"""A report for programs: every number and sample, many of these with their counts, under a schema name; null where a number does not exist."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

from edgedistill import samples
from edgedistill.formats._summary import headline
from edgedistill.spec import Report, plain

SCHEMA = "edgedistill.report/2"  # 1: the fields of spec.Report, and its headline; 2: many samples are values with their counts


def render(report: Report) -> str:
    """The report as one JSON document."""
    document = {"schema": SCHEMA, "headline": headline(report), **samples.packed(plain(report))}
    return json.dumps(_standard(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _standard(value: Any) -> Any:
    """The same value without NaN and infinities, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _standard(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_standard(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
