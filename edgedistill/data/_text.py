"""Lines of a text file, gzipped or not, as UTF-8 or not at all."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from edgedistill.characters import not_utf8
from edgedistill.data._faults import Faults
from edgedistill.data._record import shown
from edgedistill.errors import DataError

WIDE = {  # marks at the start of a file, the longer ones first: one begins with another
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def open_bytes(path: Path) -> BinaryIO:
    """The file's bytes, unzipped where its name ends in .gz."""
    return cast(BinaryIO, gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


def lines(path: Path, faults: Faults, limit: int = -1) -> Iterator[str]:
    """Each line with its line end, in pieces of at most `limit` bytes; a byte-order mark is dropped.

    Bytes that are not UTF-8 are noted in `faults` and replaced, so that the caller can go on to the next fault; it must call
    `faults.settle()` before it trusts what it read.
    """
    number = 1
    try:
        with open_bytes(path) as stream:
            for text in _decoded(stream, faults, lambda encoding: _iconv(path, encoding), limit):
                yield text
                number += text.endswith("\n")
    except (OSError, EOFError, zlib.error) as error:  # a missing, forbidden or damaged file; the last two are how gzip says so
        what = "broken gzip" if path.suffix.lower() == ".gz" else "cannot be read"
        faults.add(number, f"{what}: {error}", hint=f"gzip -t {shown(path)}" if what == "broken gzip" else "")
        faults.settle()


def lines_of(stream: BinaryIO, name: str, into: str) -> list[str]:
    """Every line of a stream without its end, where `into` is the command that reads it. Raises DataError with lines, up to ten at once."""
    faults = Faults(name)
    try:
        found = [line.rstrip("\r\n") for line in _decoded(stream, faults, lambda encoding: f"iconv -f {encoding} -t utf-8 FILE | {into}")]
    except OSError as error:  # a folder, or open for writing only
        raise DataError(f"{name} cannot be read: {error.strerror}", hint=f"{into} < FILE") from error
    faults.settle()
    return found


def _decoded(stream: BinaryIO, faults: Faults, remedy: Callable[[str], str], limit: int = -1) -> Iterator[str]:
    """`remedy` is the hint for what reads as another encoding."""
    number, offset = 1, 0
    decoder = codecs.getincrementaldecoder("utf-8")()
    while piece := stream.readline(limit):
        if offset == 0 and (wide := _wide(piece)):
            faults.add(1, f"not UTF-8: byte 0x{piece[0]:02x} at offset 0; it reads as {wide}", remedy(wide))
            faults.settle()
        text = _characters(decoder, piece, faults, remedy, (number, offset))
        yield text.removeprefix("\ufeff") if offset == 0 else text
        offset += len(piece)
        number += piece.endswith(b"\n")
    if tail := _characters(decoder, b"", faults, remedy, (number, offset)):
        yield tail


def _characters(decoder: codecs.IncrementalDecoder, piece: bytes, faults: Faults, remedy: Callable[[str], str], at: tuple[int, int]) -> str:
    number, offset = at
    try:
        return decoder.decode(piece, final=not piece or piece.endswith(b"\n"))
    except UnicodeDecodeError as error:
        held = len(error.object) - len(piece)  # bytes of a character that the piece before began
        what, encoding = not_utf8(error, offset - held + error.start)
        faults.add(number, what, remedy(encoding))
        decoder.reset()
        return error.object.decode("utf-8", "replace")


def _wide(start: bytes) -> str | None:
    """The encoding of a file whose characters have two bytes or more."""
    if b"\0" in start[:4] and not start.startswith(tuple(WIDE)):
        return "utf-16be" if start[:1] == b"\0" else "utf-16le"
    return next((name for mark, name in WIDE.items() if start.startswith(mark)), None)


def _iconv(path: Path, encoding: str) -> str:
    if path.suffix.lower() == ".gz":
        return f"zcat {shown(path)} | iconv -f {encoding} -t utf-8 > FIXED"
    return f"iconv -f {encoding} -t utf-8 {shown(path)} > FIXED"
