"""Images and labels in the two files that MNIST came in: `…-images-idx3-ubyte` and, beside it, `…-labels-idx1-ubyte`."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edgedistill.data._record import Record, shown
from edgedistill.data._text import open_bytes
from edgedistill.errors import ConfigError, DataError, Fault

EXTENSIONS = ()  # the names are fixed
UNIT = "image"
NAME = re.compile(r"(.*)images([-.]idx)3(-ubyte)(\.gz)?", re.IGNORECASE)
LABELS = re.compile(r"(.*)labels([-.]idx)1(-ubyte)(\.gz)?", re.IGNORECASE)
IMAGES_MAGIC, LABELS_MAGIC = 0x803, 0x801  # unsigned bytes in three dimensions, in one


def recognises(path: Path) -> bool:
    """Whether the file has such a name."""
    return bool(NAME.fullmatch(path.name) or LABELS.fullmatch(path.name)) and not path.is_dir()


def beside(path: Path) -> Path:
    """The labels of an images file, gzipped or not. Raises ConfigError where they are missing."""
    found = NAME.fullmatch(path.name)
    if not found:
        raise ConfigError(f"{shown(path)}: these are labels; name the file of images", hint="…-images-idx3-ubyte; its labels are found beside it")
    stem = f"{found[1]}labels{found[2]}1{found[3]}"
    zipped = found[4] or ""
    for name in (stem + zipped, stem if zipped else f"{stem}.gz"):
        if (path.parent / name).is_file():
            return path.parent / name
    raise ConfigError(f"{shown(path)}: no {stem} beside it, plain or .gz", hint="the two files belong together")


def records(path: Path, split: str) -> Iterator[Record]:
    """Each image as PNG, with its label as digits. A file is one split, whatever `split` is. Raises DataError with the image's number."""
    labels = beside(path)
    number, at = 0, path
    try:
        with open_bytes(path) as pictures, open_bytes(labels) as named:
            count, height, width = _header(pictures, IMAGES_MAGIC, 3, path)
            (names,) = _header(named, LABELS_MAGIC, 1, labels)
            if names != count:
                raise DataError([Fault(shown(path), f"{count:,} images, but {shown(labels)} has {names:,} labels", "take both from one download")])
            for number in range(1, count + 1):
                at = path
                pixels = _exactly(pictures, height * width)
                at = labels
                label = _exactly(named, 1)[0]
                yield Record(number, {"label": str(label)}, {"image": _png(pixels, width, height)})
    except (OSError, EOFError, zlib.error) as error:  # missing, cut off, damaged gzip
        raise DataError([Fault(f"{shown(at)} {UNIT} {number}", f"cannot be read: {error}", "the download was cut off; fetch it again")]) from error


def _header(stream: BinaryIO, magic: int, dimensions: int, path: Path) -> tuple[int, ...]:
    found, *sizes = struct.unpack(f">{dimensions + 1}I", _exactly(stream, 4 * (dimensions + 1)))
    if found != magic:
        raise DataError([Fault(shown(path), f"not an IDX file of {dimensions} dimension(s): it starts with 0x{found:08x}, not 0x{magic:08x}")])
    return tuple(sizes)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError("the file ends here")
    return content


def _png(pixels: bytes, width: int, height: int) -> bytes:
    """Grey pixels, row by row from the top, as PNG (W3C PNG, sections 5 and 11)."""
    rows = b"".join(b"\0" + pixels[at : at + width] for at in range(0, width * height, width))  # 0: no filter
    head = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)  # 8 bits, grey, deflate, filters, not interlaced
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows, 1)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
