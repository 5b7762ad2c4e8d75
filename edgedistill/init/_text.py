"""Lines of TOML with a remark behind each."""

from __future__ import annotations


def line(setting: str, remark: str) -> str:
    """A setting with its remark."""
    return f"{setting:<42} # {remark}"
