"""What happens to files on their way: why one is not what was packed, how to undo it, and what was added that is no part of a bundle."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Any

from edgedistill.files import GIT

LITTER = (  # by the name of a file, or of a folder that it is in; nothing reads them
    ".DS_Store",
    "._*",
    "__MACOSX",
    "Thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    ".directory",
    ".git",
    GIT,
    ".gitignore",
    ".cache",
)
POINTER = b"version https://git-lfs.github.com/spec/"
PAGE = (b"<!doctype html", b"<html")
MARK = b"\xef\xbb\xbf"
LARGE = 1 << 28  # bytes: what is larger is not read into memory to find out
AGAIN = "fetch it again"
CRLF = f"git config core.autocrlf false, and check it out again ({GIT} with `* -text` keeps git from it), or: sed -i 's/\\r$//' FILE"
LF = "fetch it again as binary, or: sed -i 's/$/\\r/' FILE"


@dataclass(frozen=True, slots=True)
class Cause:
    """What probably happened to a file, and how to undo it."""

    what: str
    undo: str


CHANGES: tuple[tuple[Callable[[bytes], bytes], Cause], ...] = (  # each gives the packed bytes back, if it is what happened
    (lambda found: found.replace(b"\r\n", b"\n"), Cause("its line ends became CRLF, as git and FTP do to text", CRLF)),
    (lambda found: found.replace(b"\n", b"\r\n"), Cause("its line ends were CRLF and became LF, as git and FTP do to text", LF)),
    (lambda found: found.removeprefix(MARK), Cause("an editor put a byte-order mark in front", AGAIN)),
    (
        lambda found: found.removeprefix(MARK).replace(b"\r\n", b"\n"),
        Cause("an editor put a byte-order mark in front, and made its line ends CRLF", AGAIN),
    ),
    (lambda found: found.removesuffix(b"\n"), Cause("an editor added a line end", AGAIN)),
    (lambda found: found + b"\n", Cause("an editor took away the last line end", AGAIN)),
)


def litter(path: Path, name: str) -> str:
    """The file or folder below `path` that systems, archives and git add, and that this is or is in; empty for any other, and for a link.

    It is no part of a bundle and no harm to it: a bundle's files are read by their names alone.
    """
    parts = Path(name).parts
    whole = [Path(*parts[: count + 1]) for count in range(len(parts))]
    if any((path / one).is_symlink() for one in whole):
        return ""
    return next((one.as_posix() for one in whole if any(fnmatchcase(one.name, pattern) for pattern in LITTER)), "")


def cause(file: Path, packed: Mapping[str, Any], error: Exception | None = None) -> Cause | None:
    """Why a file is not the `packed` one, of which the digest and the size may be known; None where nothing can be told.

    `error` is what reading it as JSON raised.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(1024)
    if head.startswith(POINTER):
        return _pointer(head, packed)
    if head.lstrip().lower().startswith(PAGE) and file.suffix != ".html":
        return Cause("it is a web page: the link led to a page about the file", "take the link of the file itself (raw, resolve), and fetch it again")
    digest, whole = packed.get("sha256"), packed.get("bytes")
    if digest and size <= LARGE:
        content = file.read_bytes()
        found = next((told for undo, told in CHANGES if sha256(undo(content)).hexdigest() == digest), None)
        if found is not None:
            return found
    if isinstance(whole, int) and size < whole:
        return Cause(f"it has {size:,} of {whole:,} bytes: the copy or download was cut off", AGAIN)
    if not size:
        return Cause("it is empty", AGAIN)
    cut = isinstance(error, json.JSONDecodeError) and (error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string"))
    return Cause("it ends in the middle: the copy or download was cut off", AGAIN) if cut else None


def _pointer(head: bytes, packed: Mapping[str, Any]) -> Cause:
    oid = head.partition(b"oid sha256:")[2][:64].decode("ascii", "replace")
    other = " (of another version of the file)" if packed.get("sha256") not in (None, oid) else ""
    return Cause(f"it is a git-lfs pointer{other}: the file itself was not fetched", "git lfs install && git lfs pull")
