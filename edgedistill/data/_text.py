"""Lines of a text file, gzipped or not, as UTF-8 or not at all."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from edgedistill.data._faults import Faults
from edgedistill.data._record import shown

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
    number, offset = 1, 0
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with open_bytes(path) as stream:
            while piece := stream.readline(limit):
                if offset == 0:
                    _refuse_wide(path, piece, faults)
                text = _decoded(path, decoder, piece, number, offset, faults)
                yield text.removeprefix("\ufeff") if offset == 0 else text
                offset += len(piece)
                number += piece.endswith(b"\n")
            if tail := _decoded(path, decoder, b"", number, offset, faults):
                yield tail
    except (OSError, EOFError, zlib.error) as error:  # a missing, forbidden or damaged file; the last two are how gzip says so
        what = "broken gzip" if path.suffix.lower() == ".gz" else "cannot be read"
        faults.add(number, f"{what}: {error}", hint=f"gzip -t {shown(path)}" if what == "broken gzip" else "")
        faults.settle()


def _decoded(path: Path, decoder: codecs.IncrementalDecoder, piece: bytes, number: int, offset: int, faults: Faults) -> str:
    try:
        return decoder.decode(piece, final=not piece or piece.endswith(b"\n"))
    except UnicodeDecodeError as error:
        held = len(error.object) - len(piece)  # bytes of a character that the piece before began
        encoding = _tried(error.object)
        what = f"not UTF-8: byte 0x{error.object[error.start]:02x} at offset {offset - held + error.start}; it reads as {encoding}"
        faults.add(number, what, _iconv(path, encoding))
        decoder.reset()
        return error.object.decode("utf-8", "replace")


def _refuse_wide(path: Path, start: bytes, faults: Faults) -> None:
    encoding = next((name for mark, name in WIDE.items() if start.startswith(mark)), None)
    if encoding is None and b"\0" in start[:4]:
        encoding = "utf-16be" if start[:1] == b"\0" else "utf-16le"
    if encoding is not None:
        faults.add(1, f"not UTF-8: byte 0x{start[0]:02x} at offset 0; it reads as {encoding}", _iconv(path, encoding))
        faults.settle()


def _tried(line: bytes) -> str:
    """The encoding that these bytes are in, if they are in one: latin1 leaves 0x80 to 0x9f unused, where cp1252 has its quotes and dashes."""
    if not any(0x80 <= byte <= 0x9F for byte in line):
        return "latin1"
    try:
        line.decode("cp1252")
    except UnicodeDecodeError:
        return "latin1"
    return "cp1252"


def _iconv(path: Path, encoding: str) -> str:
    if path.suffix.lower() == ".gz":
        return f"zcat {shown(path)} | iconv -f {encoding} -t utf-8 > FIXED"
    return f"iconv -f {encoding} -t utf-8 {shown(path)} > FIXED"
