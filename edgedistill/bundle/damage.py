"""What is damaged in a bundle's documents: a part that is of another kind than `pack` writes, or gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import UnionType
from typing import Any

from edgedistill.errors import IntegrityError

NOTICED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)  # what Python says of a value of another kind
Shape = Any  # a type or several; [shape], a list of such; {str: shape}, such by any name; {"name": shape, …}, at least these


def hollow(value: Any, shape: Shape, where: str = "") -> list[str]:
    """The places in a document that are not of their shape, with dots between names."""
    if isinstance(shape, type | UnionType):
        return [] if isinstance(value, shape) and (shape is bool or not isinstance(value, bool)) else [where]
    if isinstance(shape, list):
        return [place for at, one in enumerate(value) for place in hollow(one, shape[0], f"{where}.{at}")] if isinstance(value, list) else [where]
    if not isinstance(value, dict):
        return [where]
    asked: Mapping[str, Shape] = dict.fromkeys(value, shape[str]) if str in shape else shape
    return [place for name, inner in asked.items() for place in hollow(value.get(name), inner, f"{where}.{name}".lstrip("."))]


@contextmanager
def noticed(path: Path) -> Iterator[None]:
    """Read only what a bundle says. Raises IntegrityError, with the place in our code as its cause, where that cannot be done."""
    try:
        yield
    except NOTICED as error:
        what = f"{path} is damaged, or of another edgedistill: its documents cannot be read ({type(error).__name__}: {error})"
        raise IntegrityError(what, hint="pull or build the bundle again") from error
