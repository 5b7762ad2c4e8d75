"""Documents into sentences: enough for a transfer set, where a wrong cut costs little."""

from __future__ import annotations

import re
from collections.abc import Iterator

_MARKUP = re.compile(r"<[^<>]{1,40}>")  # reviews come with <br />
_END = re.compile(r"(?<=[.!?])\s+|(?<=[.!?][\"')\]])\s+")  # a closing quote or bracket stays with its sentence


def sentences(text: str, min_words: int, max_words: int) -> Iterator[str]:
    """The sentences of a text that have `min_words` to `max_words` words."""
    for sentence in _END.split(_MARKUP.sub(" ", text)):
        words = sentence.split()
        if min_words <= len(words) <= max_words:
            yield " ".join(words)
