"""What stands behind the command line: one file for building, one for bundles, one for lists. Each prints its answer on stdout."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from edgedistill.characters import json_text
from edgedistill.errors import ConfigError, Fault


def print_json(document: Mapping[str, Any]) -> None:
    """The answer as one JSON document."""
    print(json_text(document, getattr(sys.stdout, "encoding", None) or "utf-8"))


def sizes(given: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """`--shape name=1,3,224,224`, by name. Raises ConfigError naming each that is not so."""
    found, faults = {}, []
    for text in given:
        name, _, sizes = text.rpartition("=")
        try:
            found[name] = tuple(int(size) for size in sizes.split(","))
        except ValueError:
            name = ""
        if not name or min(found[name]) < 1:
            faults.append(Fault(f"--shape {text}", "expected NAME=SIZE,SIZE,…", "like --shape input=1,3,224,224"))
    if faults:
        raise ConfigError(faults)
    return found
