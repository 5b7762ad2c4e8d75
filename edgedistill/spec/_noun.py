"""What every noun has in common."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar


class Noun:
    """Base of every noun; tells pydantic that an unknown key is an error."""

    __slots__ = ()
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


def plain(noun: Any) -> Any:
    """A noun as JSON-able dicts, lists and scalars."""
    return asdict(noun)
