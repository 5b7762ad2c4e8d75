"""The standard streams as shells leave them: closed, full, without a reader, in an encoding that lacks letters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = {key: value for key, value in os.environ.items() if key not in ("PYTHONUNBUFFERED", "PYTHONIOENCODING")}
POSIX = pytest.mark.skipif(os.name != "posix", reason="a POSIX shell's redirections")
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
SOUND = "import sys; from edgedistill import streams; streams.prepare(); "


def shell(line: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A line of sh, in which $E is the program and $P is Python."""
    words = {"E": f"{sys.executable} -m edgedistill", "P": sys.executable}
    return subprocess.run(["sh", "-c", line], cwd=cwd, env={**HERE, **words, **environment}, capture_output=True, check=False, timeout=60)


@POSIX
@FULL
@pytest.mark.parametrize(("words", "unbuffered"), [("targets --json", ""), ("--help", "1")])
def test_answer_ends_with_one_sentence_and_exit_3_when_it_cannot_be_written(tmp_path: Path, words: str, unbuffered: str) -> None:
    done = shell(f"$E {words} > /dev/full", tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 3
    assert done.stderr.decode().splitlines() == [
        "error: standard output cannot be written: No space left on device",
        "hint: what was made is kept: make room, or write elsewhere, and run the same command again",
    ]


@POSIX
def test_answer_ends_with_exit_3_when_its_file_may_not_grow(tmp_path: Path) -> None:
    done = shell("ulimit -f 1; $E targets --json > answer.json", tmp_path)  # 512 bytes, or 1024
    assert done.returncode == 3
    assert done.stderr.decode().startswith("error: standard output cannot be written: File too large\n")


@POSIX
@pytest.mark.parametrize(("words", "unbuffered"), [("targets --json", ""), ("--help", "1"), ("explain nowhere int8-dynamic", "")])
def test_program_ends_without_a_word_as_by_sigpipe_when_nobody_reads(words: str, unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command, story = [sys.executable, "-m", "edgedistill", *words.split()], words.startswith("explain")
    out, err = (subprocess.PIPE, writer) if story else (writer, subprocess.PIPE)
    done = subprocess.run(command, env={**HERE, "PYTHONUNBUFFERED": unbuffered}, stdout=out, stderr=err, check=False, timeout=60)
    os.close(writer)
    assert done.returncode == 128 + 13
    assert not (done.stdout)
    assert not (done.stderr)


@POSIX
def test_program_is_refused_before_it_begins_when_standard_output_is_closed(tmp_path: Path) -> None:
    done = shell("$E targets >&-", tmp_path)
    assert done.returncode == 2
    assert done.stderr.decode().startswith("error: standard output is closed: there is no place for the answer\n")


@POSIX
def test_answer_holds_no_story_when_standard_error_is_closed(tmp_path: Path) -> None:
    """Python prints to standard output where standard error is closed, and the next file that is opened would be descriptor 2."""
    script = "import os; print(open('made', 'w').fileno() > 2, file=sys.stdout); os.write(2, b'lost')"
    done = shell(f"$P -c '{SOUND}{script.replace(chr(39), chr(34))}' 2>&-", tmp_path)
    assert (done.returncode, done.stdout) == (0, b"True\n")
    assert (tmp_path / "made").read_bytes() == b""
    done = shell("$E explain nowhere int8-dynamic 2>&-", tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")


@POSIX
@FULL
def test_answer_is_whole_when_only_the_story_cannot_be_written(tmp_path: Path) -> None:
    done = shell(f"$P -c '{SOUND}print(3, file=sys.stderr); print(4); streams.finish()' 2> /dev/full", tmp_path)
    assert (done.returncode, done.stdout) == (0, b"4\n")


@POSIX
def test_standard_input_is_empty_when_it_is_closed(tmp_path: Path) -> None:
    done = shell(f"$P -c '{SOUND}print(sys.stdin.buffer.read())' <&-", tmp_path)
    assert done.stdout == b"b''\n"


@POSIX
@pytest.mark.parametrize(
    ("encoding", "wanted"),
    [
        ("cp1252", b"\xe9 \\u65e5\\u672c \\U0001f642 \xe9\n"),
        ("ascii", b"\\xe9 \\u65e5\\u672c \\U0001f642 \xe9\n"),
        ("utf-8", "é 日本 🙂 ".encode() + b"\xe9\n"),
    ],
)
def test_letters_become_escapes_and_bytes_of_names_stay_when_the_encoding_lacks_them(tmp_path: Path, encoding: str, wanted: bytes) -> None:
    (tmp_path / "say.py").write_text(f"{SOUND}\nprint('é 日本 🙂', '\\udce9')\n", encoding="utf-8")  # the last is a byte of a file's name
    assert shell("$P say.py", tmp_path, PYTHONIOENCODING=encoding).stdout == wanted
