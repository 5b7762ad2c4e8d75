"""Lines of TOML with a remark behind each."""

from __future__ import annotations

import json


def quoted(value: str) -> str:
    """A TOML basic string; JSON's escapes are TOML's, but for the delete character that JSON leaves bare."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def line(setting: str, remark: str) -> str:
    """A setting with its remark."""
    return f"{setting:<42} # {remark}"
