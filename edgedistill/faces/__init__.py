"""What stands behind the command line: one file for building, one for bundles, one for lists. Each prints its answer on stdout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def print_json(document: Mapping[str, Any]) -> None:
    """The answer as one JSON document."""
    print(json.dumps(document, ensure_ascii=False, allow_nan=False))
