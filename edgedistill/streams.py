"""The standard streams of a program: there even where the caller closed them, able to carry any character, and loud when they are not written.

A reader that goes away (`| head -1`) ends the program without a word, with the exit code that SIGPIPE gives others.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn, TextIO

from edgedistill import packages
from edgedistill.errors import ConfigError, EdgedistillError, StageError
from edgedistill.files import FORBIDDEN, ROOM, unwritten

GONE = 128 + 13  # 13 is SIGPIPE, which Windows has not
SHOWN = "edgedistill.shown"


class ReaderGone(SystemExit):
    """Whoever read our output is no longer there: no error, and nobody's to catch."""


def run(program: Callable[[], object]) -> NoReturn:
    """Run a program between sound streams, and end with its exit code: what went wrong is told on standard error."""
    code = _code_of(prepare) or _code_of(program)
    sys.exit(_code_of(finish) or code)


def _code_of(work: Callable[[], object]) -> str | int | None:
    try:
        work()
    except SystemExit as left:  # how typer ends
        return left.code
    except KeyboardInterrupt:  # the one that typer is not there for yet
        return 128 + signal.SIGINT
    except EdgedistillError as error:
        return _said(error)
    except ModuleNotFoundError as error:
        if not packages.is_optional(error):
            raise  # of ours
        return _said(packages.blamed(" ".join(["edgedistill", *sys.argv[1:2]]), error))
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # a name that only who called can have given: no name of ours is so long
            return _said(ConfigError(f"{error.filename}: {error.strerror}"))
        why = unwritten(error) or (error.strerror if error.errno in FORBIDDEN and error.filename else "")
        if not why:
            raise
        print(f"error: {error.filename or 'a file'} cannot be written or read: {why}\nhint: {ROOM}", file=sys.stderr)
        return StageError.exit_code
    return 0


def _said(error: EdgedistillError) -> int:
    """The exit code of an error, which is told."""
    if error.exit_code == EdgedistillError.exit_code:
        traceback.print_exc()
    print(f"error: {error}", file=sys.stderr)
    return error.exit_code


def prepare() -> None:
    """Make the three streams sound. Raises ConfigError where standard output is closed: nothing has been done yet.

    A descriptor that the caller closed gets the null device: else the next file that is opened becomes standard error, and is written into.
    """
    closed = [number for number in range(3) if not _is_open(number)]
    for number in closed:
        _to_nowhere(number)
    codecs.register_error(SHOWN, _shown)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115  for as long as the program runs
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = _told(sys.stderr, "backslashreplace")
    if sys.stdout is None or 1 in closed:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        raise ConfigError("standard output is closed: there is no place for the answer", hint="edgedistill … > FILE, or > /dev/null")
    sys.stdout = _told(sys.stdout, SHOWN)


def finish() -> None:
    """Write out what the streams still hold. Raises StageError where the answer could not be written, ReaderGone where nobody reads."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    lost = sys.stdout.lost if isinstance(sys.stdout, _Told) else None  # of the story nothing is said: it has no place to say it
    if lost is not None:
        hint = "what was made is kept: make room, or write elsewhere, and run the same command again"
        raise StageError(f"standard output cannot be written: {lost.strerror}", hint=hint)


class _Told(io.TextIOWrapper):
    """A stream that remembers its fault, and then leads nowhere, so that nothing fails again while the program ends."""

    lost: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._lose(error)
        return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        _to_nowhere(self.fileno())
        if isinstance(error, BrokenPipeError) or (os.name == "nt" and error.errno == errno.EINVAL):  # how Windows says it
            raise ReaderGone(GONE) from None
        self.lost = self.lost or error


def _told(stream: TextIO, errors: str) -> TextIO:
    """The same stream with our faults; one that somebody put in its place, such as a test, is left alone."""
    if not isinstance(stream, io.TextIOWrapper) or type(stream) is not io.TextIOWrapper:
        return stream
    encoding, line_buffering, write_through = stream.encoding, stream.line_buffering, stream.write_through
    return _Told(stream.detach(), encoding=encoding, errors=errors, line_buffering=line_buffering, write_through=write_through)


def _shown(error: UnicodeError) -> tuple[str | bytes, int]:
    """One character that the stream's encoding has not: a byte of a file's name as that byte, else an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letter = error.object[error.start]
    raw = bytes([ord(letter) - 0xDC00]) if "\udc80" <= letter <= "\udcff" else letter.encode("ascii", "backslashreplace")
    return raw, error.start + 1


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _to_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
