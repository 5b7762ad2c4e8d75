"""Files are written whole or not at all, and a disk that takes no more is told in one sentence, whoever noticed it."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgedistill.errors import ConfigError, EdgedistillError, WriteError

PART = ".part"  # the ending of a file that is being written
FULL = tuple(getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG") if hasattr(errno, name))
FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
SAID = re.compile(  # how torch, numpy and onnxruntime say that they could not write a file; they leave out why
    r"failed writing file|unexpected pos \d+ vs \d+|\d+ requested and \d+ written|Protobuf serialization failed"
)
GIT = ".gitattributes"
AS_PACKED = "# digests are of bytes: git changes no line ends here\n* -text\n"
ROOM = "make room, and run the same command again: it goes on from what is finished"


def write_text(path: Path, text: str) -> None:
    """Write a file whole, in UTF-8: beside its place first, then renamed in; a terminal, a pipe or a device is written to as it is.

    Raises OSError, and leaves nothing behind. What has no UTF-8, such as a byte of a file's name, becomes an escape, which JSON reads back.
    """
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
        return
    place = path.resolve()  # a link stays one
    beside = place.with_name(f".{place.name}.{os.getpid()}{PART}")
    try:
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")
        beside.replace(place)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def unwritten(error: BaseException) -> str:
    """Why a file could not be written, where that is what an error or one behind it says: no room, a quota, a limit; else nothing."""
    return next((why for one in _chain(error) if (why := _why(one))), "")


def refused(what: str, error: OSError) -> EdgedistillError:
    """The error for a file that the user asked for: WriteError where the disk takes no more, ConfigError where the place is wrong."""
    if why := unwritten(error):
        return WriteError(f"{what}: cannot be written: {why}", hint=ROOM)
    return ConfigError(f"{what}: cannot be written: {error.strerror or error}")


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Turn what the system says of a file that the user asked for into one sentence. Raises as `refused` says."""
    try:
        yield
    except OSError as error:
        raise refused(what, error) from error


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    behind: BaseException | None = error
    while behind is not None and id(behind) not in seen:
        seen.add(id(behind))
        yield behind
        behind = behind.__cause__ or behind.__context__


def _why(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno) if error.errno in FULL else ""
    text = "" if isinstance(error, EdgedistillError) else str(error)  # ours may quote a text that speaks of full disks
    if found := next((number for number in FULL if f"os error {number})" in text or f"Errno {number}]" in text or os.strerror(number) in text), None):
        return os.strerror(found)
    return "a file could not be written whole" if SAID.search(text) else ""
