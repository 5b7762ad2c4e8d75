"""What a model folder says of its tokenizer beside tokenizer.json, read as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgedistill.errors import ConfigError

FILES = ("special_tokens_map.json", "tokenizer_config.json")  # the later one is right where they differ, as in transformers
PADDING = ("[PAD]", "<pad>")


def settings(folder: Path) -> dict[str, Any]:
    """The settings of a folder, empty where it has none. Raises ConfigError when a file is no JSON object."""
    found: dict[str, Any] = {}
    for file in (folder / name for name in FILES if (folder / name).is_file()):
        try:
            read = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, OSError, RecursionError) as error:  # RecursionError: brackets nested a thousand deep
            raise ConfigError(f"{file} cannot be read: {error}") from error
        if not isinstance(read, dict):
            raise ConfigError(f"{file} is not a JSON object")
        found |= read
    return found


def padding(folder: Path, tokenizer: Any, config: Mapping[str, Any]) -> int | None:
    """The id that batches of a model whose config names none are filled up with: the tokenizer's padding, else its end of text; None without."""
    said = settings(folder)
    names = [_content(said.get("pad_token")), *PADDING]
    ends = config.get("eos_token_id")
    found = [tokenizer.token_to_id(name) for name in names if name]
    found += ends if isinstance(ends, list) else [ends]
    found += [tokenizer.token_to_id(name) for name in [_content(said.get("eos_token"))] if name]
    rows = config.get("vocab_size") or 0
    return next((index for index in found if isinstance(index, int) and 0 <= index < rows), None)


def _content(token: Any) -> str | None:
    """A special token's text; it may be written with its flags."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None
