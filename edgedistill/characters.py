"""Text at the program's borders: what comes in is characters or is refused, what goes out can be read back."""

from __future__ import annotations

import json
import re
import sys

CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\\\\]")  # what ends a field or a line, what a terminal obeys, and the mark of an escape
SURROGATES = re.compile("[\ud800-\udfff]")
HALF = "half of a surrogate pair (\\ud800 to \\udfff alone), which is no character"
WHOLE = "write the character itself, in UTF-8"  # the way out of HALF


def not_utf8(error: UnicodeDecodeError, offset: int) -> tuple[str, str]:
    """What to say of bytes that are no UTF-8, the first of them at `offset` of the whole; and the encoding that they seem to be in."""
    encoding = _likely(error.object)
    return f"not UTF-8: byte 0x{error.object[error.start]:02x} at offset {offset}; it reads as {encoding}", encoding


def _likely(raw: bytes) -> str:
    """The encoding that these bytes are in, if they are in one: latin1 leaves 0x80 to 0x9f unused, where cp1252 has its quotes and dashes."""
    if not any(0x80 <= byte <= 0x9F for byte in raw):
        return "latin1"
    try:
        raw.decode("cp1252")
    except UnicodeDecodeError:
        return "latin1"
    return "cp1252"


def argument(text: str) -> str:
    """A word of the command line as text: bytes that the locale could not decode are read as UTF-8, as files are.

    Raises ValueError naming the first byte that is none. Paths may be any bytes, and are left as they are.
    """
    if not is_halved(text):
        return text
    try:
        raw = text.encode(sys.getfilesystemencoding(), "surrogateescape")
    except UnicodeEncodeError:  # it did not come from the command line
        raise ValueError(HALF) from None
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(not_utf8(error, error.start)[0]) from None


def is_halved(value: object) -> bool:
    """Whether a text, or any text inside a JSON value, has half of a surrogate pair, which no file and no tokenizer takes."""
    if isinstance(value, dict):
        return any(is_halved(key) or is_halved(one) for key, one in value.items())
    if isinstance(value, list | tuple):
        return any(map(is_halved, value))
    return isinstance(value, str) and not value.isascii() and SURROGATES.search(value) is not None


def escaped(text: str) -> str:
    r"""One field of a line: \n, \t, \r and \\ as in C, other control characters and line ends as \x1b, \u2028."""
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def json_text(document: object, encoding: str) -> str:
    """One line of JSON that `encoding` can carry: in letters where it has them all, else in JSON's own escapes."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(document, allow_nan=False)
    return text
